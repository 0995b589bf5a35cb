//! The stack, the descriptors of its sockets, and what each call does without blocking.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;

use crate::flags::Flags;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use packetdrill_tests::ast::Micros;
use packetdrill_tests::run::epoll::{ALWAYS, Epoll};
use packetdrill_tests::run::stack::Netstack;
use packetdrill_tests::run::{Handle, Received, SysResult, Target, set_defaults};

/// What keeps a descriptor's number taken on the host. The tool closes what a script leaves open by the
/// host's own `close`, which must find something, and nothing else, there.
const PLACEHOLDER: &str = "/dev/null";

/// What a descriptor stands for.
#[derive(Debug)]
pub(crate) enum File {
    Socket(Socket),
    Epoll(Epoll),
}

/// A socket; whether calls on it block is kept here, since the stack's own never do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub(crate) handle: Handle,
    nonblock: bool,
    /// TCP_FASTOPEN_CONNECT is set.
    fast_connect: bool,
    /// `connect` has returned before there was a SYN: the first write sends it, and waits.
    deferred: bool,
}

impl Socket {
    fn new(handle: Handle, nonblock: bool) -> Self {
        Self {
            handle,
            nonblock,
            fast_connect: false,
            deferred: false,
        }
    }
}

/// A call that may block, with what it has done so far.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Accept {
        fd: i32,
    },
    Connect {
        fd: i32,
        to: SocketAddr,
        begun: bool,
    },
    Send {
        fd: i32,
        data: Vec<u8>,
        flags: i32,
        to: Option<SocketAddr>,
        moved: usize,
        /// Data went with a SYN: the call returns once the connection is there.
        opening: bool,
    },
    Receive {
        fd: i32,
        len: usize,
        flags: i32,
        data: Vec<u8>,
    },
    Poll {
        entries: Vec<(i32, i16)>,
        deadline: Option<Micros>,
    },
    EpollWait {
        epoll: i32,
        max: usize,
        deadline: Option<Micros>,
    },
}

impl Call {
    /// When it gives up by itself.
    pub(crate) fn deadline(&self) -> Option<Micros> {
        match self {
            Self::Poll { deadline, .. } | Self::EpollWait { deadline, .. } => *deadline,
            _ => None,
        }
    }
}

/// What a call gives.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Value(usize),
    Accepted(i32, SocketAddr),
    Received(Received),
    Ready(Vec<i16>),
    Events(Vec<(u32, u64)>),
}

/// The stack and its descriptors.
pub(crate) struct World {
    pub(crate) stack: Netstack,
    files: BTreeMap<i32, File>,
}

impl World {
    /// A stack as the flags want it.
    ///
    /// # Errors
    /// An address or a setting that the stack does not take.
    pub(crate) fn new(flags: &Flags) -> Result<Self, String> {
        let mut stack = Netstack::new(&flags.addresses)?;
        if flags.defaults {
            set_defaults(&mut stack)?;
        }
        for (name, value) in &flags.settings {
            let set = stack.set(name, value);
            set.map_err(|error| format!("{name}={value}: {error:?}"))?;
        }
        Ok(Self {
            stack,
            files: BTreeMap::new(),
        })
    }

    fn insert(&mut self, file: File) -> SysResult<i32> {
        let placeholder = nix::fcntl::open(PLACEHOLDER, OFlag::O_CLOEXEC, Mode::empty())?;
        // Not owned here: the tool may close it.
        let fd = placeholder.into_raw_fd();
        self.files.insert(fd, file);
        Ok(fd)
    }

    pub(crate) fn socket(&self, fd: i32) -> SysResult<Socket> {
        match self.files.get(&fd) {
            Some(File::Socket(socket)) => Ok(*socket),
            Some(File::Epoll(_)) => Err(Errno::ENOTSOCK),
            None => Err(Errno::EBADF),
        }
    }

