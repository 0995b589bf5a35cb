//! The host's kernel as a target: the oracle. A TUN device in a network namespace of its own, real time.

mod namespace;
mod sys;

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use super::target::{Addresses, Control, Handle, Received, Sent, SettingError, SysResult, Target};
use super::tcp_info;
use super::wire::{Datagram, Transport};
use crate::ast::Micros;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self as so, MsgFlags, SockFlag, SockaddrStorage};
use nix::sys::time::TimeSpec;
use tun_tap::Iface;

/// Open calls are looked at again this often, for what happens without a packet.
const SLICE: Micros = 2_000;

/// The largest packet that a TUN device can hand over.
const PACKET_MAX: usize = 65_535 + 64;

/// The host's kernel, seen from a thread with its own network namespace.
pub struct Kernel {
    tun: Iface,
    start: Instant,
    /// The wall clock then, in nanoseconds since 1970.
    wall_start: i128,
    sockets: Vec<Option<OwnedFd>>,
    epolls: Vec<Epoll>,
    /// Given to each new socket: the host's default may be another, and a namespace may be refused one.
    congestion: String,
}

impl Kernel {
    /// Moves the calling thread into a fresh network namespace and opens a TUN device there.
    ///
    /// # Errors
    /// What is missing (root, /dev/net/tun, iproute2).
    pub fn new(addresses: &Addresses) -> Result<Self, String> {
        let tun = namespace::enter(addresses)?;
        sys::set_offload(namespace::fd(&tun), true)
            .map_err(|errno| format!("the TUN device takes no super-packets: {errno}"))?;
        let mut kernel = Self {
            tun,
            start: Instant::now(),
            wall_start: wall_clock(),
            sockets: Vec::new(),
            epolls: Vec::new(),
            congestion: "cubic".to_owned(),
        };
        if addresses.local.is_ipv6() {
            kernel.await_answers(addresses)?;
        }
        kernel.start = Instant::now();
        kernel.wall_start = wall_clock();
        Ok(kernel)
    }

    /// Echoes until one is answered: an IPv6 address that was just given drops the first packets.
    fn await_answers(&mut self, addresses: &Addresses) -> Result<(), String> {
        const TRIES: u32 = 100;
        const WAIT: Micros = 10_000;
        const ECHO_REQUEST: u8 = 8;
        let echo = Datagram {
            source: SocketAddr::new(addresses.remote.ip(), 0),
            destination: SocketAddr::new(addresses.local.ip(), 0),
            tos: 0,
            ttl: 64,
            transport: Transport::Icmp {
                kind: ECHO_REQUEST,
                code: 0,
                rest: [0; 4],
                payload: Vec::new(),
            },
        };
        let echo = echo.encode()?;
        for _ in 0..TRIES {
            self.inject(echo.clone())?;
            let deadline = self.now() + WAIT;
            while self.now() < deadline {
                if self.take_sent().is_some() {
                    return Ok(());
                }
                self.advance(deadline)?;
            }
        }
        Err("the kernel does not answer over the TUN device".to_owned())
    }

    /// Control messages with times, counted from the start of the script.
    fn since_start(&self, level: i32, kind: i32, mut data: Vec<u8>) -> Vec<u8> {
        const SECOND: i128 = 1_000_000_000;
        if (level, kind) != (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) || data.len() < 16 {
            return data;
        }
        let word = |at: usize| i64::from_ne_bytes(data[at..at + 8].try_into().unwrap_or_default());
        let since = i128::from(word(0)) * SECOND + i128::from(word(8)) - self.wall_start;
        let (seconds, nanos) = (since.div_euclid(SECOND), since.rem_euclid(SECOND));
        data[..8].copy_from_slice(&(seconds as i64).to_ne_bytes());
        data[8..16].copy_from_slice(&(nanos as i64).to_ne_bytes());
        data
    }

    fn fd(&self, handle: Handle) -> SysResult<BorrowedFd<'_>> {
        let socket = self.sockets.get(handle).and_then(Option::as_ref);
        socket.map(AsFd::as_fd).ok_or(Errno::EBADF)
    }

    fn insert(&mut self, fd: OwnedFd) -> Handle {
        self.sockets.push(Some(fd));
        self.sockets.len() - 1
    }
}

/// Nanoseconds since 1970.
fn wall_clock() -> i128 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as i128)
}

/// An address of either family as the standard library has it.
fn plain(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    let v4 = v4.map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| {
        let v6 = address.as_sockaddr_in6()?;
        Some(SocketAddr::from((v6.ip(), v6.port())))
    })
}

/// False for what the kernel tells the link of itself: reports of groups, neighbour discovery.
fn is_for_scripts(packet: &[u8]) -> bool {
    match packet {
        [first, ..] if first >> 4 == 4 => true,
        [_, _, _, _, _, _, 58, ..] => packet.get(40).is_some_and(|kind| *kind < 130),
        [_, _, _, _, _, _, next, ..] => matches!(next, 6 | 17),
        _ => false,
    }
}

