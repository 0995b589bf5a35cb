//! AF_PACKET: sockets that see what passes the links of netstack (packet(7)).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use netstack::host::Net;
use netstack::link::MacAddr;
use netstack::network::IfaceId;
use netstack::socket::packet::{PacketChecksum, PassedPacket};
use netstack::stack::InterfaceInfo;
use parking_lot::Mutex;
use sentry_abi::Errno;

use super::endpoint::{Endpoint, PIECE_MAX};
use super::filter;
use super::options::int;
use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::family;
use crate::net::control::Control;
use crate::net::{Caller, Received, SendMeta, Shutdown, Socket, SocketType, link, option_int};
use crate::vfs::creds::cap;
use crate::wait::{Ready, WaitQueue};

const SOCKET: i32 = libc::SOL_SOCKET;
const PACKET: i32 = libc::SOL_PACKET;
/// linux/if_packet.h
const PACKET_IGNORE_OUTGOING: i32 = 23;
/// Bytes of `struct sockaddr_ll`.
const SOCKADDR_LL: usize = 20;
/// Memberships of one socket at most; in Linux its memory for options ends about there.
const MEMBERSHIPS_MAX: usize = 1024;

/// A new packet socket.
///
/// # Errors
/// EPERM without CAP_NET_RAW, ESOCKTNOSUPPORT.
pub(super) fn open(
    net: &Net,
    caller: &Caller<'_>,
    wanted: SocketType,
) -> Result<Arc<dyn Socket>, Errno> {
    caller.path.creds.require(cap::NET_RAW)?;
    let cooked = match wanted.kind {
        libc::SOCK_RAW => false,
        libc::SOCK_DGRAM => true,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    let protocol = u16::from_be(wanted.protocol as u16);
    let id = net.with(|stack| stack.packet_open(cooked, protocol));
    Ok(Arc::new(PacketSocket {
        endpoint: Endpoint::new(net, id),
        kind: wanted.kind,
        aux_data: AtomicBool::new(false),
        send_buffer: AtomicI32::new(212_992),
        memberships: Mutex::default(),
    }))
}

struct PacketSocket {
    endpoint: Endpoint,
    kind: i32,
    /// PACKET_AUXDATA
    aux_data: AtomicBool,
    /// SO_SNDBUF, kept to be shown.
    send_buffer: AtomicI32,
    /// PACKET_ADD_MEMBERSHIP: kind and address for an interface. The links hear everything anyway.
    memberships: Mutex<Vec<Membership>>,
}

/// `struct packet_mreq`
#[derive(Clone, Copy, PartialEq, Eq)]
struct Membership {
    index: u32,
    kind: u16,
    len: u16,
    addr: [u8; 8],
}

/// What a `struct sockaddr_ll` says.
struct LinkAddr {
    protocol: u16,
    index: u32,
    station: Option<MacAddr>,
}

impl LinkAddr {
    fn parse(addr: &[u8]) -> Result<Self, Errno> {
        // Short addresses may leave out the end of the station's (`packet_snd`).
        if addr.len() < SOCKADDR_LL || family(addr)? != libc::AF_PACKET {
            return Err(Errno::EINVAL);
        }
        let station = (addr[11] == 6).then(|| MacAddr(std::array::from_fn(|at| addr[12 + at])));
        Ok(Self {
            protocol: u16::from_be_bytes([addr[2], addr[3]]),
            index: u32::from_ne_bytes(std::array::from_fn(|at| addr[4 + at])),
            station,
        })
    }

    fn iface(&self) -> Result<Option<IfaceId>, Errno> {
        match self.index {
            0 => Ok(None),
            index => Ok(Some(IfaceId::from_index(index).ok_or(Errno::ENODEV)?)),
        }
    }
}

/// `struct sockaddr_ll`
fn emit(protocol: u16, index: u32, hardware: u16, kind: u8, station: Option<MacAddr>) -> Vec<u8> {
    let mut bytes = (libc::AF_PACKET as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&protocol.to_be_bytes());
    bytes.extend_from_slice(&index.to_ne_bytes());
    bytes.extend_from_slice(&hardware.to_ne_bytes());
    bytes.push(kind);
    bytes.push(if station.is_some() { 6 } else { 0 });
    bytes.extend_from_slice(&station.unwrap_or_default().0);
    bytes.resize(SOCKADDR_LL, 0);
    bytes
}

impl PacketSocket {
    fn interface(&self, id: IfaceId) -> Option<InterfaceInfo> {
        let find =
            |stack: &mut netstack::stack::Stack, _| stack.interfaces().find(|info| info.id == id);
        self.endpoint.look(find)
    }

    fn hardware(&self, id: IfaceId) -> u16 {
        let info = self.interface(id);
        info.map_or(0, |info| link::kind(&info).hardware_type())
    }

    fn change_membership(&self, value: &[u8], add: bool) -> Result<(), Errno> {
        if value.len() < 16 {
            return Err(Errno::EINVAL);
        }
        let half = |at: usize| u16::from_ne_bytes([value[at], value[at + 1]]);
        let wanted = Membership {
            index: option_int(value)? as u32,
            kind: half(4),
            len: half(6),
            addr: std::array::from_fn(|at| value[8 + at]),
        };
        let id = IfaceId::from_index(wanted.index);
        let known = id.is_some_and(|id| self.interface(id).is_some());
        let mut all = self.memberships.lock();
        if !add {
            let at = all.iter().position(|own| *own == wanted);
            all.swap_remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
            return Ok(());
        }
        if !known {
            return Err(Errno::ENODEV);
        }
        if wanted.kind > 3 || wanted.len > 8 {
            return Err(Errno::EINVAL);
        }
        if all.len() >= MEMBERSHIPS_MAX {
            return Err(Errno::ENOBUFS);
        }
        all.push(wanted);
        Ok(())
    }

    /// `struct tpacket_auxdata`
    fn aux_data_of(&self, packet: &PassedPacket) -> Control {
        const STATUS_USER: u32 = 1;
        let mut control = Control::default();
        if self.aux_data.load(Ordering::Relaxed) {
            let status = STATUS_USER
                | match packet.checksum {
                    PacketChecksum::Unknown => 0,
                    PacketChecksum::Valid => 1 << 7,
                    PacketChecksum::Pending => 1 << 3,
                };
            let words = [status, packet.len as u32, packet.data.len() as u32];
            let mut data: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            data.extend_from_slice(&[0, 0]);
            data.extend_from_slice(&(packet.network as u16).to_ne_bytes());
            data.extend_from_slice(&[0; 4]);
            control.other.push((PACKET, libc::PACKET_AUXDATA, data));
        }
        control
    }
}

impl Socket for PacketSocket {
    fn socket_type(&self) -> SocketType {
        SocketType {
            family: libc::AF_PACKET,
            kind: self.kind,
            // What it hears is told by its address.
            protocol: 0,
        }
    }

    fn bind(&self, _: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let addr = LinkAddr::parse(addr)?;
        let iface = addr.iface()?;
        self.endpoint
            .call(|stack, id| stack.packet_bind(id, iface, addr.protocol))
    }

    fn listen(&self, _: &Caller<'_>, _: i32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn connect(&self, _: &Caller<'_>, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn send(
        &self,
        _: &Caller<'_>,
        src: &mut dyn IoSrc,
        meta: SendMeta<'_>,
    ) -> Result<usize, Errno> {
        let to = meta.to.map(LinkAddr::parse).transpose()?;
        let iface = to.as_ref().map(LinkAddr::iface).transpose()?.flatten();
        let protocol = to.as_ref().map_or(0, |to| to.protocol);
        let station = to.as_ref().and_then(|to| to.station);
        if src.remaining() > PIECE_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut data = vec![0; src.remaining()];
        if !data.is_empty() && src.take(&mut data)? < data.len() {
            return Err(Errno::EFAULT);
        }
        let sent = self
            .endpoint
            .call(|stack, id| stack.packet_send(id, data, iface, protocol, station));
        sent.map_err(|error| match error {
            Errno::ENODEV => Errno::ENXIO,
            error => error,
        })
    }

    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            return Err(Errno::EAGAIN);
        }
        let packet = self
            .endpoint
            .call(|stack, id| match flags & libc::MSG_PEEK {
                0 => stack.packet_recv(id),
                _ => stack.packet_peek(id).cloned(),
            })?;
        let full = packet.data.len();
        let copied = if full == 0 { 0 } else { dst.put(&packet.data)? };
        let hardware = self.hardware(packet.iface);
        let index = packet.iface.index();
        Ok(Received {
            len: if flags & libc::MSG_TRUNC != 0 {
                full
            } else {
                copied
            },
            from: emit(
                packet.protocol,
                index,
                hardware,
                packet.kind as u8,
                packet.from,
            ),
            flags: if copied < full { libc::MSG_TRUNC } else { 0 },
            control: self.aux_data_of(&packet),
        })
    }

    fn shutdown(&self, _: Shutdown) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_addr(&self) -> Result<Vec<u8>, Errno> {
        let (iface, protocol) = self.endpoint.call(|stack, id| stack.packet_bound(id))?;
        let info = iface.and_then(|id| self.interface(id));
        Ok(match info {
            None => emit(protocol, 0, 0, 0, None),
            Some(info) => {
                let kind = link::kind(&info);
                let station = (kind != link::LinkKind::Ip).then_some(info.mac);
                emit(
                    protocol,
                    link::index(&info),
                    kind.hardware_type(),
                    0,
                    station,
                )
            }
        })
    }

    fn peer_addr(&self) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let socket = self.socket_type();
        if let Some(answer) = filter::get(&self.endpoint, level, name) {
            return answer;
        }
        let options = self
            .endpoint
            .call(|stack, id| stack.packet_options_mut(id).copied())?;
        match (level, name) {
            (SOCKET, libc::SO_TYPE) => int(socket.kind),
            (SOCKET, libc::SO_DOMAIN) => int(socket.family),
            (SOCKET, libc::SO_PROTOCOL) => int(socket.protocol),
            (SOCKET, libc::SO_ERROR | libc::SO_ACCEPTCONN) => int(0),
            (SOCKET, libc::SO_RCVBUF) => int(options.recv_budget as i32),
            (SOCKET, libc::SO_SNDBUF) => int(self.send_buffer.load(Ordering::Relaxed)),
            (PACKET, libc::PACKET_AUXDATA) => int(self.aux_data.load(Ordering::Relaxed).into()),
            (PACKET, PACKET_IGNORE_OUTGOING) => int(options.ignore_outgoing.into()),
            (PACKET, libc::PACKET_STATISTICS) => {
                let counts = self.endpoint.call(|stack, id| stack.packet_counts(id))?;
                Ok([counts.packets.to_ne_bytes(), counts.drops.to_ne_bytes()].concat())
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_option(&self, _: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if let Some(done) = filter::set(&self.endpoint, level, name, value) {
            return done;
        }
        if level == PACKET
            && matches!(
                name,
                libc::PACKET_ADD_MEMBERSHIP | libc::PACKET_DROP_MEMBERSHIP
            )
        {
            return self.change_membership(value, name == libc::PACKET_ADD_MEMBERSHIP);
        }
        let number = option_int(value)?;
        let twice = |least: i32| number.clamp(0, 212_992).max(least / 2) * 2;
        match (level, name) {
            (SOCKET, libc::SO_RCVBUF) => self.endpoint.call(|stack, id| {
                stack.packet_options_mut(id)?.recv_budget = twice(2304) as usize;
                Ok(())
            }),
            (SOCKET, libc::SO_SNDBUF) => {
                self.send_buffer.store(twice(4608), Ordering::Relaxed);
                Ok(())
            }
            (PACKET, libc::PACKET_AUXDATA) => {
                self.aux_data.store(number != 0, Ordering::Relaxed);
                Ok(())
            }
            (PACKET, PACKET_IGNORE_OUTGOING) if !(0..=1).contains(&number) => Err(Errno::EINVAL),
            (PACKET, PACKET_IGNORE_OUTGOING) => self.endpoint.call(|stack, id| {
                stack.packet_options_mut(id)?.ignore_outgoing = number != 0;
                Ok(())
            }),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn readable_bytes(&self) -> usize {
        let peek = |stack: &mut netstack::stack::Stack, id| {
            stack.packet_peek(id).map(|packet| packet.data.len())
        };
        self.endpoint.call(peek).unwrap_or(0)
    }

    fn readiness(&self) -> Ready {
        self.endpoint.readiness()
    }

    fn wait_queue(&self) -> &WaitQueue {
        self.endpoint.queue()
    }
}
