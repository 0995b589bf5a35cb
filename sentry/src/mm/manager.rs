//! [`MemoryManager`]: making, forking and committing; faults.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use sentry_abi::Errno;
use smallvec::SmallVec;

use super::fault::{FaultSignal, STACK_GUARD};
use super::memory_file::MemoryFile;
use super::range_map::RangeMap;
use super::state::{Back, Order, Orders, Seg, State};
use super::vma::{MmapRequest, Purpose};
use super::{MapBacking, PAGE_SIZE, sys};
use crate::platform::{Access, AddressSpace, MapOp, MapSource, Platform, PlatformError};

/// Host mappings that one stub may have (the host's default limit is 65,530).
const MAX_HOST_MAPPINGS: usize = 60_000;
/// Random pages below the top of the address space, for the stack and for mappings.
const RANDOM_PAGES: u64 = 1 << 22;
/// Least and most room left for the stack above the mappings.
const STACK_ROOM: Range<u64> = (128 << 20)..(64 << 30);

/// How large the initial stack is mapped.
const INITIAL_STACK: u64 = 132 << 10;

/// Resource limits that bound an address space, in bytes.
pub(super) struct Limits {
    pub(super) address_space: AtomicU64,
    pub(super) data: AtomicU64,
    pub(super) stack: AtomicU64,
    pub(super) locked: AtomicU64,
}

/// Which limit [`MemoryManager::set_limit`] sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemLimit {
    /// RLIMIT_AS
    AddressSpace,
    /// RLIMIT_DATA
    Data,
    /// RLIMIT_STACK
    Stack,
    /// RLIMIT_MEMLOCK
    Locked,
}

/// One guest address space, shared by the tasks that have it.
pub struct MemoryManager {
    pub(super) id: u64,
    /// Itself, for those who have to tell it something.
    pub(super) me: Weak<MemoryManager>,
    pub(super) memory: Arc<MemoryFile>,
    pub(super) range: Range<u64>,
    pub(super) limits: Limits,
    /// What exec recorded for /proc and prctl(PR_SET_MM).
    pub(super) layout: parking_lot::Mutex<Layout>,
    /// Before `state`: the stub must be gone when the state gives its memory back.
    aspace: Option<Arc<dyn AddressSpace>>,
    pub(super) state: RwLock<State>,
    /// After `state`: gone when everything has been given back.
    pub(super) alive: Arc<()>,
}