impl Target for Kernel {
    fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    fn is_virtual(&self) -> bool {
        false
    }

    fn advance(&mut self, deadline: Micros) -> Result<(), String> {
        let wait = (deadline - self.now()).clamp(0, SLICE) as u64;
        let timeout = TimeSpec::from_duration(Duration::from_micros(wait));
        let mut fds = [PollFd::new(namespace::fd(&self.tun), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(timeout), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(format!("waiting for the TUN device: {errno}")),
        }
    }

    fn inject(&mut self, packet: Vec<u8>) -> Result<(), String> {
        match self.tun.send(&packet) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("writing to the TUN device: {error}")),
        }
    }

    fn take_sent(&mut self) -> Option<Sent> {
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            let len = self.tun.recv(&mut buffer).ok()?;
            if is_for_scripts(&buffer[..len]) {
                buffer.truncate(len);
                // With offload the kernel leaves checksums to the device.
                return Some(Sent {
                    at: self.now(),
                    bytes: buffer,
                    checksummed: false,
                });
            }
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        if name.contains('/') || !std::path::Path::new(&path).exists() {
            return Err(SettingError::Unknown);
        }
        if name == "net.ipv4.tcp_congestion_control" {
            value.clone_into(&mut self.congestion);
            return Ok(());
        }
        // Only what belongs to the namespace may change: the machine's own settings are not ours.
        if !name.starts_with("net.ipv4.") && name != "net.core.somaxconn" {
            return Err(SettingError::Invalid(
                "it is not of the namespace".to_owned(),
            ));
        }
        fs::write(path, value).map_err(|error| SettingError::Invalid(error.to_string()))
    }

    fn forget_peers(&mut self) -> Result<(), String> {
        namespace::ip("tcp_metrics flush all")
    }

    fn take_super_packets(&mut self, on: bool) -> Result<(), String> {
        sys::set_offload(namespace::fd(&self.tun), on)
            .map_err(|errno| format!("super-packets of the TUN device: {errno}"))
    }

    fn counters(&self) -> Result<Vec<(String, u64)>, String> {
        // The namespace belongs to this thread.
        ["netstat", "snmp"]
            .iter()
            .map(|file| {
                let path = format!("/proc/thread-self/net/{file}");
                let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
                Ok(counters_in(&text))
            })
            .collect::<Result<Vec<_>, String>>()
            .map(|parts| parts.concat())
    }

    fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> SysResult<Handle> {
        let fd = sys::socket(domain, kind, protocol)?;
        for name in [self.congestion.as_str(), "reno"] {
            let (level, option) = (libc::IPPROTO_TCP, libc::TCP_CONGESTION);
            // Sockets that are not TCP have none, and one that is refused leaves the default.
            if sys::set_option(fd.as_fd(), level, option, name.as_bytes()).is_ok() {
                break;
            }
        }
        Ok(self.insert(fd))
    }

    fn bind(&mut self, handle: Handle, address: SocketAddr) -> SysResult<()> {
        so::bind(
            self.fd(handle)?.as_raw_fd(),
            &SockaddrStorage::from(address),
        )
    }

    fn listen(&mut self, handle: Handle, backlog: i32) -> SysResult<()> {
        sys::listen(self.fd(handle)?, backlog)
    }

    fn accept(&mut self, handle: Handle) -> SysResult<(Handle, SocketAddr)> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let raw = so::accept4(self.fd(handle)?.as_raw_fd(), flags)?;
        let fd = sys::own(raw);
        let peer = so::getpeername::<SockaddrStorage>(raw).ok();
        let peer = peer.and_then(|peer| plain(&peer));
        let peer = peer.unwrap_or(SocketAddr::from(([0; 4], 0)));
        Ok((self.insert(fd), peer))
    }

    fn connect(&mut self, handle: Handle, address: SocketAddr) -> SysResult<()> {
        so::connect(
            self.fd(handle)?.as_raw_fd(),
            &SockaddrStorage::from(address),
        )
    }

    fn send(
        &mut self,
        handle: Handle,
        data: &[u8],
        flags: i32,
        to: Option<SocketAddr>,
    ) -> SysResult<usize> {
        let fd = self.fd(handle)?.as_raw_fd();
        let flags = MsgFlags::from_bits_retain(flags | libc::MSG_NOSIGNAL);
        match to {
            Some(to) => so::sendto(fd, data, &SockaddrStorage::from(to), flags),
            None => so::send(fd, data, flags),
        }
    }

    fn recv(&mut self, handle: Handle, len: usize, flags: i32) -> SysResult<Received> {
        let message = sys::receive(self.fd(handle)?, len, flags)?;
        let mut received = Received {
            data: message.data,
            len: message.len,
            flags: message.flags,
            source: None,
            control: Vec::new(),
        };
        // MSG_TRUNC on a stream throws the bytes away unseen.
        if flags & libc::MSG_TRUNC != 0 {
            received.data.clear();
        }
        for (level, kind, data) in message.control {
            let data = self.since_start(level, kind, data);
            received.control.push(Control { level, kind, data });
        }
        Ok(received)
    }

    fn shutdown(&mut self, handle: Handle, how: i32) -> SysResult<()> {
        let how = match how {
            libc::SHUT_RD => so::Shutdown::Read,
            libc::SHUT_WR => so::Shutdown::Write,
            libc::SHUT_RDWR => so::Shutdown::Both,
            _ => return Err(Errno::EINVAL),
        };
        so::shutdown(self.fd(handle)?.as_raw_fd(), how)
    }

    fn close(&mut self, handle: Handle) -> SysResult<()> {
        let socket = self.sockets.get_mut(handle).and_then(Option::take);
        socket.map(drop).ok_or(Errno::EBADF)
    }

    fn set_option(&mut self, handle: Handle, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        sys::set_option(self.fd(handle)?, level, name, value)
    }

    fn get_option(
        &mut self,
        handle: Handle,
        level: i32,
        name: i32,
        len: usize,
    ) -> SysResult<Vec<u8>> {
        sys::get_option(self.fd(handle)?, level, name, len)
    }

    fn poll(&mut self, handle: Handle) -> i16 {
        match self.fd(handle) {
            Ok(fd) => sys::poll_now(fd),
            Err(_) => libc::POLLNVAL,
        }
    }

    fn epoll_create(&mut self) -> Option<SysResult<Handle>> {
        let made = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        Some(made.map(|epoll| {
            self.epolls.push(epoll);
            self.epolls.len() - 1
        }))
    }

    fn epoll_control(
        &mut self,
        epoll: Handle,
        operation: i32,
        socket: Handle,
        events: i32,
        data: u64,
    ) -> SysResult<()> {
        let fd = self.fd(socket)?;
        let epoll = self.epolls.get(epoll).ok_or(Errno::EBADF)?;
        let mut event = EpollEvent::new(EpollFlags::from_bits_retain(events), data);
        match operation {
            libc::EPOLL_CTL_ADD => epoll.add(fd, event),
            libc::EPOLL_CTL_MOD => epoll.modify(fd, &mut event),
            libc::EPOLL_CTL_DEL => epoll.delete(fd),
            _ => Err(Errno::EINVAL),
        }
    }

    fn epoll_take(&mut self, epoll: Handle, max: usize) -> SysResult<Vec<(i32, u64)>> {
        const EVENTS_MAX: usize = 1024;
        let epoll = self.epolls.get(epoll).ok_or(Errno::EBADF)?;
        let mut events = vec![EpollEvent::empty(); max.min(EVENTS_MAX)];
        let count = epoll.wait(&mut events, EpollTimeout::ZERO)?;
        let taken = events[..count].iter();
        Ok(taken
            .map(|event| (event.events().bits(), event.data()))
            .collect())
    }

    fn ioctl(&mut self, handle: Handle, request: u64) -> SysResult<i32> {
        sys::ioctl_int(self.fd(handle)?, request)
    }

    fn tcp_info(&mut self, handle: Handle) -> SysResult<Vec<(&'static str, i64)>> {
        let fd = self.fd(handle)?;
        let bytes = sys::get_option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, tcp_info::SIZE)?;
        Ok(tcp_info::fields(&bytes))
    }

    fn local_address(&mut self, handle: Handle) -> SysResult<SocketAddr> {
        let name = so::getsockname::<SockaddrStorage>(self.fd(handle)?.as_raw_fd())?;
        plain(&name).ok_or(Errno::EAFNOSUPPORT)
    }

    fn peer_address(&mut self, handle: Handle) -> SysResult<SocketAddr> {
        let name = so::getpeername::<SockaddrStorage>(self.fd(handle)?.as_raw_fd())?;
        plain(&name).ok_or(Errno::EAFNOSUPPORT)
    }
}

/// Pairs of lines, names above values, each behind the name of their group.
fn counters_in(text: &str) -> Vec<(String, u64)> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs =
        lines.chunks_exact(2).filter_map(|pair| {
            let (group, names) = pair[0].split_once(':')?;
            let (_, values) = pair[1].split_once(':')?;
            let named = names.split_whitespace().zip(values.split_whitespace());
            Some(named.filter_map(move |(name, value)| {
                Some((format!("{group}{name}"), value.parse().ok()?))
            }))
        });
    pairs.flatten().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_have_their_group_in_front() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: A\nIpExt: 3\n";
        let pair = |name: &str, value| (name.to_owned(), value);
        assert_eq!(
            super::counters_in(text),
            [pair("TcpExtA", 1), pair("TcpExtB", 2), pair("IpExtA", 3)]
        );
    }
}
