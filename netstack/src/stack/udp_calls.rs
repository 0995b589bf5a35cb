//! UDP: datagrams in, and the socket calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smallvec::smallvec;

use super::Stack;
use super::egress::ip_header_len;
use super::ingress::Inbound;
use super::intercept::{Intercepting, is_host_address};
use crate::buf::{Bytes, GsoKind};
use crate::error::SocketError;
use crate::network::icmp_error::Problem;
use crate::network::{IfaceId, IpOutput, TransportOut, proto};
use crate::socket::{Family, Names, ReceivedDatagram, Shutdown, SocketId, needs_scope};
use crate::transport::ports::Claim;
use crate::transport::udp::{UdpOptions, UdpSocket};
use crate::wire::checksum::Checksum;
use crate::wire::udp::{CHECKSUM_OFFSET, HEADER_LEN, UdpRepr, UdpView};

/// The largest payload of a datagram over IPv4.
const PAYLOAD_MAX: usize = 65_535 - crate::wire::ipv4::HEADER_LEN - HEADER_LEN;

impl Stack {
    pub(super) fn udp_in(&mut self, inbound: &Inbound) {
        let bytes = inbound.payload();
        let meta = &inbound.meta;
        let Ok(view) = UdpView::new(&bytes) else {
            self.udp_stats.of(meta.src).in_hdr_errors += 1;
            self.udp_stats.of(meta.src).in_errors += 1;
            return;
        };
        // Over IPv4 a zero field means that the sender made no checksum (RFC 768; RFC 8200 section 8.1).
        let has_sum = view.checksum() != 0 || meta.src.is_ipv6();
        if !meta.checksum_valid && has_sum {
            let len = view.datagram().len() as u32;
            let mut sum = Checksum::pseudo(meta.src, meta.dst, proto::UDP, len);
            sum.add_bytes(view.datagram());
            if !sum.is_valid() || view.checksum() == 0 {
                self.udp_stats.of(meta.src).in_csum_errors += 1;
                self.udp_stats.of(meta.src).in_errors += 1;
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
            self.udp_stats.of(meta.src).no_ports += 1;
            self.send_icmp_error(inbound, Problem::Port);
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

    fn udp_queue(&mut self, id: SocketId, mut datagram: ReceivedDatagram) {
        let now = self.net.now;
        let src = datagram.from.ip();
        let Ok(socket) = self.udp.get_mut(id) else {
            return;
        };
        socket.touch(now);
        let (from, iface) = (datagram.from, Some(datagram.iface));
        datagram.from = socket.names.outward(from, iface);
        let budget = match socket.read_shut {
            true => 0,
            false => socket.options.recv_budget,
        };
        if socket.queue.push(datagram, budget) {
            self.udp_stats.of(src).in_datagrams += 1;
            self.events.mark(id);
        } else {
            self.udp_stats.of(src).rcvbuf_errors += 1;
            self.udp_stats.of(src).in_errors += 1;
        }
    }

    /// Opens a UDP socket.
    pub fn udp_open(&mut self, family: Family) -> SocketId {
        let options = UdpOptions::new(self.net.config.rmem_default);
        let socket = UdpSocket::new(Names::of(family), options);
        self.udp.sockets.insert(socket)
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
        let inward = socket.names.inward(addr)?;
        let ip = inward.addr.ip();
        if !ip.is_unspecified() && !socket.names.speaks(ip) {
            return Err(SocketError::Invalid);
        }
        let iface = inward.link(socket.options.iface)?;
        // Any host's address can be taken where packets to any address come in.
        let any = self.net.intercepts() && is_host_address(ip);
        let usable = ip.is_unspecified() || self.net.is_local(ip) || self.is_group(ip) || any;
        if !usable {
            return Err(SocketError::AddrNotAvailable);
        }
        let claim = claim_for(socket, ip, addr.port());
        self.udp_claim(id, Claim { iface, ..claim })?;
        let socket = self.udp.get_mut(id)?;
        socket.local = ip;
        socket.options.iface = iface;
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
        let (remote, iface) = self.udp_destination(id, remote)?;
        if iface.is_none() && needs_scope(remote.ip()) {
            return Err(SocketError::Invalid);
        }
        let socket = self.udp.get(id)?;
        if socket.flow.is_some() {
            return Err(SocketError::Invalid);
        }
        let chosen = (!socket.local_by_connect).then_some(socket.local);
        let chosen = chosen.filter(|local| !local.is_unspecified());
        let route = self.net.route(remote.ip(), chosen, iface)?;
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
        if needs_scope(remote.ip()) {
            socket.options.iface = iface;
        }
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
            socket.local = socket.names.unspecified();
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
        let peer = socket.remote.map(|remote| (remote, socket.options.iface));
        if to.is_none() && peer.is_none() {
            return Err(SocketError::DestinationRequired);
        }
        if data.len() > PAYLOAD_MAX {
            return Err(SocketError::MessageTooLong);
        }
        let (to, iface) = match (to, peer) {
            (None, Some(peer)) => peer,
            (Some(to), _) => self.udp_destination(id, to)?,
            (None, None) => return Err(SocketError::DestinationRequired),
        };
        if self.udp.get(id)?.port() == 0 {
            let socket = self.udp.get(id)?;
            let claim = claim_for(socket, socket.local, 0);
            let no_port = |_| SocketError::WouldBlock;
            self.udp_claim(id, claim).map_err(no_port)?;
        }
        let sent = self.udp_output(id, data, to, iface);
        match sent {
            Ok(_) => self.udp_stats.of(to.ip()).out_datagrams += 1,
            Err(SocketError::NoBuffers) => {
                self.udp_stats.of(to.ip()).sndbuf_errors += 1;
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
        iface: Option<IfaceId>,
    ) -> Result<usize, SocketError> {
        let socket = self.udp.get(id)?;
        let options = socket.options;
        let local = Some(socket.local).filter(|local| !self.is_group(*local));
        let local = local.filter(|local| !local.is_unspecified());
        let route = self.net.route(to.ip(), local, iface)?;
        let mut header = [0; HEADER_LEN];
        let repr = UdpRepr {
            src_port: socket.port(),
            dst_port: to.port(),
            payload_len: data.len() as u16,
        };
        repr.emit(&mut header);
        let len = data.len();
        // Linux IP_PMTUDISC_WANT: what fits is not to be fragmented on the way, what does not is here.
        let fits = ip_header_len(to.ip()) + HEADER_LEN + len <= route.mtu as usize;
        self.net.output(TransportOut {
            src: route.src,
            dst: to.ip(),
            iface,
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

    /// Checks a destination, and says over which interface it has to be reached, if that matters. The
    /// unspecified address means this host, as in Linux.
    fn udp_destination(
        &self,
        id: SocketId,
        to: SocketAddr,
    ) -> Result<(SocketAddr, Option<IfaceId>), SocketError> {
        let socket = self.udp.get(id)?;
        let inward = socket.names.inward(to)?;
        let ip = inward.addr.ip();
        if to.port() == 0 {
            return Err(SocketError::Invalid);
        }
        if !socket.names.speaks(ip) {
            return Err(SocketError::NetUnreachable);
        }
        if self.net.is_broadcast(ip) && !socket.options.broadcast {
            return Err(SocketError::Access);
        }
        let iface = inward.link(socket.options.iface)?;
        let local = socket.local;
        let ip = match ip {
            ip if !ip.is_unspecified() => ip,
            _ if !local.is_unspecified() => local,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        // A socket that has an address of one family does not reach the other.
        let chosen = !local.is_unspecified() && !socket.local_by_connect;
        if chosen && local.is_ipv4() != ip.is_ipv4() {
            return Err(SocketError::NetUnreachable);
        }
        Ok((SocketAddr::new(ip, to.port()), iface))
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
        let local = SocketAddr::new(socket.local, socket.port());
        Ok(socket.names.outward(local, socket.options.iface))
    }

    pub(super) fn udp_peer_addr(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        let socket = self.udp.get(id)?;
        let remote = socket.remote.ok_or(SocketError::NotConnected)?;
        Ok(socket.names.outward(remote, socket.options.iface))
    }
}

fn claim_for(socket: &UdpSocket, addr: IpAddr, port: u16) -> Claim {
    Claim {
        port,
        addr: socket.names.claimed(addr),
        iface: socket.options.iface,
        reuse_addr: socket.options.reuse_addr,
        reuse_port: socket.options.reuse_port,
        listening: false,
        by_connect: false,
    }
}