/// Where exec put things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// First and last address (exclusive) of the code of the main program.
    pub code: Range<u64>,
    /// First address of the stack as exec left it.
    pub stack_start: u64,
    /// The argument strings.
    pub args: Range<u64>,
    /// The environment strings.
    pub env: Range<u64>,
    /// The auxiliary vector, as bytes.
    pub auxv: Vec<u8>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl MemoryManager {
    /// An empty address space.
    ///
    /// # Errors
    /// EAGAIN or ENOMEM if the platform has no process for it.
    pub fn new(platform: &Arc<dyn Platform>, memory: Arc<MemoryFile>) -> Result<Arc<Self>, Errno> {
        let range = platform.user_range();
        let mut random = [0; 8];
        sys::random(&mut random);
        let pages = u64::from_le_bytes(random) % RANDOM_PAGES;
        let top = range.end - pages * PAGE_SIZE;
        let limits = Limits {
            address_space: AtomicU64::new(u64::MAX),
            data: AtomicU64::new(u64::MAX),
            stack: AtomicU64::new(8 << 20),
            locked: AtomicU64::new(8 << 20),
        };
        let mmap_top = top - STACK_ROOM.start;
        let state = State::new(Arc::clone(&memory), mmap_top);
        let aspace = platform.new_address_space().map_err(no_process)?;
        Ok(Arc::new_cyclic(|me| Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            me: me.clone(),
            memory,
            range,
            limits,
            layout: parking_lot::Mutex::default(),
            aspace: Some(aspace),
            state: RwLock::new(state),
            alive: Arc::new(()),
        }))
    }

    /// A copy of the address space, as fork makes it: private memory is shared until written to.
    ///
    /// # Errors
    /// EAGAIN or ENOMEM if the platform has no process for it.
    pub fn fork(&self) -> Result<Arc<Self>, Errno> {
        let mut state = self.state.write();
        let child_state = state.fork();
        let limits = Limits {
            address_space: AtomicU64::new(self.limit(MemLimit::AddressSpace)),
            data: AtomicU64::new(self.limit(MemLimit::Data)),
            stack: AtomicU64::new(self.limit(MemLimit::Stack)),
            locked: AtomicU64::new(self.limit(MemLimit::Locked)),
        };
        let layout = self.layout.lock().clone();
        // The parent must stop writing before the child can look.
        self.commit(&mut state)?;
        let aspace = self.aspace().fork().map_err(no_process)?;
        drop(state);
        let child = Arc::new_cyclic(|me| Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            me: me.clone(),
            memory: Arc::clone(&self.memory),
            range: self.range.clone(),
            limits,
            layout: parking_lot::Mutex::new(layout),
            aspace: Some(aspace),
            state: RwLock::new(child_state),
            alive: Arc::new(()),
        });
        child.announce_all();
        Ok(child)
    }

    /// The platform's side, to make contexts in.
    pub fn aspace(&self) -> &Arc<dyn AddressSpace> {
        match &self.aspace {
            Some(aspace) => aspace,
            // Set by `build`, taken only by `drop`.
            None => unreachable!("an address space in use has a platform side"),
        }
    }

    /// The memory file behind it.
    pub fn memory(&self) -> &Arc<MemoryFile> {
        &self.memory
    }

    /// The addresses that guests may map.
    pub fn user_range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Where exec put things.
    pub fn layout(&self) -> Layout {
        self.layout.lock().clone()
    }

    /// Changes what is known of where exec put things.
    pub fn update_layout(&self, change: impl FnOnce(&mut Layout)) {
        change(&mut self.layout.lock());
    }

    /// Maps the initial stack, which grows to `limit` bytes, and leaves that room below it; its top.
    ///
    /// # Errors
    /// As [`MemoryManager::mmap`].
    pub fn map_stack(&self, prot: i32, limit: u64) -> Result<u64, Errno> {
        self.set_limit(MemLimit::Stack, limit);
        let room = limit.clamp(STACK_ROOM.start, STACK_ROOM.end);
        let top = {
            let mut state = self.state.write();
            let top = state.mmap_top + STACK_ROOM.start;
            state.set_mmap_top(top.saturating_sub(room + STACK_GUARD));
            top
        };
        let request = MmapRequest {
            purpose: Purpose::Stack,
            ..MmapRequest::anonymous(
                top - INITIAL_STACK,
                INITIAL_STACK,
                prot,
                libc::MAP_FIXED_NOREPLACE | libc::MAP_GROWSDOWN,
            )
        };
        self.mmap(&request)?;
        Ok(top)
    }

    /// Sets a resource limit in bytes (`u64::MAX`: none).
    pub fn set_limit(&self, which: MemLimit, bytes: u64) {
        self.limit_cell(which).store(bytes, Ordering::Relaxed);
    }

    pub(super) fn limit(&self, which: MemLimit) -> u64 {
        self.limit_cell(which).load(Ordering::Relaxed)
    }

    fn limit_cell(&self, which: MemLimit) -> &AtomicU64 {
        match which {
            MemLimit::AddressSpace => &self.limits.address_space,
            MemLimit::Data => &self.limits.data,
            MemLimit::Stack => &self.limits.stack,
            MemLimit::Locked => &self.limits.locked,
        }
    }

    /// Serves a fault of guest code at `addr`: afterwards the access succeeds.
    ///
    /// # Errors
    /// The signal to raise.
    pub fn handle_fault(&self, addr: u64, access: Access) -> Result<(), FaultSignal> {
        let stack_limit = self.limit(MemLimit::Stack);
        let mut state = self.state.write();
        let served = state.guest_fault(addr, access, stack_limit);
        let committed = self.commit(&mut state);
        served.map_err(|refusal| refusal.signal(addr))?;
        committed.map_err(|_| FaultSignal {
            signo: libc::SIGKILL,
            code: 0,
            addr,
        })
    }

    /// Makes the collected changes take effect, then gives memory back. Called with the lock held,
    /// once per operation.
    pub(super) fn commit(&self, state: &mut State) -> Result<(), Errno> {
        if state.segs.len() > MAX_HOST_MAPPINGS {
            self.shed_mappings(state);
        }
        let orders = std::mem::take(&mut state.orders);
        let result = match self.apply(&orders) {
            Ok(()) => Ok(()),
            Err(PlatformError::Dead(_)) => Err(Errno::ENOMEM),
            // Start over with nothing mapped: what is touched is mapped again.
            Err(_) => {
                self.shed_mappings(state);
                let all = std::mem::take(&mut state.orders);
                match self.apply(&all) {
                    Ok(()) => Ok(()),
                    // The stub may map what was to be freed: better lost than seen.
                    Err(PlatformError::Host { .. } | PlatformError::Exhausted(_)) => {
                        return Err(Errno::ENOMEM);
                    }
                    Err(PlatformError::Dead(_)) => Err(Errno::ENOMEM),
                }
            }
        };
        for (offset, len) in orders.frees {
            self.memory.decref(offset, len);
        }
        result
    }

    /// Orders that the stub maps nothing.
    fn shed_mappings(&self, state: &mut State) {
        let frees = std::mem::take(&mut state.orders.frees);
        state
            .segs
            .update(self.range.clone(), |_, seg| seg.host = None);
        state.orders = Orders::default();
        state.orders.frees = frees;
        state.orders.push(Order::Unmap(self.range.clone()));
    }

    fn apply(&self, orders: &Orders) -> Result<(), PlatformError> {
        if orders.list.is_empty() {
            return Ok(());
        }
        let ops: SmallVec<[MapOp<'_>; 8]> = orders.list.iter().filter_map(as_op).collect();
        self.aspace().apply(&ops)
    }
}

