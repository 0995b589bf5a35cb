//! A Unix socket.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use super::bind::{Bound, Names};
use super::inbox::{Inbox, Message};
use super::options::Options;
use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::{self, UnixName, emit_unix};
use crate::net::control::{Control, Ucred};
use crate::net::{Caller, Received, SendMeta, Shutdown, Socket, SocketType};
use crate::wait::{Ready, WaitQueue};

/// Bytes that one send moves at most into one piece of a stream.
const PIECE_MAX: usize = 64 << 10;

/// A Unix socket. Lock order: `state`, then `options`; never two sockets' `state`.
pub struct UnixSocket {
    kind: i32,
    names: Arc<Names>,
    me: Weak<Self>,
    state: Mutex<State>,
    pub(super) options: Mutex<Options>,
    queue: WaitQueue,
}

struct State {
    name: Option<UnixName>,
    bound: Option<Bound>,
    role: Role,
    inbox: Inbox,
    read_shut: bool,
    write_shut: bool,
    /// The peer went away with our messages unread (ECONNRESET, once).
    reset: bool,
    peer_creds: Ucred,
    /// Those who wait to send to us and found the inbox full.
    blocked_senders: Vec<Weak<UnixSocket>>,
}

enum Role {
    Idle,
    Listening {
        backlog: usize,
        pending: VecDeque<Arc<UnixSocket>>,
        creds: Ucred,
    },
    Connected {
        peer: Weak<UnixSocket>,
    },
}

/// Two connected sockets (socketpair(2)).
pub fn pair(
    kind: i32,
    names: &Arc<Names>,
    caller: &Caller<'_>,
) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    let (a, b) = (UnixSocket::new(kind, names), UnixSocket::new(kind, names));
    let creds = caller.ucred();
    a.join(&b, creds);
    b.join(&a, creds);
    (a, b)
}

impl Caller<'_> {
    /// Who speaks, as SCM_CREDENTIALS tells it.
    pub(crate) fn ucred(&self) -> Ucred {
        Ucred {
            pid: self.path.pid,
            uid: self.path.creds.euid,
            gid: self.path.creds.egid,
        }
    }
}

/// Streams fault by the page.
const PAGE: usize = 4096;

