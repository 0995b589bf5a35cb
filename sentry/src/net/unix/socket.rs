//! A Unix socket: its state, connecting it, and delivery into its inbox.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use super::bind::{Bound, Names};
use super::inbox::{Inbox, Message};
use super::options::Options;
use crate::mm::io::IoSrc;
use crate::net::Caller;
use crate::net::addr::{self, UnixName};
use crate::net::control::Ucred;
use crate::wait::{Ready, WaitQueue};

/// Bytes that one send moves at most into one piece of a stream.
const PIECE_MAX: usize = 64 << 10;

/// A Unix socket. Lock order: `state`, then `options`; never two sockets' `state`.
pub struct UnixSocket {
    pub(super) kind: i32,
    pub(super) names: Arc<Names>,
    pub(super) me: Weak<Self>,
    pub(super) state: Mutex<State>,
    pub(super) options: Mutex<Options>,
    pub(super) queue: WaitQueue,
}

pub(super) struct State {
    pub(super) name: Option<UnixName>,
    pub(super) bound: Option<Bound>,
    pub(super) role: Role,
    pub(super) inbox: Inbox,
    pub(super) read_shut: bool,
    pub(super) write_shut: bool,
    /// The peer went away with our messages unread (ECONNRESET, once).
    pub(super) reset: bool,
    pub(super) peer_creds: Ucred,
    /// Those who wait to send to us and found the inbox full.
    pub(super) blocked_senders: Vec<Weak<UnixSocket>>,
}

pub(super) enum Role {
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

    pub(super) fn connection_oriented(&self) -> bool {
        self.kind != libc::SOCK_DGRAM
    }

    pub(super) fn join(&self, peer: &Arc<Self>, creds: Ucred) {
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
    pub(super) fn connect_to(
        &self,
        listener: &Arc<Self>,
        caller: &Caller<'_>,
    ) -> Result<(), Errno> {
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
    pub(super) fn deliver(
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

    pub(super) fn destination(
        &self,
        caller: &Caller<'_>,
        to: Option<&[u8]>,
    ) -> Result<Arc<Self>, Errno> {
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
    pub(super) fn tell_senders(&self) {
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

impl State {
    /// True if no more will ever be received.
    pub(super) fn ended(&self, connection_oriented: bool) -> bool {
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
