//! A guest thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sentry_abi::Regs;

use super::gates::Stumbled;
use super::hot::HotSites;
use super::layout::{CLONE_THREAD_FLAGS, GATES, GATES_LEN, INTERRUPT_SIGNAL, SLOT, slot};
use super::process::{Stub, address, offset};
use super::{call, frame};
use crate::platform::fp::{self, FpLayout};
use crate::platform::{Access, Context, Event, Interrupt, PlatformError, sys};

/// A guest thread of a stub, and its slot.
pub(in crate::platform) struct Thread {
    shared: Arc<ThreadShared>,
    /// Where the thread's `ucontext` is, as an offset in the slot.
    uc: usize,
    left: Left,
    hot: HotSites,
    cpu_cycles: AtomicU64,
}

/// How guest code was left, and so how it is returned to.
#[derive(Clone, Copy)]
enum Left {
    /// By a signal; its frame is at `uc`.
    ByFrame,
    /// Through a gate, to return to `raw`, which the guest knows as `shown`.
    ByCall { shown: u64, raw: u64 },
}

/// What interrupters hold too.
struct ThreadShared {
    stub: Arc<Stub>,
    slot: u64,
    /// An interrupt that `run` has not reported yet.
    pending: AtomicBool,
    /// Guest code has control: interrupting takes a signal.
    in_guest: AtomicBool,
}

/// Where the first frame is made, and the extended state that it names. The kernel reads both when
/// the thread first runs; frames that it writes later may overwrite them.
const FIRST_FRAME: usize = slot::STACK;
const FIRST_FP: usize = slot::STACK + 0x400;
const _: () = assert!(FIRST_FRAME + frame::LEN <= FIRST_FP && FIRST_FP.is_multiple_of(64));

/// The flag that makes each instruction trap (EFLAGS.TF).
const TRAP_FLAG: u64 = 1 << 8;

/// How long a sleeping Sentry thread waits before it looks whether the stub is alive.
const CHECK: Duration = Duration::from_millis(50);
/// A thread that has not answered a signal for this long has tampered with its slot or mask.
const DEAF: Duration = Duration::from_secs(10);

impl Thread {
    pub(super) fn start(stub: Arc<Stub>, fp: Option<&[u8]>) -> Result<Self, PlatformError> {
        let slot = stub.take_slot()?;
        let mut thread = Self {
            shared: Arc::new(ThreadShared {
                stub,
                slot,
                pending: AtomicBool::new(false),
                in_guest: AtomicBool::new(false),
            }),
            uc: FIRST_FRAME,
            left: Left::ByFrame,
            hot: HotSites::new(),
            cpu_cycles: AtomicU64::new(0),
        };
        let stub = Arc::clone(&thread.shared.stub);
        frame::init(&stub.shared, thread.at(FIRST_FRAME));
        thread.write_fp(fp)?;
        let word = |at: usize| stub.shared.u32(thread.at(at));
        word(slot::SENTRY_SLEEPS).store(0, Relaxed);
        word(slot::STUB_SLEEPS).store(0, Relaxed);
        word(slot::SPIN).store(0, Relaxed);
        word(slot::LEFT_BY).store(slot::BY_FRAME, Relaxed);
        word(slot::WANT_FRAME).store(0, Relaxed);
        word(slot::PENDING).store(0, Relaxed);
        word(slot::STATE).store(slot::EVENT, SeqCst);
        let base = address(slot);
        let clone = [
            CLONE_THREAD_FLAGS,
            base + FIRST_FRAME as u64,
            base + slot::TID as u64,
            base + slot::STATE as u64,
        ];
        match stub.orders.lock().clone_thread(&stub, clone)? {
            Ok(()) => Ok(thread),
            Err(_) => {
                word(slot::STATE).store(slot::DEAD, Relaxed);
                Err(PlatformError::Exhausted("threads"))
            }
        }
    }

    /// Offset in the shared mapping of an offset in the slot.
    fn at(&self, at: usize) -> usize {
        offset(self.shared.slot) + at
    }

    /// Gives control to guest code and waits until it comes back. `None`: the reserved signal.
    fn round_trip(&mut self, regs: &mut Regs) -> Result<Option<Event>, PlatformError> {
        self.resume(regs);
        let waited = self.wait();
        self.leave_guest();
        waited?;
        self.take_event(regs)
    }

