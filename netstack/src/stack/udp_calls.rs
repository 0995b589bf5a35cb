//! UDP: datagrams in, and the socket calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smallvec::smallvec;

use super::Stack;
use super::ingress::Inbound;
use super::intercept::Intercepting;
use crate::buf::{Bytes, GsoKind};
use crate::error::SocketError;
use crate::network::{IpOutput, TransportOut, proto};
use crate::socket::{Family, ReceivedDatagram, Shutdown, SocketId};
use crate::transport::ports::Claim;
use crate::transport::udp::{UdpOptions, UdpSocket};
use crate::wire::checksum::Checksum;
use crate::wire::icmpv4::{Icmpv4Repr, unreachable};
use crate::wire::ipv4;
use crate::wire::udp::{CHECKSUM_OFFSET, HEADER_LEN, UdpRepr, UdpView};

/// The largest payload of a datagram over IPv4.
const PAYLOAD_MAX: usize = 65_535 - ipv4::HEADER_LEN - HEADER_LEN;

impl Stack {
    pub(super) fn udp_in(&mut self, inbound: &Inbound) {
        let bytes = inbound.payload();
        let meta = &inbound.meta;
        let Ok(view) = UdpView::new(&bytes) else {
            self.udp_stats.in_hdr_errors += 1;
            self.udp_stats.in_errors += 1;
            return;
        };
        // Over IPv4 a zero field means that the sender made no checksum.
        if !meta.checksum_valid && view.checksum() != 0 {
            let len = view.datagram().len() as u32;
            let mut sum = Checksum::pseudo(meta.src, meta.dst, proto::UDP, len);
            sum.add_bytes(view.datagram());
            if !sum.is_valid() {
                self.udp_stats.in_csum_errors += 1;
                self.udp_stats.in_errors += 1;
                return;
            }
        }
        let (src_port, dst_port) = (view.src_port(), view.dst_port());
        let data = bytes.slice(HEADER_LEN..view.datagram().len());
        let mut receivers = self.udp.receivers(meta, src_port, dst_port);
        if receivers.is_empty() {
            match self.intercept_udp(inbound, src_port, dst_port) {
                Intercepting::Flow(id) => receivers.push(id),
                Intercepting::Full => return,
                Intercepting::Nobody => {}
            }
        }
        if receivers.is_empty() {
            self.udp_stats.no_ports += 1;
            let code = unreachable::PORT;
            self.send_icmp_error(inbound, Icmpv4Repr::Unreachable { code, mtu: 0 });
            return;
        }
        // GRO of UDP: several datagrams in one.
        let step = match meta.gro_size {
            0 => data.len().max(1),
            size => usize::from(size),
        };
        let count = data.len().div_ceil(step).max(1);
        for id in receivers {
            for at in (0..count).map(|n| n * step) {
                let datagram = ReceivedDatagram {
                    from: SocketAddr::new(meta.src, src_port),
                    to: meta.dst,
                    iface: meta.iface,
                    tos: meta.tos,
                    ttl: meta.ttl,
                    arrival: meta.arrival,
                    data: data.slice(at..(at + step).min(data.len())),
                };
                self.udp_queue(id, datagram);
            }
        }
    }

    /// The ports that are chosen from when an application names none.
    fn ephemeral_ports(&self) -> core::ops::RangeInclusive<u16> {
        let [first, last] = self.tcp_config.ip_local_port_range;
        first as u16..=last as u16
    }

    fn udp_queue(&mut self, id: SocketId, datagram: ReceivedDatagram) {
        let now = self.net.now;
        let Ok(socket) = self.udp.get_mut(id) else {
            return;
        };
        socket.touch(now);
        let budget = match socket.read_shut {
            true => 0,
            false => socket.options.recv_budget,
        };
        if socket.queue.push(datagram, budget) {
            self.udp_stats.in_datagrams += 1;
            self.events.mark(id);
        } else {
            self.udp_stats.rcvbuf_errors += 1;
            self.udp_stats.in_errors += 1;
        }
    }

    /// Opens a UDP socket.
    pub fn udp_open(&mut self, family: Family) -> SocketId {
        let unspecified = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let options = UdpOptions::new(self.net.config.rmem_default);
        self.udp
            .sockets
            .insert(UdpSocket::new(unspecified, options))
    }

    /// The options of a socket.
    ///
    /// # Errors
    /// `Invalid` if there is no such UDP socket.
    pub fn udp_options(&self, id: SocketId) -> Result<&UdpOptions, SocketError> {
        Ok(&self.udp.get(id)?.options)
    }

