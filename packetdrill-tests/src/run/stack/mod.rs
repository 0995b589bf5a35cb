//! netstack as a target, in virtual time.
//!
//! One interface without link headers, which takes super-packets, as the TUN device of the language
//! does. Time stands still until the runner lets it pass, and then jumps to the next thing to do.

mod options;
mod receipts;
mod sockets;
mod tcp_info;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::target::{Addresses, Handle, Received, Sent, SettingError, SysResult, Target};
use crate::ast::Micros;
use netstack::buf::{RxBatch, RxPacket, TxBatch, TxPacket};
use netstack::link::segment::segment;
use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::network::addr::Cidr;
use netstack::network::route::Route;
use netstack::socket::{Readiness, Shutdown, SocketId, SocketKind};
use netstack::stack::{InterfaceConfig, Stack};
use netstack::time::Instant;
use nix::errno::Errno;
use receipts::Wishes;
use sockets::errno;

/// Where the stack's clock stands when a script begins: not at zero, where "a long time ago" has no
/// room.
const ORIGIN: Micros = 3_600_000_000;

/// The same in every run: what looks random is the same each time.
const SEED: [u8; 16] = *b"packetdrill seed";

/// The largest packet that the interface takes.
const GSO_MAX: u32 = 65_535;

/// netstack, with the clock that drives it.
pub struct Netstack {
    stack: Stack,
    iface: IfaceId,
    now: Micros,
    /// The link cuts super-packets before they are seen.
    cuts: bool,
    sent: VecDeque<Sent>,
    /// Sockets by handle; `None` once closed.
    sockets: Vec<Option<SocketId>>,
    /// What sockets want to be told beside their data, where they want anything.
    wishes: HashMap<Handle, Wishes>,
    /// Sockets about which the stack has had something to tell since it was last asked.
    news: HashSet<SocketId>,
}

impl Netstack {
    /// A stack with the script's addresses and a route to its peer.
    ///
    /// # Errors
    /// The addresses make no sense.
    pub fn new(addresses: &Addresses) -> Result<Self, String> {
        let mut stack = Stack::new(netstack::stack::StackConfig::default(), SEED);
        stack.set_now(instant(0));
        let caps = DeviceCaps {
            medium: Medium::Ip,
            mtu: u32::from(addresses.mtu),
            tx_checksum: false,
            gso_max: GSO_MAX,
        };
        let config = InterfaceConfig {
            name: "tun0".to_owned(),
            mac: MacAddr::default(),
            caps,
        };
        let fail = |error: netstack::stack::ConfigError| error.to_string();
        let iface = stack.add_interface(config).map_err(fail)?;
        let prefix = if addresses.local.is_ipv4() { 16 } else { 64 };
        let local = cidr(addresses.local.ip(), prefix)?;
        stack.add_address(iface, local).map_err(fail)?;
        stack
            .add_route(Route::new(Cidr::all_of(addresses.local.ip()), iface))
            .map_err(fail)?;
        Ok(Self {
            stack,
            iface,
            now: 0,
            cuts: false,
            sent: VecDeque::new(),
            sockets: Vec::new(),
            wishes: HashMap::new(),
            news: HashSet::new(),
        })
    }

    fn id(&self, handle: Handle) -> SysResult<SocketId> {
        let socket = self.sockets.get(handle).copied().flatten();
        socket.ok_or(Errno::EBADF)
    }

    fn insert(&mut self, id: SocketId) -> Handle {
        self.sockets.push(Some(id));
        self.sockets.len() - 1
    }

    /// Takes what the stack has to send.
    fn drain(&mut self) {
        let mut batch = TxBatch::new();
        while self
            .stack
            .poll_transmit(instant(self.now), self.iface, &mut batch)
            > 0
        {
            for packet in batch.drain(..) {
                let mut send = |packet: TxPacket| {
                    self.sent.push_back(Sent {
                        at: self.now,
                        bytes: packet.to_vec(),
                        checksummed: packet.offload.checksum.is_none(),
                    });
                };
                if self.cuts {
                    segment(packet, send);
                } else {
                    send(packet);
                }
            }
        }
    }

