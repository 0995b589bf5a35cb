//! Signals about readiness (O_ASYNC, F_SETOWN, F_SETSIG): who gets which signal when a file becomes ready.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::wait::{Ready, WaitId, WaitQueue, Wake};

/// What an owner's id names, with fcntl(F_SETOWN_EX)'s values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum OwnerKind {
    /// F_OWNER_TID
    Thread = 0,
    /// F_OWNER_PID
    Process = 1,
    /// F_OWNER_PGRP
    Group = 2,
}

/// Who gets the signal, and who decided that (`struct fown_struct`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// What `id` names.
    pub kind: OwnerKind,
    /// A thread, process or process group.
    pub id: i32,
    /// Real user of whoever set it.
    pub uid: u32,
    /// Effective user of whoever set it.
    pub euid: u32,
}

/// One signal to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IoEvent {
    /// F_SETSIG's signal; 0 is SIGIO without details.
    pub signo: i32,
    /// The descriptor that O_ASYNC was set through.
    pub fd: i32,
    /// POLL_IN, POLL_OUT, POLL_ERR, POLL_PRI or POLL_HUP; SI_KERNEL for SIGURG.
    pub code: i32,
}

/// Raises the signals. Called where files notify: no lock that the callee could need may be waited for.
pub trait IoSignals: Send + Sync {
    /// Raises `event` in `owner`.
    fn raise(&self, owner: Owner, event: IoEvent);
}

/// Codes of `si_code` (asm-generic/siginfo.h).
const POLL_IN: i32 = 1;
const POLL_OUT: i32 = 2;
const POLL_ERR: i32 = 4;
const POLL_PRI: i32 = 5;
const POLL_HUP: i32 = 6;

/// The settings of one open file description.
#[derive(Default)]
pub(super) struct SigIo {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    owner: Option<Owner>,
    signo: i32,
    fd: i32,
    signals: Option<Arc<dyn IoSignals>>,
    registration: Option<WaitId>,
    /// Urgent data is told of, O_ASYNC or not.
    tells_urgent: bool,
    /// A write did not fit: the next space is told (SOCKWQ_ASYNC_NOSPACE).
    no_space: bool,
}

impl SigIo {
    pub(super) fn owner(&self) -> Option<Owner> {
        self.state.lock().owner
    }

    pub(super) fn set_owner(&self, owner: Option<Owner>) {
        self.state.lock().owner = owner;
    }

    pub(super) fn signo(&self) -> i32 {
        self.state.lock().signo
    }

    pub(super) fn set_signo(&self, signo: i32) {
        self.state.lock().signo = signo;
    }

    pub(super) fn note_no_space(&self) {
        self.state.lock().no_space = true;
    }

    /// Begins to raise signals for `fd`, over `signals`.
    pub(super) fn start(self: &Arc<Self>, queue: &WaitQueue, fd: i32, signals: Arc<dyn IoSignals>) {
        let mask = Ready::IN | Ready::OUT | Ready::PRI | Ready::RDHUP;
        let mut state = self.state.lock();
        state.fd = fd;
        state.signals = Some(signals);
        if state.registration.is_none() {
            state.registration = Some(queue.add(mask, Arc::<Self>::clone(self)));
        }
    }

    /// Has `queue` tell the owner of urgent data (`sk_send_sigurg`).
    pub(super) fn tell_urgent(self: &Arc<Self>, queue: &WaitQueue, signals: Arc<dyn IoSignals>) {
        let mut state = self.state.lock();
        state.signals.get_or_insert(signals);
        if !std::mem::replace(&mut state.tells_urgent, true) {
            queue.add(Ready::URGENT, Arc::new(UrgentTeller(Arc::clone(self))));
        }
    }

    /// No signals from here on.
    pub(super) fn stop(&self, queue: &WaitQueue) {
        if let Some(id) = self.state.lock().registration.take() {
            queue.remove(id);
        }
    }
}

impl State {
    /// The code for what has become true; `None` if nobody is to be told.
    fn code(&mut self, ready: Ready) -> Option<i32> {
        let told = [
            (Ready::HUP, POLL_HUP),
            (Ready::ERR, POLL_ERR),
            (Ready::PRI, POLL_PRI),
            (Ready::IN | Ready::RDHUP, POLL_IN),
        ];
        let found = told.iter().find(|(bits, _)| ready.intersects(*bits));
        match found {
            Some((_, code)) => Some(*code),
            None => std::mem::take(&mut self.no_space).then_some(POLL_OUT),
        }
    }
}

impl Wake for SigIo {
    fn wake(&self, ready: Ready) {
        let (signals, owner, event) = {
            let mut state = self.state.lock();
            let Some(code) = state.code(ready) else {
                return;
            };
            let (Some(signals), Some(owner)) = (state.signals.clone(), state.owner) else {
                return;
            };
            let event = IoEvent {
                signo: state.signo,
                fd: state.fd,
                code,
            };
            (signals, owner, event)
        };
        signals.raise(owner, event);
    }
}

/// Raises SIGURG when urgent data is announced.
struct UrgentTeller(Arc<SigIo>);

impl Wake for UrgentTeller {
    fn wake(&self, ready: Ready) {
        if !ready.contains(Ready::URGENT) {
            return;
        }
        let (signals, owner) = {
            let state = self.0.state.lock();
            match (state.signals.clone(), state.owner) {
                (Some(signals), Some(owner)) => (signals, owner),
                _ => return,
            }
        };
        let event = IoEvent {
            signo: libc::SIGURG,
            fd: 0,
            code: libc::SI_KERNEL,
        };
        signals.raise(owner, event);
    }
}
