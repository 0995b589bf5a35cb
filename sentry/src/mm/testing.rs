//! A platform that only keeps books: what the stub would have mapped, and simulated guest accesses.

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use parking_lot::Mutex;

use super::range_map::{Piece, RangeMap};
use super::{MemoryFile, MemoryManager, PAGE_SIZE};
use crate::platform::{Access, AddressSpace, Context, MapOp, MapSource, Platform, PlatformError};

/// What the model's stub has mapped somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    memory: Option<u64>,
    file: Option<(i32, u64)>,
    prot: i32,
}

impl Piece for Mapped {
    fn tail(&self, delta: u64) -> Self {
        Self {
            memory: self.memory.map(|offset| offset + delta),
            file: self.file.map(|(fd, offset)| (fd, offset + delta)),
            prot: self.prot,
        }
    }
    fn joins(&self, len: u64, next: &Self) -> bool {
        self.tail(len) == *next
    }
}

/// The newest address space of a platform.
type Newest = Arc<Mutex<Option<Arc<ModelSpace>>>>;

/// The model of one stub.
#[derive(Default)]
pub(crate) struct ModelSpace {
    mapped: Mutex<RangeMap<Mapped>>,
    applies: Mutex<usize>,
    newest: Newest,
}

/// The model of a platform; remembers its newest address space.
#[derive(Default)]
pub(crate) struct ModelPlatform {
    newest: Newest,
}

impl ModelSpace {
    fn start(newest: &Newest) -> Arc<Self> {
        let space = Arc::new(Self {
            newest: Arc::clone(newest),
            ..Self::default()
        });
        *newest.lock() = Some(Arc::clone(&space));
        space
    }
}

impl Platform for ModelPlatform {
    fn name(&self) -> &'static str {
        "model"
    }
    fn user_range(&self) -> Range<u64> {
        0x1_0000..0x7fff_f000_0000
    }
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(ModelSpace::start(&self.newest))
    }
}

impl AddressSpace for ModelSpace {
    fn apply(&self, ops: &[MapOp<'_>]) -> Result<(), PlatformError> {
        *self.applies.lock() += 1;
        let mut mapped = self.mapped.lock();
        for op in ops {
            match *op {
                MapOp::Map {
                    addr,
                    len,
                    prot,
                    source,
                } => {
                    let value = match source {
                        MapSource::Memory { offset } | MapSource::Filled { offset } => Mapped {
                            memory: Some(offset),
                            file: None,
                            prot,
                        },
                        MapSource::File { fd, offset, .. } => Mapped {
                            memory: None,
                            file: Some((fd.as_raw_fd(), offset)),
                            prot,
                        },
                    };
                    mapped.remove(addr..addr + len);
                    mapped.insert(addr..addr + len, value);
                }
                MapOp::Unmap { addr, len } => {
                    mapped.remove(addr..addr + len);
                }
                MapOp::Protect { addr, len, prot } => {
                    assert!(mapped.holes(addr..addr + len).is_empty(), "protects a hole");
                    mapped.update(addr..addr + len, |_, m| m.prot = prot);
                }
            }
        }
        Ok(())
    }

    fn new_context(&self, _: Option<&[u8]>) -> Result<Box<dyn Context>, PlatformError> {
        Err(PlatformError::Exhausted("contexts of a model"))
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Self::start(&self.newest))
    }
}

/// A guest: a memory manager and the model of its stub.
pub(crate) struct Guest {
    pub(crate) mm: Arc<MemoryManager>,
    space: Arc<ModelSpace>,
    platform: Arc<ModelPlatform>,
}

impl Guest {
    pub(crate) fn new(memory: &Arc<MemoryFile>) -> Self {
        let platform = Arc::new(ModelPlatform::default());
        let as_platform: Arc<dyn Platform> = platform.clone();
        let mm = MemoryManager::new(&as_platform, Arc::clone(memory)).unwrap();
        let space = platform.newest.lock().clone().unwrap();
        Self {
            mm,
            space,
            platform,
        }
    }