    /// Gives control to guest code.
    pub(in crate::platform) fn resume(&self, regs: &Regs) {
        let stub = &self.shared.stub;
        let shared = &stub.shared;
        let base = address(self.shared.slot);
        match self.left {
            Left::ByCall { shown, raw } => {
                let rip = match regs.rip == shown {
                    true => raw,
                    false => stub.gates.read().led(regs.rip),
                };
                call::write(shared, self.at(0), regs, rip);
            }
            Left::ByFrame => {
                let rip = stub.gates.read().led(regs.rip);
                frame::write(shared, self.at(self.uc), base, &Regs { rip, ..*regs });
                shared
                    .u64(self.at(slot::UCONTEXT))
                    .store(base + self.uc as u64, Relaxed);
                // Gates find the slot by it.
                let gs_base = if regs.gs_base == 0 {
                    base
                } else {
                    regs.gs_base
                };
                shared.u64(self.at(slot::GS_BASE)).store(gs_base, Relaxed);
            }
        }
        shared
            .u64(self.at(slot::FS_BASE))
            .store(regs.fs_base, Relaxed);
        self.give_control();
    }

    /// Lets the thread go on in the stub.
    fn give_control(&self) {
        let stub = &self.shared.stub;
        let shared = &stub.shared;
        let cycles = stub.common.load.poll_cycles();
        shared.u32(self.at(slot::SPIN)).store(cycles, Relaxed);
        let (_, cpu) = sys::tsc_and_cpu();
        shared.u32(self.at(slot::SENTRY_CPU)).store(cpu, Relaxed);
        let state = shared.u32(self.at(slot::STATE));
        // A thread that has died stays dead.
        let given = state.compare_exchange(slot::EVENT, slot::RUN, SeqCst, SeqCst);
        if given.is_ok() && shared.u32(self.at(slot::STUB_SLEEPS)).load(SeqCst) != 0 {
            sys::futex_wake(state);
        }
    }

    /// Waits until the thread has handed over.
    pub(in crate::platform) fn wait(&self) -> Result<(), PlatformError> {
        let stub = &self.shared.stub;
        let state = stub.shared.u32(self.at(slot::STATE));
        let sleeps = stub.shared.u32(self.at(slot::SENTRY_SLEEPS));
        let stub_cpu = stub.shared.u32(self.at(slot::STUB_CPU));
        let (start, cpu) = sys::tsc_and_cpu();
        let budget = u64::from(stub.common.load.poll_cycles());
        while state.load(SeqCst) == slot::RUN
            && stub_cpu.load(Relaxed) != cpu
            && sys::tsc().wrapping_sub(start) < budget
        {
            std::hint::spin_loop();
        }
        let mut asked: Option<Instant> = None;
        while state.load(SeqCst) == slot::RUN {
            sleeps.store(1, SeqCst);
            if state.load(SeqCst) == slot::RUN {
                sys::futex_wait(state, slot::RUN, CHECK);
            }
            sleeps.store(0, SeqCst);
            if state.load(SeqCst) == slot::RUN {
                self.check_alive(&mut asked)?;
            }
        }
        self.cpu_cycles
            .fetch_add(sys::tsc().wrapping_sub(start), Relaxed);
        match state.load(SeqCst) {
            slot::EVENT => Ok(()),
            slot::DEAD => Err(stub.condemn("its thread has ended")),
            _ => Err(stub.condemn("it wrote nonsense into its context")),
        }
    }

    fn check_alive(&self, asked: &mut Option<Instant>) -> Result<(), PlatformError> {
        let stub = &self.shared.stub;
        if stub.has_ended() {
            return Err(PlatformError::Dead("its process has ended"));
        }
        if !self.shared.pending.load(SeqCst) {
            *asked = None;
        } else if asked.get_or_insert_with(Instant::now).elapsed() > DEAF {
            return Err(stub.condemn("it does not answer"));
        }
        Ok(())
    }

    /// What the thread left, `None` for the reserved signal.
    fn take_event(&mut self, regs: &mut Regs) -> Result<Option<Event>, PlatformError> {
        let stub = &self.shared.stub;
        match stub.shared.u32(self.at(slot::LEFT_BY)).load(Relaxed) {
            slot::BY_FRAME => self.take_frame(regs),
            slot::BY_CALL => {
                self.take_call(regs);
                self.hot.pass();
                Ok(Some(frame::enter_call(regs)))
            }
            slot::BY_INTERRUPT => {
                self.take_call(regs);
                Ok(None)
            }
            _ => Err(stub.condemn("its context says nonsense about how it came")),
        }
    }

    /// The registers of a thread that came through a gate.
    fn take_call(&mut self, regs: &mut Regs) {
        let stub = &self.shared.stub;
        call::read(&stub.shared, self.at(0), regs);
        regs.fs_base = stub.shared.u64(self.at(slot::FS_BASE)).load(Relaxed);
        regs.gs_base = 0;
        let raw = regs.rip;
        if let Some((shown, _)) = self.shown(raw) {
            // As `syscall` would have left it.
            regs.rcx = if regs.rcx == raw { shown } else { regs.rcx };
            regs.rip = shown;
        }
        let shown = regs.rip;
        self.left = Left::ByCall { shown, raw };
    }