    /// Runs the timers that are due now.
    fn run_timers(&mut self) {
        // A timer that sets itself for the same instant again and again would hang the run.
        const ROUNDS_MAX: u32 = 10_000;
        for _ in 0..ROUNDS_MAX {
            match self.stack.poll_timeout() {
                Some(due) if due <= instant(self.now) => {
                    self.stack.handle_timeout(instant(self.now));
                }
                _ => break,
            }
        }
        self.drain();
    }
}

fn cidr(ip: IpAddr, prefix: u8) -> Result<Cidr, String> {
    Cidr::new(ip, prefix).ok_or_else(|| format!("{ip}/{prefix} is no network"))
}

/// The stack's time for one of the script's.
fn instant(micros: Micros) -> Instant {
    Instant::from_micros(micros.saturating_add(ORIGIN).max(0) as u64)
}

/// The script's time for one of the stack's, not before it.
fn micros(instant: Instant) -> Micros {
    let micros = instant.as_nanos().div_ceil(1_000);
    i64::try_from(micros)
        .unwrap_or(i64::MAX)
        .saturating_sub(ORIGIN)
}

impl Target for Netstack {
    fn now(&self) -> Micros {
        self.now
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn advance(&mut self, deadline: Micros) -> Result<(), String> {
        let next = self.stack.poll_timeout().map_or(deadline, micros);
        self.now = next.clamp(self.now, deadline.max(self.now));
        self.run_timers();
        Ok(())
    }

    fn inject(&mut self, packet: Vec<u8>) -> Result<(), String> {
        let mut batch = RxBatch::new();
        batch.push(RxPacket::new(packet, instant(self.now)));
        self.stack
            .receive(instant(self.now), self.iface, &mut batch);
        self.run_timers();
        Ok(())
    }

    fn take_sent(&mut self) -> Option<Sent> {
        self.drain();
        self.sent.pop_front()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        options::set(&mut self.stack, name, value)
    }

    fn forget_peers(&mut self) -> Result<(), String> {
        self.stack.tcp_forget_peers();
        Ok(())
    }

    fn take_super_packets(&mut self, on: bool) -> Result<(), String> {
        self.cuts = !on;
        Ok(())
    }

    fn counters(&self) -> Result<Vec<(String, u64)>, String> {
        let stats = self.stack.stats();
        let all = stats
            .net
            .iter()
            .chain(stats.tcp.iter())
            .chain(stats.udp.iter());
        Ok(all.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> SysResult<Handle> {
        let id = sockets::open(&mut self.stack, domain, kind, protocol)?;
        Ok(self.insert(id))
    }

    fn bind(&mut self, handle: Handle, address: SocketAddr) -> SysResult<()> {
        let id = self.id(handle)?;
        sockets::bind(&mut self.stack, id, address)
    }

    fn listen(&mut self, handle: Handle, backlog: i32) -> SysResult<()> {
        let id = self.id(handle)?;
        sockets::listen(&mut self.stack, id, backlog)
    }

    fn accept(&mut self, handle: Handle) -> SysResult<(Handle, SocketAddr)> {
        let id = self.id(handle)?;
        let (id, peer) = sockets::accept(&mut self.stack, id)?;
        Ok((self.insert(id), peer))
    }

    fn connect(&mut self, handle: Handle, address: SocketAddr) -> SysResult<()> {
        let id = self.id(handle)?;
        sockets::connect(&mut self.stack, id, address)
    }

    fn send(
        &mut self,
        handle: Handle,
        data: &[u8],
        flags: i32,
        to: Option<SocketAddr>,
    ) -> SysResult<usize> {
        let id = self.id(handle)?;
        sockets::send(&mut self.stack, id, data, flags, to)
    }

    fn recv(&mut self, handle: Handle, len: usize, flags: i32) -> SysResult<Received> {
        let id = self.id(handle)?;
        if flags & libc::MSG_ERRQUEUE != 0 {
            let wishes = self.wishes.get(&handle).copied().unwrap_or_default();
            return receipts::take(&mut self.stack, id, len, wishes);
        }
        let mut received = sockets::recv(&mut self.stack, id, len, flags)?;
        if self.wishes.get(&handle).is_some_and(|wishes| wishes.inq) {
            received.control.push(receipts::inq(&self.stack, id));
        }
        Ok(received)
    }

    fn shutdown(&mut self, handle: Handle, how: i32) -> SysResult<()> {
        let how = match how {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            libc::SHUT_RDWR => Shutdown::Both,
            _ => return Err(Errno::EINVAL),
        };
        let id = self.id(handle)?;
        self.stack.shutdown(id, how).map_err(errno)
    }

    fn close(&mut self, handle: Handle) -> SysResult<()> {
        let id = self.id(handle)?;
        self.sockets[handle] = None;
        self.stack.close(id);
        Ok(())
    }

    fn set_option(&mut self, handle: Handle, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        let id = self.id(handle)?;
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INQ) && id.kind() == SocketKind::Tcp {
            self.wishes.entry(handle).or_default().inq = options::on(value)?;
            return Ok(());
        }
        if (level, name) == (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) {
            self.wishes.entry(handle).or_default().stamps = receipts::wants_software(value)?;
        }
        options::set_socket(&mut self.stack, id, level, name, value)
    }

    fn get_option(
        &mut self,
        handle: Handle,
        level: i32,
        name: i32,
        len: usize,
    ) -> SysResult<Vec<u8>> {
        let id = self.id(handle)?;
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO) {
            let mut value = super::tcp_info::bytes(&tcp_info::fields(&mut self.stack, id)?);
            value.truncate(len);
            return Ok(value);
        }
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INQ) {
            let on = self.wishes.get(&handle).is_some_and(|wishes| wishes.inq);
            return Ok(i32::from(on).to_ne_bytes().to_vec());
        }
        let mut value = options::get_socket(&mut self.stack, id, level, name)?;
        value.truncate(len);
        Ok(value)
    }