    /// The options of a socket, to change them.
    ///
    /// # Errors
    /// `Invalid` if there is no such UDP socket.
    pub fn udp_options_mut(&mut self, id: SocketId) -> Result<&mut UdpOptions, SocketError> {
        Ok(&mut self.udp.get_mut(id)?.options)
    }

    /// Binds a socket; port 0 chooses an ephemeral one.
    ///
    /// # Errors
    /// `Invalid` if it is bound, `AddrFamily`, `AddrNotAvailable` if the address is not ours,
    /// `AddrInUse`.
    pub fn udp_bind(&mut self, id: SocketId, addr: SocketAddr) -> Result<(), SocketError> {
        let socket = self.udp.get(id)?;
        if socket.claim.is_some() || socket.flow.is_some() {
            return Err(SocketError::Invalid);
        }
        if socket.local.is_ipv4() != addr.is_ipv4() {
            return Err(SocketError::AddrFamily);
        }
        let ip = addr.ip();
        let usable = ip.is_unspecified() || self.net.is_local(ip) || self.is_group(ip);
        if !usable {
            return Err(SocketError::AddrNotAvailable);
        }
        let claim = claim_for(socket, ip, addr.port());
        self.udp_claim(id, claim)?;
        self.udp.get_mut(id)?.local = ip;
        Ok(())
    }

    /// Takes the port of a claim (0: any) and lets datagrams to it reach the socket.
    fn udp_claim(&mut self, id: SocketId, claim: Claim) -> Result<(), SocketError> {
        let claim = if claim.port == 0 {
            let range = self.ephemeral_ports();
            let rng = &mut self.rng;
            let port = self.udp.ports.bind_any(claim, range, rng)?;
            Claim { port, ..claim }
        } else {
            self.udp.ports.bind(claim)?;
            claim
        };
        self.udp.get_mut(id)?.claim = Some(claim);
        self.udp.enter(id, claim);
        Ok(())
    }

    /// Sets the peer: datagrams of others are not received any more, and errors are reported.
    ///
    /// # Errors
    /// `AddrFamily`, `NetUnreachable`, `Access` for a broadcast address without the option,
    /// `WouldBlock` if no port is free.
    pub fn udp_connect(&mut self, id: SocketId, remote: SocketAddr) -> Result<(), SocketError> {
        let remote = self.udp_destination(id, remote)?;
        let socket = self.udp.get(id)?;
        if socket.flow.is_some() {
            return Err(SocketError::Invalid);
        }
        let chosen = (!socket.local_by_connect).then_some(socket.local);
        let route = self.net.route(remote.ip(), chosen, socket.options.iface)?;
        if socket.claim.is_none() {
            // As in Linux the port is held for every local address, and never shared: the socket may
            // be disconnected later, and keeps it.
            let claim = claim_for(socket, socket.local, 0);
            let none_left = |_| SocketError::WouldBlock;
            self.udp_claim(id, claim).map_err(none_left)?;
        }
        let socket = self.udp.get_mut(id)?;
        if socket.local.is_unspecified() || socket.local_by_connect {
            socket.local = route.src;
            socket.local_by_connect = true;
        }
        socket.remote = Some(remote);
        Ok(())
    }