    /// The guest's view of an instruction pointer in a gate.
    fn shown(&self, rip: u64) -> Option<(u64, bool)> {
        match (GATES..GATES + GATES_LEN).contains(&rip) {
            true => self.shared.stub.gates.read().shown(rip),
            false => None,
        }
    }

    fn take_frame(&mut self, regs: &mut Regs) -> Result<Option<Event>, PlatformError> {
        self.left = Left::ByFrame;
        let stub = Arc::clone(&self.shared.stub);
        let shared = &stub.shared;
        self.uc = self.handed_frame()?;
        regs.fs_base = shared.u64(self.at(slot::FS_BASE)).load(Relaxed);
        regs.gs_base = shared.u64(self.at(slot::GS_BASE)).load(Relaxed);
        if regs.gs_base == address(self.shared.slot) {
            regs.gs_base = 0;
        }
        let event = frame::read(shared, self.at(self.uc), regs)
            .map_err(|_| stub.condemn("its context holds no event"))?;
        Ok(self.as_unpatched(event, regs))
    }

    /// What the event would be if no call site had been patched.
    fn as_unpatched(&mut self, event: Option<Event>, regs: &mut Regs) -> Option<Event> {
        self.hot.pass();
        if let Some((shown, by_call)) = self.shown(regs.rip) {
            regs.rip = shown;
            if by_call {
                regs.rcx = shown;
            }
            return event;
        }
        match event {
            Some(Event::Syscall) => self.hot.note(regs.rip),
            Some(Event::Exception {
                signo: libc::SIGILL,
                ..
            }) => match self.shared.stub.gates.read().stumbled(regs.rip) {
                Some(Stumbled::Again) => return None,
                Some(Stumbled::Call(end)) => {
                    (regs.rip, regs.rcx, regs.r11) = (end, end, regs.eflags);
                    return Some(frame::enter_call(regs));
                }
                None => {}
            },
            _ => {}
        }
        event
    }

    /// Where in the slot the frame is that the thread names.
    fn handed_frame(&self) -> Result<usize, PlatformError> {
        let stub = &self.shared.stub;
        let uc = stub.shared.u64(self.at(slot::UCONTEXT)).load(Relaxed);
        self.frame_offset(uc)
            .ok_or_else(|| stub.condemn("its context names a frame that is not in it"))
    }

    /// Makes a thread that came through a gate have a frame, for what only a frame can do. It is not
    /// in guest code: no interrupt is sent to it.
    fn want_frame(&mut self) -> Result<(), PlatformError> {
        if matches!(self.left, Left::ByFrame) {
            return Ok(());
        }
        let stub = Arc::clone(&self.shared.stub);
        let word = |at: usize| stub.shared.u32(self.at(at));
        word(slot::WANT_FRAME).store(1, Relaxed);
        self.give_control();
        self.wait()?;
        word(slot::WANT_FRAME).store(0, Relaxed);
        if word(slot::LEFT_BY).load(Relaxed) != slot::BY_FRAME {
            return Err(stub.condemn("it made no frame"));
        }
        self.uc = self.handed_frame()?;
        self.left = Left::ByFrame;
        Ok(())
    }

    /// Offset in the slot of a frame at this address of the stub, if it is in the slot.
    fn frame_offset(&self, uc: u64) -> Option<usize> {
        let uc = uc.wrapping_sub(address(self.shared.slot)) as usize;
        let fits = uc.is_multiple_of(8)
            && uc >= slot::STACK
            && uc
                .checked_add(frame::LEN)
                .is_some_and(|end| end <= SLOT as usize);
        fits.then_some(uc)
    }

    /// Offset in the slot of the extended state, and its length; `None` for the reset state.
    fn fp_area(&self) -> Option<(usize, usize)> {
        let shared = &self.shared.stub.shared;
        let addr = frame::fp_address(shared, self.at(self.uc));
        let start = addr.wrapping_sub(address(self.shared.slot)) as usize;
        let room = (SLOT as usize).checked_sub(start)?;
        if !start.is_multiple_of(64) || start < slot::STACK || room < 512 {
            return None;
        }
        let mut legacy = [0; 512];
        shared.read(self.at(start), &mut legacy);
        let len = fp::area_len(&legacy)?;
        (len <= room && len <= self.shared.stub.common.fp.size + 4).then_some((start, len))
    }