    fn poll(&mut self, handle: Handle) -> i16 {
        let ready = self.id(handle).ok().and_then(|id| self.stack.readiness(id));
        let Some(ready) = ready else {
            return libc::POLLNVAL;
        };
        [
            (Readiness::READABLE, libc::POLLIN),
            (Readiness::WRITABLE, libc::POLLOUT),
            (Readiness::PRIORITY, libc::POLLPRI),
            (Readiness::HUP, libc::POLLHUP),
            (Readiness::RDHUP, libc::POLLRDHUP),
            (Readiness::ERROR, libc::POLLERR),
        ]
        .into_iter()
        .filter(|(flag, _)| ready.contains(*flag))
        .fold(0, |bits, (_, bit)| bits | bit)
    }

    fn has_news(&mut self, handle: Handle) -> bool {
        let news = &mut self.news;
        self.stack.drain_events(|id, _| {
            news.insert(id);
        });
        self.id(handle).is_ok_and(|id| self.news.remove(&id))
    }

    fn ioctl(&mut self, handle: Handle, request: u64) -> SysResult<i32> {
        let id = self.id(handle)?;
        sockets::ioctl(&self.stack, id, request)
    }

    fn tcp_info(&mut self, handle: Handle) -> SysResult<Vec<(&'static str, i64)>> {
        let id = self.id(handle)?;
        tcp_info::fields(&mut self.stack, id)
    }

    fn local_address(&mut self, handle: Handle) -> SysResult<SocketAddr> {
        let id = self.id(handle)?;
        self.stack.local_addr(id).map_err(errno)
    }

    fn peer_address(&mut self, handle: Handle) -> SysResult<SocketAddr> {
        let id = self.id(handle)?;
        self.stack.peer_addr(id).map_err(errno)
    }
}