    pub(crate) fn fork(&self) -> Self {
        let mm = self.mm.fork().unwrap();
        let space = self.platform.newest.lock().clone().unwrap();
        Self {
            mm,
            space,
            platform: Arc::clone(&self.platform),
        }
    }

    /// How many batches of orders the stub got.
    pub(crate) fn applies(&self) -> usize {
        *self.space.applies.lock()
    }

    /// How many host mappings the stub has.
    pub(crate) fn host_mappings(&self) -> usize {
        self.space.mapped.lock().len()
    }

    /// One guest access within a page: what the host's MMU would do, faults included.
    pub(crate) fn access(&self, addr: u64, bytes: &mut [u8], access: Access) -> Result<(), i32> {
        assert!(addr / PAGE_SIZE == (addr + bytes.len() as u64 - 1) / PAGE_SIZE);
        for _ in 0..4 {
            let mapped = self
                .space
                .mapped
                .lock()
                .find(addr)
                .map(|(range, m)| m.tail(addr - range.start));
            let allowed = mapped.filter(|m| match access {
                Access::Read => m.prot != 0,
                Access::Write => m.prot & libc::PROT_WRITE != 0,
                Access::Execute => m.prot & libc::PROT_EXEC != 0,
            });
            if let Some(m) = allowed {
                return self.touch(&m, bytes, access);
            }
            self.mm.handle_fault(addr, access).map_err(|s| s.signo)?;
        }
        panic!("a served fault faults again");
    }

    fn touch(&self, mapped: &Mapped, bytes: &mut [u8], access: Access) -> Result<(), i32> {
        let memory = self.mm.memory();
        if let Some(offset) = mapped.memory {
            let n = match access {
                Access::Write => memory.write_at(offset, bytes),
                _ => memory.read_at(offset, bytes),
            };
            assert_eq!(n, bytes.len());
            return Ok(());
        }
        let (fd, offset) = mapped.file.unwrap();
        assert!(access != Access::Write, "a private file page is written");
        // The descriptor stays open as long as the test's file does.
        let path = format!("/proc/self/fd/{fd}");
        let file = std::fs::File::open(path).unwrap();
        let size = file.metadata().unwrap().len();
        if offset / PAGE_SIZE * PAGE_SIZE >= size {
            return Err(libc::SIGBUS);
        }
        bytes.fill(0);
        let mut done = 0;
        while done < bytes.len() {
            let at = (offset + done as u64) as i64;
            match nix::sys::uio::pread(&file, &mut bytes[done..], at).unwrap() {
                0 => break,
                n => done += n,
            }
        }
        Ok(())
    }

    pub(crate) fn load(&self, addr: u64, len: usize) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0; len];
        self.access(addr, &mut bytes, Access::Read)?;
        Ok(bytes)
    }

    pub(crate) fn store(&self, addr: u64, bytes: &[u8]) -> Result<(), i32> {
        self.access(addr, &mut bytes.to_vec(), Access::Write)
    }
}

/// A host file to map.
pub(crate) struct HostFile(pub(crate) std::fs::File);

impl HostFile {
    /// An unnamed file with these contents.
    pub(crate) fn with(contents: &[u8]) -> Arc<Self> {
        use std::io::Write;
        let fd = super::sys::memory_file(0).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(contents).unwrap();
        Arc::new(Self(file))
    }
}

impl super::Mappable for HostFile {
    fn backing(&self, offset: u64, _: u64) -> Result<super::MapBacking<'_>, sentry_abi::Errno> {
        use std::os::fd::AsFd;
        Ok(super::MapBacking::Host {
            fd: self.0.as_fd(),
            offset,
        })
    }
    fn map_identity(&self) -> (u64, u64, Vec<u8>) {
        (1, 2, b"/file".to_vec())
    }
}
