//! ioctls of terminals.

use std::sync::Arc;

use sentry_abi::Errno;
use sentry_abi::file::{Termios, Winsize};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::pty::Pty;
use crate::vfs::file::IoctlCall;

fn get<T: FromBytes + IntoBytes + Default>(call: &IoctlCall<'_>) -> Result<T, Errno> {
    let mut value = T::default();
    call.memory.read(call.arg, value.as_mut_bytes())?;
    Ok(value)
}

fn put<T: IntoBytes + Immutable>(call: &IoctlCall<'_>, value: &T) -> Result<u64, Errno> {
    call.memory.write(call.arg, value.as_bytes())?;
    Ok(0)
}

pub(super) fn master(pty: &Arc<Pty>, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
    match u64::from(call.request) {
        libc::TIOCGPTN => put(call, &pty.index),
        libc::TIOCSPTLCK => {
            let lock: i32 = get(call)?;
            pty.state.lock().locked = lock != 0;
            Ok(0)
        }
        libc::TIOCGPTLCK => {
            let locked = i32::from(pty.state.lock().locked);
            put(call, &locked)
        }
        libc::FIONREAD => {
            let count = pty.state.lock().line.output.len() as i32;
            put(call, &count)
        }
        libc::TIOCGPGRP => {
            let foreground = pty.state.lock().foreground;
            put(call, &foreground)
        }
        _ => common(pty, call),
    }
}

pub(super) fn slave(pty: &Arc<Pty>, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
    match u64::from(call.request) {
        libc::FIONREAD => {
            let count = pty.state.lock().line.readable().unwrap_or(0) as i32;
            put(call, &count)
        }
        libc::TIOCGPGRP => {
            own_terminal(pty, call)?;
            let foreground = pty.state.lock().foreground;
            put(call, &foreground)
        }
        libc::TIOCSPGRP => set_foreground(pty, call),
        libc::TIOCSCTTY => take_terminal(pty, call),
        libc::TIOCGSID => {
            own_terminal(pty, call)?;
            let session = pty.state.lock().session;
            put(call, &session)
        }
        libc::TIOCNOTTY => {
            own_terminal(pty, call)?;
            call.session.set_controlling(None);
            let mut state = pty.state.lock();
            if call.session.ids().pid == state.session {
                state.session = 0;
                state.foreground = 0;
            }
            Ok(0)
        }
        _ => common(pty, call),
    }
}

/// ENOTTY unless it is the caller's controlling terminal.
fn own_terminal(pty: &Pty, call: &IoctlCall<'_>) -> Result<(), Errno> {
    let session = pty.state.lock().session;
    if session != 0 && session == call.session.ids().sid {
        Ok(())
    } else {
        Err(Errno::ENOTTY)
    }
}

/// Makes it the controlling terminal of the caller's session (Linux `tiocsctty`); with an argument of 1
/// the privileged take it from another session.
fn take_terminal(pty: &Pty, call: &IoctlCall<'_>) -> Result<u64, Errno> {
    let ids = call.session.ids();
    let leads = ids.pid == ids.sid;
    let owner = pty.state.lock().session;
    if leads && owner == ids.sid {
        return Ok(0);
    }
    if !leads || call.session.has_controlling() {
        return Err(Errno::EPERM);
    }
    if owner != 0 {
        if call.arg != 1 || !call.session.may_steal_terminals() {
            return Err(Errno::EPERM);
        }
        call.session.detach_session(owner);
    }
    pty.begin_session(ids);
    call.session.set_controlling(Some(Arc::clone(call.file)));
    Ok(0)
}

fn set_foreground(pty: &Pty, call: &IoctlCall<'_>) -> Result<u64, Errno> {
    own_terminal(pty, call)?;
    let ids = call.session.ids();
    let group: i32 = get(call)?;
    if group < 0 {
        return Err(Errno::EINVAL);
    }
    if !call.session.group_in_session(group, ids.sid) {
        return Err(Errno::EPERM);
    }
    let background = pty.state.lock().foreground != ids.pgid;
    if background && call.session.stop_background(libc::SIGTTOU) {
        return Err(Errno::EINTR);
    }
    pty.state.lock().foreground = group;
    Ok(0)
}

fn common(pty: &Pty, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
    match u64::from(call.request) {
        libc::TCGETS => {
            let termios = pty.state.lock().line.termios;
            put(call, &termios)
        }
        libc::TCSETS | libc::TCSETSW | libc::TCSETSF => {
            let new: Termios = get(call)?;
            let mut state = pty.state.lock();
            if u64::from(call.request) == libc::TCSETSF {
                state.line.flush_input();
            }
            state.line.set_termios(new);
            drop(state);
            pty.changed();
            Ok(0)
        }
        libc::TIOCGWINSZ => {
            let size = pty.state.lock().size;
            put(call, &size)
        }
        libc::TIOCSWINSZ => {
            let new: Winsize = get(call)?;
            pty.set_size(new);
            Ok(0)
        }
        libc::TCFLSH => {
            let mut state = pty.state.lock();
            let which = call.arg as i32;
            if which == libc::TCIFLUSH || which == libc::TCIOFLUSH {
                state.line.flush_input();
            }
            if which == libc::TCOFLUSH || which == libc::TCIOFLUSH {
                state.line.output.clear();
            }
            drop(state);
            pty.changed();
            Ok(0)
        }
        libc::TIOCOUTQ => put(call, &0i32),
        libc::TCSBRK | libc::TCXONC | libc::TCSBRKP => Ok(0),
        _ => Err(Errno::ENOTTY),
    }
}
