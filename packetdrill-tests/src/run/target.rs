//! What a script runs against: a stack in virtual time, or the host's kernel.
//!
//! Socket calls never block here; the runner does the blocking, so that one script thread can hold
//! several calls open while packets go by.

use std::net::SocketAddr;

use crate::ast::Micros;
use nix::errno::Errno;

/// Names a socket of the target.
pub type Handle = usize;

/// What a system call gives.
pub type SysResult<T> = Result<T, Errno>;

/// A packet that the target sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When, since the start of the script.
    pub at: Micros,
    /// The packet from its IP header on.
    pub bytes: Vec<u8>,
    /// The transport checksum is complete and can be verified.
    pub checksummed: bool,
}

/// What a receiving call gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The bytes, at most as many as asked for.
    pub data: Vec<u8>,
    /// What the call returns (more than `data` with MSG_TRUNC).
    pub len: usize,
    /// MSG_ flags that came with it.
    pub flags: i32,
    /// Who sent it, of a datagram.
    pub source: Option<SocketAddr>,
    /// What came beside it.
    pub control: Vec<Control>,
}

/// A control message (cmsg(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `cmsg_level`.
    pub level: i32,
    /// `cmsg_type`.
    pub kind: i32,
    /// `cmsg_data`, as the kernel lays it out. Times in it count from the start of the script.
    pub data: Vec<u8>,
}

/// Why a setting could not be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// The target has no setting of that name.
    Unknown,
    /// The value does not suit it.
    Invalid(String),
}

/// Where the addresses of a script lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Of the stack under test, with the port that `bind(fd, ..., ...)` takes.
    pub local: SocketAddr,
    /// Of the peer, with the port that `connect(fd, ..., ...)` goes to.
    pub remote: SocketAddr,
    /// MTU of the link between them.
    pub mtu: u16,
}

/// A stack under test. Times are microseconds since the script began.
pub trait Target {
    /// The present time.
    fn now(&self) -> Micros;

    /// True if time is virtual: it moves only in [`Target::advance`].
    fn is_virtual(&self) -> bool;

    /// Lets time pass up to `deadline`, or less if the target had something to do before.
    ///
    /// # Errors
    /// The target itself has failed.
    fn advance(&mut self, deadline: Micros) -> Result<(), String>;

    /// Hands it a packet that starts at the IP header.
    ///
    /// # Errors
    /// The target itself has failed.
    fn inject(&mut self, packet: Vec<u8>) -> Result<(), String>;

    /// Takes the next packet that it has sent.
    fn take_sent(&mut self) -> Option<Sent>;

    /// Sets a sysctl by its dotted name.
    ///
    /// # Errors
    /// [`SettingError`].
    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError>;

    /// Forgets what is known of peers (`ip tcp_metrics flush all`).
    ///
    /// # Errors
    /// The target itself has failed.
    fn forget_peers(&mut self) -> Result<(), String>;

    /// Whether the link takes packets that are larger than its MTU (TSO and GSO), as it does at first.
    ///
    /// # Errors
    /// The target itself has failed.
    fn take_super_packets(&mut self, on: bool) -> Result<(), String>;

    /// The SNMP counters by the names of nstat (`TcpExtListenDrops`).
    ///
    /// # Errors
    /// The target itself has failed.
    fn counters(&self) -> Result<Vec<(String, u64)>, String>;

    /// socket(2).
    ///
    /// # Errors
    /// As the call; so for those below.
    fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> SysResult<Handle>;
    /// bind(2).
    ///
    /// # Errors
    /// As the call.
    fn bind(&mut self, handle: Handle, address: SocketAddr) -> SysResult<()>;
    /// listen(2).
    ///
    /// # Errors
    /// As the call.
    fn listen(&mut self, handle: Handle, backlog: i32) -> SysResult<()>;
    /// accept(2) on a non-blocking socket.
    ///
    /// # Errors
    /// As the call.
    fn accept(&mut self, handle: Handle) -> SysResult<(Handle, SocketAddr)>;
    /// connect(2) on a non-blocking socket; called again to learn how it ended.
    ///
    /// # Errors
    /// As the call.
    fn connect(&mut self, handle: Handle, address: SocketAddr) -> SysResult<()>;
    /// sendto(2) on a non-blocking socket.
    ///
    /// # Errors
    /// As the call.
    fn send(
        &mut self,
        handle: Handle,
        data: &[u8],
        flags: i32,
        to: Option<SocketAddr>,
    ) -> SysResult<usize>;
    /// recvmsg(2) on a non-blocking socket.
    ///
    /// # Errors
    /// As the call.
    fn recv(&mut self, handle: Handle, len: usize, flags: i32) -> SysResult<Received>;
    /// shutdown(2).
    ///
    /// # Errors
    /// As the call.
    fn shutdown(&mut self, handle: Handle, how: i32) -> SysResult<()>;
    /// close(2).
    ///
    /// # Errors
    /// As the call.
    fn close(&mut self, handle: Handle) -> SysResult<()>;
    /// setsockopt(2).
    ///
    /// # Errors
    /// As the call.
    fn set_option(&mut self, handle: Handle, level: i32, name: i32, value: &[u8]) -> SysResult<()>;
    /// getsockopt(2) into a buffer of `len` bytes.
    ///
    /// # Errors
    /// As the call.
    fn get_option(
        &mut self,
        handle: Handle,
        level: i32,
        name: i32,
        len: usize,
    ) -> SysResult<Vec<u8>>;
    /// The POLL bits that hold now, of all there are.
    fn poll(&mut self, handle: Handle) -> i16;
    /// True if something has happened to the socket since this was last asked, though it may be ready for
    /// no more than before: what wakes an edge-triggered epoll.
    fn has_news(&mut self, _handle: Handle) -> bool {
        false
    }
    /// epoll_create(2), if the target has instances of its own; `None`: the runner makes one of what
    /// [`Target::poll`] tells.
    fn epoll_create(&mut self) -> Option<SysResult<Handle>> {
        None
    }
    /// epoll_ctl(2) on such an instance.
    ///
    /// # Errors
    /// As the call.
    fn epoll_control(
        &mut self,
        _epoll: Handle,
        _operation: i32,
        _socket: Handle,
        _events: i32,
        _data: u64,
    ) -> SysResult<()> {
        Err(Errno::EBADF)
    }
    /// epoll_wait(2) on such an instance, without waiting: events and data.
    ///
    /// # Errors
    /// As the call.
    fn epoll_take(&mut self, _epoll: Handle, _max: usize) -> SysResult<Vec<(i32, u64)>> {
        Err(Errno::EBADF)
    }
    /// ioctl(2) with an integer result (SIOCINQ, SIOCOUTQ).
    ///
    /// # Errors
    /// As the call.
    fn ioctl(&mut self, handle: Handle, request: u64) -> SysResult<i32>;
    /// Fields of TCP_INFO by name (`tcpi_...`).
    ///
    /// # Errors
    /// As getsockopt.
    fn tcp_info(&mut self, handle: Handle) -> SysResult<Vec<(&'static str, i64)>>;
    /// getsockname(2).
    ///
    /// # Errors
    /// As the call.
    fn local_address(&mut self, handle: Handle) -> SysResult<SocketAddr>;
    /// getpeername(2).
    ///
    /// # Errors
    /// As the call.
    fn peer_address(&mut self, handle: Handle) -> SysResult<SocketAddr>;
}