/// What fork and exec say if the platform has no process.
fn no_process(error: PlatformError) -> Errno {
    match error {
        PlatformError::Exhausted(_) => Errno::EAGAIN,
        _ => Errno::ENOMEM,
    }
}

impl Drop for MemoryManager {
    fn drop(&mut self) {
        self.aspace = None;
    }
}

/// An order as the platform takes it; `None` if the file has nothing to map any more (the guest's
/// touch then faults again, and is refused).
fn as_op(order: &Order) -> Option<MapOp<'_>> {
    Some(match order {
        Order::Unmap(range) => MapOp::Unmap {
            addr: range.start,
            len: range.end - range.start,
        },
        Order::Protect(range, prot) => MapOp::Protect {
            addr: range.start,
            len: range.end - range.start,
            prot: *prot,
        },
        Order::MapFilled(range, seg) => MapOp::Map {
            addr: range.start,
            len: range.end - range.start,
            prot: seg.host_prot(),
            source: match seg.back {
                Back::Memory(offset) => MapSource::Filled { offset },
                Back::File(..) => return None,
            },
        },
        Order::Map(range, seg) => {
            let len = range.end - range.start;
            MapOp::Map {
                addr: range.start,
                len,
                prot: seg.host_prot(),
                source: source_of(seg, len)?,
            }
        }
    })
}

fn source_of(seg: &Seg, len: u64) -> Option<MapSource<'_>> {
    match &seg.back {
        Back::Memory(offset) => Some(MapSource::Memory { offset: *offset }),
        Back::File(file, offset) => match file.backing(*offset, len).ok()? {
            MapBacking::Host { fd, offset } => Some(MapSource::File {
                fd,
                offset,
                shared: !seg.cow,
            }),
            MapBacking::Memory { offset, len: have } => {
                (have >= len).then_some(MapSource::Memory { offset })
            }
        },
    }
}

impl State {
    /// The child's half of a fork; private pages of both become copy-on-write.
    fn fork(&mut self) -> State {
        let mut child = State::new(Arc::clone(&self.memory), self.mmap_top);
        child.heap = self.heap;
        child.fresh = true;
        let (mut shared, mut references) = (Vec::new(), Vec::new());
        for (range, seg) in self.segs.iter_mut() {
            if !seg.shared {
                seg.cow = true;
                let prot = seg.host_prot();
                if seg.host.is_some_and(|host| host != prot) {
                    seg.host = Some(prot);
                    self.orders.push(Order::Protect(range.clone(), prot));
                }
            }
            if let Back::Memory(offset) = seg.back {
                references.push((offset, range.end - range.start));
            }
            let copy = Seg {
                host: None,
                ..seg.clone()
            };
            shared.push((range, copy));
        }
        self.memory.incref_all(&references);
        child.segs = RangeMap::from_sorted(shared);
        child.vmas = self.vmas.clone();
        child.size = self.size;
        child.peak = self.size;
        for (range, vma) in self.vmas.iter() {
            if vma.flags.dont_fork {
                child.unmap(range);
            } else if vma.flags.wipe_on_fork {
                child.drop_segs(range);
            } else if vma.flags.locked {
                child.vmas.update(range, |_, vma| vma.flags.locked = false);
            }
        }
        child
    }
}
