//! Signals that are read from a descriptor (signalfd(2)).
//!
//! As on Linux, a signalfd has no process: whoever reads or polls it sees his own signals, so that an
//! inherited one serves the child. Its queue is told of every signal of the sandbox.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sentry_abi::Errno;
use zerocopy::{Immutable, IntoBytes};

use crate::mm::io::IoDst;
use crate::signals::{SigInfo, SigSet};
use crate::task::{TaskShared, run};
use crate::vfs::file::FileOps;
use crate::wait::{Ready, WaitQueue};

/// The backend of a signalfd.
pub(crate) struct SignalFd {
    mask: AtomicU64,
    queue: Arc<WaitQueue>,
}

impl SignalFd {
    /// One that takes the signals of `mask`; `queue` is told of all signals.
    pub(crate) fn new(mask: SigSet, queue: Arc<WaitQueue>) -> Arc<Self> {
        Arc::new(Self {
            mask: AtomicU64::new(mask.0),
            queue,
        })
    }

    /// Takes other signals from now on.
    pub(crate) fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.0, Ordering::Relaxed);
        self.queue.notify(Ready::IN);
    }

    fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::Relaxed))
    }
}

fn take(task: &TaskShared, wanted: SigSet) -> Option<SigInfo> {
    let own = task.pending.lock().take(wanted);
    own.or_else(|| task.process.signals.lock().pending.take(wanted))
}

impl FileOps for SignalFd {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        let space = size_of::<Record>();
        if dst.remaining() < space {
            return Err(Errno::EINVAL);
        }
        let task = run::current().ok_or(Errno::EAGAIN)?;
        let mut total = 0;
        while dst.remaining() >= space
            && let Some(info) = take(&task, self.mask())
        {
            total += dst.put(Record::of(&info).as_bytes())?;
        }
        if total > 0 {
            Ok(total)
        } else {
            Err(Errno::EAGAIN)
        }
    }

    fn readiness(&self) -> Ready {
        let pending = run::current().is_some_and(|task| {
            let own = task.pending.lock().set() & self.mask();
            let shared = task.process.signals.lock().pending.set() & self.mask();
            !own.is_empty() || !shared.is_empty()
        });
        if pending {
            Ready::IN | Ready::RDNORM
        } else {
            Ready::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `struct signalfd_siginfo`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
struct Record {
    signo: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    tid: u32,
    band: u32,
    overrun: u32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    rest: [u64; 6],
}

impl Record {
    /// The fields that the signal's origin gives a meaning (`signalfd_copyinfo`).
    fn of(info: &SigInfo) -> Self {
        let [first, second, third, fourth] = info.fields;
        let mut record = Self {
            signo: info.signo as u32,
            errno: info.errno,
            code: info.code,
            ..Self::default()
        };
        let faults = [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGTRAP,
        ];
        match info.code {
            libc::SI_KERNEL => {}
            libc::SI_TIMER => {
                record.tid = first as u32;
                record.overrun = (first >> 32) as u32;
                record.ptr = second;
                record.int = second as i32;
            }
            code if code > 0 && faults.contains(&info.signo) => record.addr = first,
            code if code > 0 && info.signo == libc::SIGCHLD => {
                record.pid = info.pid() as u32;
                record.uid = info.uid();
                record.status = second as i32;
                record.utime = third;
                record.stime = fourth;
            }
            code if code > 0 => {
                record.band = first as u32;
                record.fd = second as i32;
            }
            code => {
                record.pid = info.pid() as u32;
                record.uid = info.uid();
                if !matches!(code, libc::SI_USER | libc::SI_TKILL) {
                    record.ptr = second;
                    record.int = second as i32;
                }
            }
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_size_that_programs_read() {
        assert_eq!(size_of::<Record>(), 128);
        let record = Record::of(&SigInfo::child(libc::CLD_EXITED, 7, 8, 3, 1, 2));
        assert_eq!((record.pid, record.uid, record.status), (7, 8, 3));
        let record = Record::of(&SigInfo::io(40, 1, 5));
        assert_eq!((record.band, record.fd, record.pid), (0x41, 5, 0));
    }
}
