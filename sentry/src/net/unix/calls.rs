//! The socket calls of Unix sockets.

use std::collections::VecDeque;
use std::sync::Arc;

use sentry_abi::Errno;

use super::inbox::Message;
use super::socket::{Role, UnixSocket};
use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::{self, emit_unix};
use crate::net::control::Control;
use crate::net::{Caller, Received, SendMeta, Shutdown, Socket, SocketType};
use crate::wait::{Ready, WaitQueue};

impl Socket for UnixSocket {
    fn socket_type(&self) -> SocketType {
        SocketType {
            family: libc::AF_UNIX,
            kind: self.kind,
            protocol: 0,
        }
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let name = addr::parse_unix(addr)?;
        if self.state.lock().name.is_some() {
            return Err(Errno::EINVAL);
        }
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let (name, bound) = self.names.bind(caller, name, &me)?;
        let mut state = self.state.lock();
        state.name = Some(name);
        state.bound = Some(bound);
        Ok(())
    }

    fn listen(&self, caller: &Caller<'_>, backlog: i32) -> Result<(), Errno> {
        if !self.connection_oriented() {
            return Err(Errno::EOPNOTSUPP);
        }
        // As an unsigned number capped by somaxconn: a negative backlog is a large one.
        let limit = (backlog as u32).min(4096) as usize;
        let mut state = self.state.lock();
        if state.name.is_none() {
            return Err(Errno::EINVAL);
        }
        match &mut state.role {
            Role::Listening { backlog, .. } => *backlog = limit,
            Role::Connected { .. } => return Err(Errno::EINVAL),
            Role::Idle => {
                let creds = caller.ucred();
                state.role = Role::Listening {
                    backlog: limit,
                    pending: VecDeque::new(),
                    creds,
                };
            }
        }
        Ok(())
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        if !self.connection_oriented() {
            return Err(Errno::EOPNOTSUPP);
        }
        let accepted = {
            let mut state = self.state.lock();
            let shut = state.read_shut;
            match &mut state.role {
                Role::Listening { pending, .. } => match pending.pop_front() {
                    None if shut => return Err(Errno::EINVAL),
                    next => next.ok_or(Errno::EAGAIN)?,
                },
                _ => return Err(Errno::EINVAL),
            }
        };
        self.tell_senders();
        Ok(accepted)
    }

    fn connect(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if !self.connection_oriented() && addr::family(addr)? == libc::AF_UNSPEC {
            self.state.lock().role = Role::Idle;
            return Ok(());
        }
        let name = addr::parse_unix(addr)?;
        let found = self.names.find(caller, &name)?;
        if found.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        if self.connection_oriented() {
            match self.state.lock().role {
                Role::Idle => {}
                Role::Connected { .. } => return Err(Errno::EISCONN),
                Role::Listening { .. } => return Err(Errno::EINVAL),
            }
        }
        if self.connection_oriented() {
            return self.connect_to(&found, caller);
        }
        self.join(&found, caller.ucred());
        Ok(())
    }