    /// Forgets the peer (connect to AF_UNSPEC).
    ///
    /// # Errors
    /// `Invalid` if there is no such UDP socket.
    pub fn udp_disconnect(&mut self, id: SocketId) -> Result<(), SocketError> {
        let socket = self.udp.get_mut(id)?;
        if socket.flow.is_some() {
            return Err(SocketError::Invalid);
        }
        socket.remote = None;
        if socket.local_by_connect {
            socket.local_by_connect = false;
            socket.local = match socket.local {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
        }
        Ok(())
    }

    /// Sends a datagram to `to`, or to the peer. Returns its length.
    ///
    /// # Errors
    /// A pending error first; `Pipe` after shutdown, `DestinationRequired`, `MessageTooLong`,
    /// `Access` for a broadcast without the option, `NetUnreachable`; `WouldBlock` if the transmit
    /// queue is full: the socket becomes writable when there is room.
    pub fn udp_send(
        &mut self,
        id: SocketId,
        data: impl Into<Bytes>,
        to: Option<SocketAddr>,
    ) -> Result<usize, SocketError> {
        let data = data.into();
        let now = self.net.now;
        let socket = self.udp.get_mut(id)?;
        if let Some(error) = socket.queue.take_error() {
            return Err(error);
        }
        socket.touch(now);
        if socket.write_shut {
            return Err(SocketError::Pipe);
        }
        let to = to
            .or(socket.remote)
            .ok_or(SocketError::DestinationRequired)?;
        if data.len() > PAYLOAD_MAX {
            return Err(SocketError::MessageTooLong);
        }
        let to = self.udp_destination(id, to)?;
        if self.udp.get(id)?.port() == 0 {
            let socket = self.udp.get(id)?;
            let claim = claim_for(socket, socket.local, 0);
            let no_port = |_| SocketError::WouldBlock;
            self.udp_claim(id, claim).map_err(no_port)?;
        }
        let sent = self.udp_output(id, data, to);
        match sent {
            Ok(_) => self.udp_stats.out_datagrams += 1,
            Err(SocketError::NoBuffers) => {
                self.udp_stats.sndbuf_errors += 1;
                self.udp.block(id);
                return Err(SocketError::WouldBlock);
            }
            Err(_) => {}
        }
        self.settle();
        sent
    }

    fn udp_output(
        &mut self,
        id: SocketId,
        data: Bytes,
        to: SocketAddr,
    ) -> Result<usize, SocketError> {
        let socket = self.udp.get(id)?;
        let options = socket.options;
        let local = Some(socket.local).filter(|local| !self.is_group(*local));
        let route = self.net.route(to.ip(), local, options.iface)?;
        let mut header = [0; HEADER_LEN];
        let repr = UdpRepr {
            src_port: socket.port(),
            dst_port: to.port(),
            payload_len: data.len() as u16,
        };
        repr.emit(&mut header);
        let len = data.len();
        // Linux IP_PMTUDISC_WANT: what fits is not to be fragmented on the way, what does not is here.
        let fits = ipv4::HEADER_LEN + HEADER_LEN + len <= route.mtu as usize;
        self.net.output(TransportOut {
            src: route.src,
            dst: to.ip(),
            iface: options.iface,
            proto: proto::UDP,
            tos: options.tos,
            ttl: match to.ip().is_multicast() {
                true => options.multicast_ttl,
                false => options.ttl,
            },
            dont_fragment: fits || options.dont_fragment,
            header: &header,
            checksum_offset: CHECKSUM_OFFSET,
            body: smallvec![data],
            gso_size: 0,
            gso_kind: GsoKind::None,
        })?;
        Ok(len)
    }

    /// Checks a destination. The unspecified address means this host, as in Linux.
    fn udp_destination(&self, id: SocketId, to: SocketAddr) -> Result<SocketAddr, SocketError> {
        let socket = self.udp.get(id)?;
        if socket.local.is_ipv4() != to.is_ipv4() {
            return Err(SocketError::AddrFamily);
        }
        if to.port() == 0 {
            return Err(SocketError::Invalid);
        }
        if self.net.is_broadcast(to.ip()) && !socket.options.broadcast {
            return Err(SocketError::Access);
        }
        let ip = match to.ip() {
            ip if !ip.is_unspecified() => ip,
            _ if !socket.local.is_unspecified() => socket.local,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Ok(SocketAddr::new(ip, to.port()))
    }

    /// Takes the oldest datagram.
    ///
    /// # Errors
    /// A pending error; `WouldBlock` if nothing waits. After shutdown of reading there is an empty
    /// queue for ever: the caller reads that as end of file.
    pub fn udp_recv(&mut self, id: SocketId) -> Result<ReceivedDatagram, SocketError> {
        self.udp.get_mut(id)?.queue.pop()
    }

    /// The oldest datagram, which stays (MSG_PEEK).
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits.
    pub fn udp_peek(&self, id: SocketId) -> Result<&ReceivedDatagram, SocketError> {
        self.udp
            .get(id)?
            .queue
            .peek()
            .ok_or(SocketError::WouldBlock)
    }

    /// Datagrams that the socket's receive budget had no room for.
    ///
    /// # Errors
    /// `Invalid` if there is no such UDP socket.
    pub fn udp_drops(&self, id: SocketId) -> Result<u64, SocketError> {
        Ok(self.udp.get(id)?.queue.drops())
    }

    pub(super) fn udp_shutdown(&mut self, id: SocketId, how: Shutdown) -> Result<(), SocketError> {
        let socket = self.udp.get_mut(id)?;
        if socket.remote.is_none() {
            return Err(SocketError::NotConnected);
        }
        socket.read_shut |= how != Shutdown::Write;
        socket.write_shut |= how != Shutdown::Read;
        self.events.mark(id);
        Ok(())
    }

    pub(super) fn udp_local_addr(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        let socket = self.udp.get(id)?;
        Ok(SocketAddr::new(socket.local, socket.port()))
    }
}

fn claim_for(socket: &UdpSocket, addr: IpAddr, port: u16) -> Claim {
    Claim {
        port,
        addr: Some(addr),
        iface: socket.options.iface,
        reuse_addr: socket.options.reuse_addr,
        reuse_port: socket.options.reuse_port,
        listening: false,
        by_connect: false,
    }
}