    fn socket_mut(&mut self, fd: i32) -> Option<&mut Socket> {
        match self.files.get_mut(&fd) {
            Some(File::Socket(socket)) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn set_option(
        &mut self,
        fd: i32,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> SysResult<()> {
        let socket = self.socket(fd)?;
        self.stack.set_option(socket.handle, level, name, value)?;
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)
            && let Some(socket) = self.socket_mut(fd)
        {
            socket.fast_connect = value.iter().any(|byte| *byte != 0);
        }
        Ok(())
    }

    pub(crate) fn open(&mut self, domain: i32, kind: i32, protocol: i32) -> SysResult<i32> {
        let plain = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
        let handle = self.stack.socket(domain, plain, protocol)?;
        let nonblock = kind & libc::SOCK_NONBLOCK != 0;
        self.insert(File::Socket(Socket::new(handle, nonblock)))
    }

    pub(crate) fn close(&mut self, fd: i32) -> SysResult<()> {
        let file = self.files.remove(&fd).ok_or(Errno::EBADF)?;
        // Gone already if the tool was first.
        let _ = nix::unistd::close(fd);
        match file {
            File::Epoll(_) => Ok(()),
            File::Socket(socket) => {
                for file in self.files.values_mut() {
                    if let File::Epoll(epoll) = file {
                        epoll.forget(i64::from(fd));
                    }
                }
                self.stack.close(socket.handle)
            }
        }
    }

    /// F_GETFL and F_SETFL.
    pub(crate) fn fcntl(&mut self, fd: i32, command: i32, value: i32) -> SysResult<i32> {
        let socket = self.socket_mut(fd).ok_or(Errno::EBADF)?;
        match command {
            libc::F_SETFL => {
                socket.nonblock = value & libc::O_NONBLOCK != 0;
                Ok(0)
            }
            libc::F_GETFL if socket.nonblock => Ok(libc::O_RDWR | libc::O_NONBLOCK),
            libc::F_GETFL => Ok(libc::O_RDWR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn epoll_create(&mut self) -> SysResult<i32> {
        self.insert(File::Epoll(Epoll::default()))
    }

    pub(crate) fn epoll_control(
        &mut self,
        epoll: i32,
        operation: i32,
        fd: i32,
        events: i32,
        data: u64,
    ) -> SysResult<()> {
        self.socket(fd)?;
        let Some(File::Epoll(watches)) = self.files.get_mut(&epoll) else {
            return Err(Errno::EBADF);
        };
        watches.control(operation, i64::from(fd), events, data)?;
        self.note_edges();
        Ok(())
    }

    /// Looks for edges on everything that is watched for them.
    pub(crate) fn note_edges(&mut self) {
        let epolls: Vec<(i32, Vec<i64>)> = self
            .files
            .iter()
            .filter_map(|(fd, file)| match file {
                File::Epoll(epoll) => Some((*fd, epoll.edge_watched())),
                File::Socket(_) => None,
            })
            .collect();
        // Asked once for all that watch: asking takes the news away.
        let mut news: BTreeMap<i64, bool> = BTreeMap::new();
        for fd in epolls.iter().flat_map(|(_, watched)| watched) {
            if let (false, Ok(socket)) = (news.contains_key(fd), self.socket(*fd as i32)) {
                news.insert(*fd, self.stack.has_news(socket.handle));
            }
        }
        for (epoll, watched) in epolls {
            for fd in watched {
                let ready = self.ready(fd as i32, i16::MAX);
                let received = self.bytes_received(fd as i32);
                let news = news.get(&fd).copied().unwrap_or(false);
                if let Some(File::Epoll(epoll)) = self.files.get_mut(&epoll) {
                    epoll.note(fd, ready, received, news);
                }
            }
        }
    }

    fn bytes_received(&mut self, fd: i32) -> i64 {
        let Ok(socket) = self.socket(fd) else {
            return 0;
        };
        let info = self.stack.tcp_info(socket.handle).unwrap_or_default();
        let bytes = info.iter().find(|(name, _)| *name == "tcpi_bytes_received");
        bytes.map_or(0, |(_, bytes)| *bytes)
    }

    fn ready(&mut self, fd: i32, events: i16) -> i16 {
        match self.socket(fd) {
            Ok(socket) => self.stack.poll(socket.handle) & (events | ALWAYS),
            Err(_) => libc::POLLNVAL,
        }
    }

    /// Does what can be done of a call; `None` if it would block.
    pub(crate) fn attempt(&mut self, call: &mut Call) -> Option<SysResult<Outcome>> {
        match call {
            Call::Accept { fd } => self.attempt_accept(*fd),
            Call::Connect { fd, to, begun } => self.attempt_connect(*fd, *to, begun),
            Call::Send { .. } => self.attempt_send(call),
            Call::Receive { .. } => self.attempt_receive(call),
            Call::Poll { entries, deadline } => self.attempt_poll(entries, *deadline),
            Call::EpollWait {
                epoll,
                max,
                deadline,
            } => self.attempt_epoll_wait(*epoll, *max, *deadline),
        }
    }

    fn attempt_accept(&mut self, fd: i32) -> Option<SysResult<Outcome>> {
        let listener = match self.socket(fd) {
            Ok(listener) => listener,
            Err(errno) => return Some(Err(errno)),
        };
        match self.stack.accept(listener.handle) {
            Err(Errno::EAGAIN) if !listener.nonblock => None,
            Err(errno) => Some(Err(errno)),
            Ok((handle, peer)) => {
                let fd = self.insert(File::Socket(Socket::new(handle, false)));
                Some(fd.map(|fd| Outcome::Accepted(fd, peer)))
            }
        }
    }

    fn attempt_connect(
        &mut self,
        fd: i32,
        to: SocketAddr,
        begun: &mut bool,
    ) -> Option<SysResult<Outcome>> {
        let socket = match self.socket(fd) {
            Ok(socket) => socket,
            Err(errno) => return Some(Err(errno)),
        };
        let again = std::mem::replace(begun, true);
        let result = self.stack.connect(socket.handle, to);
        if let (false, true, Ok(())) = (again, socket.fast_connect, &result)
            && let Some(socket) = self.socket_mut(fd)
        {
            socket.deferred = true;
        }
        match result {
            Err(Errno::EINPROGRESS | Errno::EALREADY) if !socket.nonblock => None,
            Err(Errno::EISCONN) if again => Some(Ok(Outcome::Value(0))),
            result => Some(result.map(|()| Outcome::Value(0))),
        }
    }

    fn attempt_send(&mut self, call: &mut Call) -> Option<SysResult<Outcome>> {
        let Call::Send {
            fd,
            data,
            flags,
            to,
            moved,
            opening,
        } = call
        else {
            return Some(Err(Errno::EINVAL));
        };
        let socket = match self.socket(*fd) {
            Ok(socket) => socket,
            Err(errno) => return Some(Err(errno)),
        };
        let blocking = !socket.nonblock && *flags & libc::MSG_DONTWAIT == 0;
        let flags_now = if blocking {
            *flags
        } else {
            *flags | libc::MSG_DONTWAIT
        };
        let result = self
            .stack
            .send(socket.handle, &data[*moved..], flags_now, *to);
        let opens = *flags & libc::MSG_FASTOPEN != 0 || socket.deferred;
        if let Some(socket) = self.socket_mut(*fd) {
            socket.deferred = false;
        }
        if blocking && opens {
            // What was written with the SYN is written; the rest waits for the connection.
            *flags &= !libc::MSG_FASTOPEN;
            *to = None;
            if matches!(result, Ok(_) | Err(Errno::EINPROGRESS)) {
                *opening = true;
                *moved += result.unwrap_or(0);
                return None;
            }
        }
        let was_opening = std::mem::replace(opening, *opening && result == Err(Errno::EAGAIN));
        match result {
            Ok(count) => {
                *moved += count;
                let whole = *moved >= data.len() || !blocking;
                whole.then_some(Ok(Outcome::Value(*moved)))
            }
            Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY) if blocking => None,
            Err(_) if *moved > 0 && !was_opening => Some(Ok(Outcome::Value(*moved))),
            Err(errno) => Some(Err(errno)),
        }
    }

    fn attempt_receive(&mut self, call: &mut Call) -> Option<SysResult<Outcome>> {
        let Call::Receive {
            fd,
            len,
            flags,
            data,
        } = call
        else {
            return Some(Err(Errno::EINVAL));
        };
        let socket = match self.socket(*fd) {
            Ok(socket) => socket,
            Err(errno) => return Some(Err(errno)),
        };
        let blocking = !socket.nonblock && *flags & libc::MSG_DONTWAIT == 0;
        let all = *flags & libc::MSG_WAITALL != 0 && *flags & libc::MSG_PEEK == 0;
        let ask = *len - data.len();
        let whole = |data: &mut Vec<u8>| {
            let data = std::mem::take(data);
            Some(Ok(Outcome::Received(Received {
                len: data.len(),
                data,
                ..Received::default()
            })))
        };
        match self
            .stack
            .recv(socket.handle, ask, *flags & !libc::MSG_WAITALL)
        {
            Err(Errno::EAGAIN) if blocking => None,
            Err(_) if !data.is_empty() => whole(data),
            Err(errno) => Some(Err(errno)),
            Ok(received) if !all => Some(Ok(Outcome::Received(received))),
            Ok(received) => {
                let ended = received.len == 0 || received.len >= ask;
                data.extend_from_slice(&received.data);
                if ended || !blocking {
                    whole(data)
                } else {
                    None
                }
            }
        }
    }

    fn attempt_poll(
        &mut self,
        entries: &[(i32, i16)],
        deadline: Option<Micros>,
    ) -> Option<SysResult<Outcome>> {
        let ready: Vec<i16> = entries
            .iter()
            .map(|(fd, events)| self.ready(*fd, *events))
            .collect();
        let late = deadline.is_some_and(|deadline| self.stack.now() >= deadline);
        (late || ready.iter().any(|bits| *bits != 0)).then_some(Ok(Outcome::Ready(ready)))
    }

    fn attempt_epoll_wait(
        &mut self,
        epoll: i32,
        max: usize,
        deadline: Option<Micros>,
    ) -> Option<SysResult<Outcome>> {
        self.note_edges();
        let watched = match self.files.get(&epoll) {
            Some(File::Epoll(watches)) => watches.watched(),
            _ => return Some(Err(Errno::EBADF)),
        };
        let mut events = Vec::new();
        for (fd, wanted) in watched {
            let seen = self.ready(fd as i32, wanted as i16);
            if events.len() < max
                && let Some(File::Epoll(watches)) = self.files.get_mut(&epoll)
                && let Some(data) = watches.fires(fd, seen)
            {
                events.push((u32::from(seen.cast_unsigned()), data));
            }
        }
        let late = deadline.is_some_and(|deadline| self.stack.now() >= deadline);
        (late || !events.is_empty()).then_some(Ok(Outcome::Events(events)))
    }
}