impl UnixSocket {
    /// An unconnected socket of this `SOCK_*` kind.
    pub fn new(kind: i32, names: &Arc<Names>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            kind,
            names: Arc::clone(names),
            me: Weak::clone(me),
            state: Mutex::new(State {
                name: None,
                bound: None,
                role: Role::Idle,
                inbox: Inbox::default(),
                read_shut: false,
                write_shut: false,
                reset: false,
                peer_creds: Ucred::default(),
                blocked_senders: Vec::new(),
            }),
            options: Mutex::new(Options::default()),
            queue: WaitQueue::new(),
        })
    }

    fn connection_oriented(&self) -> bool {
        self.kind != libc::SOCK_DGRAM
    }

    fn join(&self, peer: &Arc<Self>, creds: Ucred) {
        let mut state = self.state.lock();
        state.role = Role::Connected {
            peer: Arc::downgrade(peer),
        };
        state.peer_creds = creds;
    }

    pub(super) fn peer_credentials(&self) -> Ucred {
        self.state.lock().peer_creds
    }

    pub(super) fn is_listening(&self) -> bool {
        matches!(self.state.lock().role, Role::Listening { .. })
    }

    pub(super) fn take_error(&self) -> i32 {
        if std::mem::take(&mut self.state.lock().reset) {
            Errno::ECONNRESET.0
        } else {
            0
        }
    }

    /// Connects a stream: makes the server's end and queues it with the listener.
    fn connect_to(&self, listener: &Arc<Self>, caller: &Caller<'_>) -> Result<(), Errno> {
        let server = Self::new(self.kind, &self.names);
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let listener_creds = {
            let mut state = listener.state.lock();
            let state = &mut *state;
            server.state.lock().name.clone_from(&state.name);
            let Role::Listening {
                backlog,
                pending,
                creds,
            } = &mut state.role
            else {
                return Err(Errno::ECONNREFUSED);
            };
            // `unix_recvq_full`: one more than the backlog.
            if pending.len() > *backlog {
                note_blocked(&mut state.blocked_senders, &self.me);
                return Err(Errno::EAGAIN);
            }
            server.join(&me, caller.ucred());
            *server.options.lock() = *listener.options.lock();
            pending.push_back(Arc::clone(&server));
            *creds
        };
        self.join(&server, listener_creds);
        listener.queue.notify(Ready::IN | Ready::RDNORM);
        self.queue.notify(Ready::OUT | Ready::WRNORM);
        Ok(())
    }

    /// Puts one message into this socket's inbox: how many bytes of `src` it took.
    fn deliver(
        &self,
        src: &mut dyn IoSrc,
        limit: usize,
        make: impl FnOnce(Vec<u8>) -> Message,
        from: &Arc<Self>,
    ) -> Result<usize, Errno> {
        let stream = self.kind == libc::SOCK_STREAM;
        let wanted = src.remaining();
        let mut state = self.state.lock();
        if state.read_shut {
            return Err(Errno::EPIPE);
        }
        let room = state.inbox.room(limit);
        let fits = if stream {
            room > 0
        } else {
            room >= wanted.min(limit) && room > 0
        };
        if !fits {
            note_blocked(&mut state.blocked_senders, &from.me);
            return Err(Errno::EAGAIN);
        }
        let count = if stream {
            wanted.min(room).min(PIECE_MAX)
        } else {
            wanted
        };
        drop(state);
        // Guest memory is read without the lock: it may fault.
        let mut data = vec![0; count];
        // A packet that faults half-way is not sent; of a stream, the pages before are.
        let got = if count == 0 { 0 } else { src.take(&mut data)? };
        let count = match got {
            _ if got == count => count,
            _ if stream && got >= PAGE => got / PAGE * PAGE,
            _ => return Err(Errno::EFAULT),
        };
        data.truncate(count);
        self.state.lock().inbox.push(make(data), stream);
        self.queue.notify(Ready::IN | Ready::RDNORM);
        Ok(count)
    }

    fn destination(&self, caller: &Caller<'_>, to: Option<&[u8]>) -> Result<Arc<Self>, Errno> {
        if let Some(to) = to.filter(|_| !self.connection_oriented()) {
            let found = self.names.find(caller, &addr::parse_unix(to)?)?;
            return if found.kind == self.kind {
                Ok(found)
            } else {
                Err(Errno::EPROTOTYPE)
            };
        }
        let state = self.state.lock();
        match (&state.role, to) {
            (Role::Connected { .. }, Some(_)) if self.connection_oriented() => Err(Errno::EISCONN),
            (Role::Connected { peer }, _) => peer.upgrade().ok_or(if self.connection_oriented() {
                Errno::EPIPE
            } else {
                Errno::ECONNREFUSED
            }),
            (_, Some(_)) if self.connection_oriented() => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// After a read or accept made room: everybody who waits to send or connect.
    fn tell_senders(&self) {
        let blocked = std::mem::take(&mut self.state.lock().blocked_senders);
        for sender in blocked.iter().filter_map(Weak::upgrade) {
            sender.queue.notify(Ready::OUT | Ready::WRNORM);
        }
    }
}

/// Remembers who found no room, once each.
fn note_blocked(blocked: &mut Vec<Weak<UnixSocket>>, who: &Weak<UnixSocket>) {
    if !blocked.iter().any(|known| known.ptr_eq(who)) {
        blocked.push(Weak::clone(who));
    }
}

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

impl State {
    /// True if no more will ever be received.
    fn ended(&self, connection_oriented: bool) -> bool {
        self.read_shut
            || connection_oriented
                && matches!(&self.role, Role::Connected { peer } if peer.strong_count() == 0)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let connection_oriented = self.connection_oriented();
        let state = self.state.get_mut();
        let unread = state.inbox.take_all();
        let (peer, pending) = match std::mem::replace(&mut state.role, Role::Idle) {
            Role::Connected { peer } if connection_oriented => (peer.upgrade(), VecDeque::new()),
            Role::Listening { pending, .. } => (None, pending),
            _ => (None, VecDeque::new()),
        };
        let blocked = std::mem::take(&mut state.blocked_senders);
        if let Some(peer) = peer {
            {
                let mut state = peer.state.lock();
                state.read_shut = true;
                state.write_shut = true;
                state.reset |= !unread.is_empty();
            }
            peer.queue.notify(
                Ready::IN | Ready::OUT | Ready::HUP | Ready::RDHUP | Ready::RDNORM | Ready::WRNORM,
            );
        }
        for sender in blocked.iter().filter_map(Weak::upgrade) {
            sender.queue.notify(Ready::OUT | Ready::WRNORM);
        }
        // Connections nobody accepted end with the listener.
        drop(pending);
    }
}