    fn send(
        &self,
        caller: &Caller<'_>,
        src: &mut dyn IoSrc,
        meta: SendMeta<'_>,
    ) -> Result<usize, Errno> {
        if meta.flags & libc::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.state.lock().write_shut {
            return Err(Errno::EPIPE);
        }
        let peer = self.destination(caller, meta.to)?;
        let limit = self.options.lock().send_buffer;
        let stream = self.kind == libc::SOCK_STREAM;
        if !stream && src.remaining() > limit {
            return Err(Errno::EMSGSIZE);
        }
        if stream && src.remaining() == 0 {
            return Ok(0);
        }
        let me = self.me.upgrade().ok_or(Errno::EPIPE)?;
        let name = self.state.lock().name.clone();
        let sender = meta.control.creds.unwrap_or_else(|| caller.ucred());
        let mut control = Control {
            files: meta.control.files,
            ..Control::default()
        };
        let mut total = 0;
        loop {
            let make = |data| Message {
                data,
                taken: 0,
                from: name.clone(),
                control: std::mem::take(&mut control),
                sender,
            };
            match peer.deliver(src, limit, make, &me) {
                Ok(count) => total += count,
                Err(_) if total > 0 => return Ok(total),
                Err(error) => return Err(error),
            }
            if !stream || src.remaining() == 0 {
                return Ok(total);
            }
        }
    }

    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        if flags & libc::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let result = {
            let mut state = self.state.lock();
            if self.connection_oriented() && !matches!(state.role, Role::Connected { .. }) {
                return Err(if self.kind == libc::SOCK_STREAM {
                    Errno::EINVAL
                } else {
                    Errno::ENOTCONN
                });
            }
            let result = if self.kind == libc::SOCK_STREAM {
                if dst.remaining() == 0 && !state.inbox.is_empty() {
                    return Ok(Received::default());
                }
                state.inbox.read_stream(dst, flags & libc::MSG_PEEK != 0)
            } else {
                state.inbox.read_message(dst, flags)
            };
            match result {
                Err(Errno::EAGAIN) if std::mem::take(&mut state.reset) => {
                    return Err(Errno::ECONNRESET);
                }
                Err(Errno::EAGAIN) if state.ended(self.connection_oriented()) => {
                    return Ok(Received::default());
                }
                result => result,
            }
        };
        if result.is_ok() {
            self.tell_senders();
        }
        let mut received = result?;
        if !self.options.lock().pass_cred {
            received.control.creds = None;
        }
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let peer = {
            let mut state = self.state.lock();
            if self.connection_oriented() && matches!(state.role, Role::Idle) {
                return Err(Errno::ENOTCONN);
            }
            state.read_shut |= how.reads();
            state.write_shut |= how.writes();
            match &state.role {
                Role::Connected { peer } if self.connection_oriented() => peer.upgrade(),
                _ => None,
            }
        };
        let all =
            Ready::IN | Ready::OUT | Ready::RDHUP | Ready::HUP | Ready::RDNORM | Ready::WRNORM;
        if let Some(peer) = peer {
            {
                let mut state = peer.state.lock();
                state.read_shut |= how.writes();
                state.write_shut |= how.reads();
            }
            peer.queue.notify(all);
        }
        self.tell_senders();
        self.queue.notify(all);
        Ok(())
    }

    fn local_addr(&self) -> Result<Vec<u8>, Errno> {
        Ok(emit_unix(self.state.lock().name.as_ref()))
    }

    fn peer_addr(&self) -> Result<Vec<u8>, Errno> {
        let peer = match &self.state.lock().role {
            Role::Connected { peer } => peer.upgrade(),
            _ => return Err(Errno::ENOTCONN),
        };
        Ok(emit_unix(
            peer.and_then(|peer| peer.state.lock().name.clone())
                .as_ref(),
        ))
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.option(level, name)
    }

    fn set_option(&self, _: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    fn readable_bytes(&self) -> usize {
        let state = self.state.lock();
        if self.kind == libc::SOCK_STREAM {
            state.inbox.bytes()
        } else {
            state.inbox.first_len()
        }
    }

    fn readiness(&self) -> Ready {
        let limit = self.options.lock().send_buffer;
        let (mut ready, peer) = {
            let state = self.state.lock();
            let mut ready = Ready::default();
            if !state.inbox.is_empty() || state.ended(self.connection_oriented()) || state.reset {
                ready |= Ready::IN | Ready::RDNORM;
            }
            if state.read_shut {
                ready |= Ready::RDHUP;
            }
            if state.read_shut && state.write_shut {
                ready |= Ready::HUP;
            }
            let peer = match &state.role {
                Role::Listening { pending, .. } => {
                    let waiting = if pending.is_empty() {
                        Ready::default()
                    } else {
                        Ready::IN | Ready::RDNORM
                    };
                    return ready | waiting;
                }
                Role::Connected { peer } => Some(peer.upgrade()),
                Role::Idle if self.connection_oriented() => {
                    return Ready::OUT | Ready::WRNORM | Ready::HUP;
                }
                Role::Idle => None,
            };
            (ready, peer)
        };
        let writable = match peer {
            // Linux calls a socket writable while a quarter of its buffer is used at most.
            Some(Some(peer)) => peer.state.lock().inbox.room(limit) * 4 >= limit * 3,
            _ => true,
        };
        if writable {
            ready |= Ready::OUT | Ready::WRNORM;
        }
        ready
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }
}