    fn write_fp(&mut self, fp: Option<&[u8]>) -> Result<(), PlatformError> {
        self.want_frame()?;
        let stub = &self.shared.stub;
        let Some(area) = fp else {
            frame::set_fp_address(&stub.shared, self.at(self.uc), 0);
            return Ok(());
        };
        if !stub.common.fp.accepts(area) {
            return Err(PlatformError::host("extended state", Errno::EINVAL));
        }
        // In place where there is one; else low in the signal stack, where no frame is now.
        let (start, _) = self.fp_area().unwrap_or((FIRST_FP, 0));
        if start + area.len() > SLOT as usize || start < self.uc && start + area.len() > self.uc {
            return Err(PlatformError::host("extended state", Errno::EINVAL));
        }
        stub.shared.write(self.at(start), area);
        let addr = address(self.shared.slot) + start as u64;
        frame::set_fp_address(&stub.shared, self.at(self.uc), addr);
        Ok(())
    }
}

impl Thread {
    /// From here on interrupts are signals; whether one is pending already, which is then taken.
    pub(in crate::platform) fn enter_guest(&self) -> bool {
        self.shared.in_guest.store(true, SeqCst);
        let interrupted = self.take_interrupt();
        if interrupted {
            self.leave_guest();
        }
        interrupted
    }

    /// The end of that.
    pub(in crate::platform) fn leave_guest(&self) {
        self.shared.in_guest.store(false, SeqCst);
    }

    /// Whether an interrupt is pending; it is not any more.
    pub(in crate::platform) fn take_interrupt(&self) -> bool {
        self.shared.pending.swap(false, SeqCst)
    }

    /// What interrupts this thread.
    pub(in crate::platform) fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.shared) as Arc<dyn Interrupt>
    }

    /// The machine's extended state.
    pub(in crate::platform) fn fp_layout(&self) -> FpLayout {
        self.shared.stub.common.fp
    }

    /// The host's number of the thread, if it is one of the stub's (the slot says it).
    pub(in crate::platform) fn tid(&self) -> Option<i32> {
        let stub = &self.shared.stub;
        let tid = stub
            .shared
            .u32(self.at(slot::TID))
            .load(Relaxed)
            .cast_signed();
        (tid > 0 && sys::trace::is_thread_of(stub.pid.as_raw(), tid)).then_some(tid)
    }

    /// What a page fault wanted whose `ucontext` is at this address of the stub.
    pub(in crate::platform) fn fault_access(&self, uc: u64) -> Option<Access> {
        let at = self.frame_offset(uc)?;
        Some(frame::fault_access(&self.shared.stub.shared, self.at(at)))
    }

    /// The signal mask of guest threads.
    pub(in crate::platform) fn signal_mask() -> u64 {
        frame::guest_mask()
    }
}

impl Context for Thread {
    fn run(&mut self, regs: &mut Regs) -> Result<Event, PlatformError> {
        loop {
            if regs.gs_base != 0 || regs.eflags & TRAP_FLAG != 0 {
                self.want_frame()?;
            }
            if self.enter_guest() {
                return Ok(Event::Interrupted);
            }
            let stub = Arc::clone(&self.shared.stub);
            let in_guest = stub.in_guest.read();
            let running = stub.common.load.enter();
            let event = self.round_trip(regs)?;
            drop((running, in_guest));
            match event {
                Some(event) => return Ok(event),
                None if self.take_interrupt() => return Ok(Event::Interrupted),
                // A signal for an interrupt that was reported already.
                None => {}
            }
        }
    }

    fn fp_state(&mut self) -> Vec<u8> {
        // A thread that is lost has none; whoever runs it next will hear of it.
        let area = self.want_frame().ok().and_then(|()| self.fp_area());
        let Some((start, len)) = area else {
            return self.shared.stub.common.fp.reset_area();
        };
        let mut area = vec![0; len];
        self.shared.stub.shared.read(self.at(start), &mut area);
        area
    }

    fn set_fp_state(&mut self, fp: Option<&[u8]>) -> Result<(), PlatformError> {
        self.write_fp(fp)
    }

    fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        self.interrupter()
    }

    fn cpu_time_ns(&self) -> u64 {
        sys::cycles_to_ns(self.cpu_cycles.load(Relaxed))
    }

    fn trapped_here(&self) -> u32 {
        self.hot.last()
    }
}

impl Interrupt for ThreadShared {
    fn interrupt(&self) {
        self.pending.store(true, SeqCst);
        if self.in_guest.load(SeqCst) {
            // The guest's word: at worst another thread of the same process gets the signal.
            let at = offset(self.slot) + slot::TID;
            let tid = self.stub.shared.u32(at).load(Relaxed).cast_signed();
            if tid > 0 {
                sys::tgkill(self.stub.pid.as_raw(), tid, INTERRUPT_SIGNAL);
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let stub = &self.shared.stub;
        let state = stub.shared.u32(self.at(slot::STATE));
        let told = state.compare_exchange(slot::EVENT, slot::EXIT, SeqCst, SeqCst);
        if told.is_ok() && stub.shared.u32(self.at(slot::STUB_SLEEPS)).load(SeqCst) != 0 {
            sys::futex_wake(state);
        }
        stub.put_slot(self.shared.slot);
    }
}
