//! Orders to a stub's command thread: raw system calls, written to the page that the stub can only
//! read, carried out in order, answered through the shared file.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, send, sendmsg};

use super::layout::{SLOTS, SLOTS_AT, order, status};
use super::process::Stub;
use crate::platform::sys::shared::Shared;
use crate::platform::{PlatformError, sys};

/// A system call of the command thread: number and arguments.
pub(super) type Op = [u64; 7];

/// The Sentry's end of one stub's orders.
pub(super) struct Orders {
    seq: u32,
    wake: OwnedFd,
    files: OwnedFd,
    /// Where the command thread was last told to run.
    cpu: Option<usize>,
}

/// What went wrong in an order: which operation, and why. Those after it were not carried out.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) index: usize,
    pub(super) errno: Errno,
}

/// How long the Sentry lets others run on its CPU while it awaits an answer, before it sleeps, in
/// TSC cycles (about 50 us).
const POLL: u64 = 150_000;
/// How long it sleeps before it looks whether the stub is alive, and wakes it again.
const CHECK: Duration = Duration::from_millis(20);

impl Orders {
    pub(super) fn new(shared: &Shared, wake: OwnedFd, files: OwnedFd) -> Self {
        shared.u32(order::SPIN).store(0, Relaxed);
        shared.write(order::ALL_CPUS, &sys::own_cpus::<{ order::ALL_CPUS_LEN }>());
        Self {
            seq: 0,
            wake,
            files,
            cpu: None,
        }
    }

    /// Has the command thread carry out `ops`, at most [`order::MAX_OPS`] of them; returns when it
    /// has. The inner result is what the host said to them.
    pub(super) fn execute(
        &mut self,
        stub: &Stub,
        ops: &[Op],
    ) -> Result<Result<(), Failed>, PlatformError> {
        let shared = &stub.shared;
        assert!(ops.len() <= order::MAX_OPS);
        for (i, op) in ops.iter().enumerate() {
            for (j, word) in op.iter().enumerate() {
                let at = order::OPS + i * order::OP_LEN + j * 8;
                shared.u64(at).store(*word, Relaxed);
            }
        }
        shared.u32(order::COUNT).store(ops.len() as u32, Relaxed);
        shared.u32(order::ERROR).store(0, Relaxed);
        self.seq = self.seq.wrapping_add(1);
        shared.u32(order::SEQ).store(self.seq, SeqCst);
        if self.asleep(stub) {
            self.attract(stub);
            self.wake();
        }
        self.wait(stub)?;
        match shared.u32(order::ERROR).load(Relaxed) {
            0 => Ok(Ok(())),
            errno => Ok(Err(Failed {
                index: shared.u32(order::INDEX).load(Relaxed) as usize,
                errno: Errno::from_raw(errno.cast_signed()),
            })),
        }
    }

    /// Has the command thread make a guest thread, with these arguments of `clone`.
    pub(super) fn clone_thread(
        &mut self,
        stub: &Stub,
        args: [u64; 4],
    ) -> Result<Result<(), Failed>, PlatformError> {
        let all = super::layout::ORDER + order::ALL_CPUS as u64;
        let len = order::ALL_CPUS_LEN as u64;
        let [flags, stack, parent_tid, child_tid] = args;
        // The new thread inherits where it may run, which for the command thread is one CPU.
        let unpin = [libc::SYS_sched_setaffinity as u64, 0, len, all, 0, 0, 0];
        let clone = [
            libc::SYS_clone as u64,
            flags,
            stack,
            parent_tid,
            child_tid,
            0,
            0,
        ];
        let result = self.execute(stub, &[unpin, clone]);
        self.cpu = None;
        result
    }

    /// Sends a file ahead of the order whose first operation is [`receive_op`].
    pub(super) fn send_file(&self, stub: &Stub, fd: BorrowedFd<'_>) -> Result<(), PlatformError> {
        prepare_receive(&stub.shared);
        sendmsg::<()>(
            self.files.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &[ControlMessage::ScmRights(&[fd.as_raw_fd()])],
            MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            None,
        )
        .map(drop)
        .map_err(|_| stub.condemn("it takes no files"))
    }

    /// Has the command thread run on this CPU: it runs while the Sentry waits for it, and waking a
    /// CPU that sleeps costs more than two switches on this one.
    fn attract(&mut self, stub: &Stub) {
        let here = sys::current_cpu();
        if here.is_some() && here != self.cpu {
            self.cpu = here;
            sys::pin(stub.pid.as_raw(), here);
        }
    }

    /// The guest's word: a wrong one costs it time.
    fn asleep(&self, stub: &Stub) -> bool {
        stub.shared
            .u32(SLOTS_AT as usize + status::ASLEEP)
            .load(SeqCst)
            != 0
    }

    fn wake(&self) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(self.wake.as_raw_fd(), &[0], flags);
    }

    fn wait(&self, stub: &Stub) -> Result<(), PlatformError> {
        let done = stub.shared.u32(order::DONE);
        let start = sys::tsc();
        while sys::tsc().wrapping_sub(start) < POLL {
            if done.load(SeqCst) == self.seq {
                return Ok(());
            }
            std::thread::yield_now();
        }
        let waits = stub.shared.u32(order::WAITS);
        waits.store(1, SeqCst);
        loop {
            let seen = done.load(SeqCst);
            if seen == self.seq {
                waits.store(0, Relaxed);
                return Ok(());
            }
            let before = std::time::Instant::now();
            sys::futex_wait(done, seen, CHECK);
            if before.elapsed() >= CHECK {
                if stub.has_ended() {
                    return Err(PlatformError::Dead("its process has ended"));
                }
                self.wake();
            }
        }
    }
}

/// The operation that takes a file in as [`super::layout::FD_INCOMING`].
pub(super) fn receive_op() -> Op {
    let header = SLOTS + status::MSGHDR as u64;
    let flags = libc::MSG_DONTWAIT as u64;
    [
        libc::SYS_recvmsg as u64,
        super::layout::FD_FILES,
        header,
        flags,
        0,
        0,
        0,
    ]
}

/// Fills in the message header that the command thread receives with. The kernel writes to it, so
/// it lies in memory that the guest can write as well: a guest that does fails its own order.
fn prepare_receive(shared: &Shared) {
    let at = |offset: usize| shared.u64(SLOTS_AT as usize + offset);
    let words = [
        0,
        0,
        SLOTS + status::IOV as u64,
        1,
        SLOTS + status::CONTROL as u64,
        64,
        0,
    ];
    for (i, word) in words.into_iter().enumerate() {
        at(status::MSGHDR + i * 8).store(word, Relaxed);
    }
    at(status::IOV).store(SLOTS + status::DATA as u64, Relaxed);
    at(status::IOV + 8).store(8, Relaxed);
}
