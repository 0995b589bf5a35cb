//! An address space: changes to its mappings become orders.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::context::Thread;
use super::layout::{FD_INCOMING, FD_MEMORY, USER_END, USER_START, order};
use super::orders::{Failed, Op, Orders, receive_op};
use super::process::Stub;
use crate::platform::{
    AddressSpace, CallShape, CallSite, Context, MapOp, MapSource, Patch, PlatformError,
};

/// One guest address space.
pub(in crate::platform) struct Space {
    stub: Arc<Stub>,
}

impl Space {
    pub(super) fn new(stub: Arc<Stub>) -> Self {
        Self { stub }
    }

    /// A new guest thread.
    pub(in crate::platform) fn new_thread(
        &self,
        fp: Option<&[u8]>,
    ) -> Result<Thread, PlatformError> {
        Thread::start(Arc::clone(&self.stub), fp)
    }

    /// A new stub with the same gates.
    pub(in crate::platform) fn fork(&self) -> Result<Self, PlatformError> {
        let child = Stub::start(Arc::clone(&self.stub.common))?;
        let gates = self.stub.gates.read();
        if !gates.is_empty() {
            *child.gates.write() = gates.copy(&child.shared);
        }
        Ok(Self::new(child))
    }

    /// What is unmapped is no patched code any more. Unmapping everything is not that: the memory
    /// manager then maps the same code again as it is touched.
    fn forget_gates(&self, ops: &[MapOp<'_>]) {
        if self.stub.gates.read().is_empty() {
            return;
        }
        for op in ops {
            match *op {
                MapOp::Unmap { addr, len } if (addr, addr + len) != (USER_START, USER_END) => {
                    self.stub.gates.write().forget(addr, addr + len);
                }
                _ => {}
            }
        }
    }
}

impl AddressSpace for Space {
    fn apply(&self, ops: &[MapOp<'_>]) -> Result<(), PlatformError> {
        for op in ops {
            check_range(op)?;
        }
        self.forget_gates(ops);
        let mut orders = self.stub.orders.lock();
        let mut batch = Batch::default();
        for op in ops {
            if !batch.takes(op) {
                std::mem::take(&mut batch).execute(&self.stub, &mut orders)?;
            }
            batch.push(op);
        }
        batch.execute(&self.stub, &mut orders)
    }

    fn new_context(&self, fp: Option<&[u8]>) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(self.new_thread(fp)?))
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(Self::fork(self)?))
    }

    fn patch(&self, site: CallSite, write: &mut dyn FnMut(&Patch)) -> bool {
        let nobody = self.stub.in_guest.try_write();
        let alone = nobody.is_some();
        let unsafe_now = !alone && matches!(site.shape, CallShape::Compared(_));
        if !self.stub.common.gates || unsafe_now {
            return false;
        }
        let added = self.stub.gates.write().add(&self.stub.shared, site);
        if let Some(bytes) = added {
            write(&Patch { bytes, alone });
        }
        added.is_some()
    }
}

fn check_range(op: &MapOp<'_>) -> Result<(), PlatformError> {
    let (MapOp::Map { addr, len, .. }
    | MapOp::Unmap { addr, len }
    | MapOp::Protect { addr, len, .. }) = *op;
    let inside = addr >= USER_START && addr.checked_add(len).is_some_and(|end| end <= USER_END);
    match inside && len > 0 && (addr | len).is_multiple_of(4096) {
        true => Ok(()),
        false => Err(PlatformError::host(
            "mapping outside the user range",
            Errno::EINVAL,
        )),
    }
}

/// Operations of one order; they map at most one file beside the memory file.
#[derive(Default)]
struct Batch<'a> {
    ops: Vec<Op>,
    file: Option<BorrowedFd<'a>>,
}

/// Room for the operations that close a file.
const MAX: usize = order::MAX_OPS - 2;

impl<'a> Batch<'a> {
    fn takes(&self, op: &MapOp<'a>) -> bool {
        self.ops.len() < MAX
            && match (raw_file(op), self.file) {
                (Some(fd), Some(current)) => fd == current.as_raw_fd(),
                (Some(_), None) => self.ops.is_empty(),
                _ => true,
            }
    }

    fn push(&mut self, op: &MapOp<'a>) {
        let op = match *op {
            MapOp::Map {
                addr,
                len,
                prot,
                source,
            } => {
                let (flags, fd, offset) = match source {
                    MapSource::Memory { offset } => (libc::MAP_SHARED, FD_MEMORY, offset),
                    MapSource::Filled { offset } => {
                        (libc::MAP_SHARED | libc::MAP_POPULATE, FD_MEMORY, offset)
                    }
                    MapSource::File { fd, offset, shared } => {
                        if self.file.is_none() {
                            self.file = Some(fd);
                            self.ops.push(receive_op());
                        }
                        let sharing = if shared {
                            libc::MAP_SHARED
                        } else {
                            libc::MAP_PRIVATE
                        };
                        (sharing, FD_INCOMING, offset)
                    }
                };
                let flags = (flags | libc::MAP_FIXED) as u64;
                [
                    libc::SYS_mmap as u64,
                    addr,
                    len,
                    prot as u64,
                    flags,
                    fd,
                    offset,
                ]
            }
            MapOp::Unmap { addr, len } => [libc::SYS_munmap as u64, addr, len, 0, 0, 0, 0],
            MapOp::Protect { addr, len, prot } => {
                [libc::SYS_mprotect as u64, addr, len, prot as u64, 0, 0, 0]
            }
        };
        self.ops.push(op);
    }

    fn execute(mut self, stub: &Stub, orders: &mut Orders) -> Result<(), PlatformError> {
        if self.ops.is_empty() {
            return Ok(());
        }
        const CLOSE: Op = [libc::SYS_close as u64, FD_INCOMING, 0, 0, 0, 0, 0];
        if let Some(file) = self.file {
            orders.send_file(stub, file)?;
            self.ops.push(CLOSE);
        }
        let Err(failed) = orders.execute(stub, &self.ops)? else {
            return Ok(());
        };
        if self.file.is_some() {
            if failed.index == 0 {
                return Err(stub.condemn("it lost a file"));
            }
            // So that the next file gets the same number.
            if orders.execute(stub, &[CLOSE])?.is_err() {
                return Err(stub.condemn("it lost a file"));
            }
        }
        Err(error_of(&failed))
    }
}

fn raw_file(op: &MapOp<'_>) -> Option<RawFd> {
    match op {
        MapOp::Map {
            source: MapSource::File { fd, .. },
            ..
        } => Some(fd.as_raw_fd()),
        _ => None,
    }
}

fn error_of(failed: &Failed) -> PlatformError {
    match failed.errno {
        Errno::ENOMEM => PlatformError::Exhausted("mappings"),
        errno => PlatformError::host("changing a mapping", errno),
    }
}
