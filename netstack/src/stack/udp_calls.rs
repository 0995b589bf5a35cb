//! UDP: the socket calls but sending.

use std::net::{IpAddr, SocketAddr};

use super::Stack;
use super::intercept::is_host_address;
use crate::error::SocketError;
use crate::network::IpOutput;
use crate::socket::{
    DatagramOptions, Family, Names, ReceivedDatagram, SendTo, Shutdown, SocketId, needs_scope,
};
use crate::transport::ports::Claim;
use crate::transport::udp::UdpSocket;

impl Stack {
    /// The ports that are chosen from when an application names none.
    fn ephemeral_ports(&self) -> core::ops::RangeInclusive<u16> {
        let [first, last] = self.tcp_config.ip_local_port_range;
        first as u16..=last as u16
    }

    /// Opens a UDP socket.
    pub fn udp_open(&mut self, family: Family) -> SocketId {
        let options = DatagramOptions::new(family, self.net.config.rmem_default);
        let socket = UdpSocket::new(Names::of(family), options);
        self.udp.sockets.insert(socket)
    }

    /// The options of a socket.
    ///
    /// # Errors
    /// `Invalid` if there is no such UDP socket.
    pub fn udp_options(&self, id: SocketId) -> Result<&DatagramOptions, SocketError> {
        Ok(&self.udp.get(id)?.options)
    }

    /// The options of a socket, to change them.
    ///
    /// # Errors
    /// `Invalid` if there is no such UDP socket.
    pub fn udp_options_mut(&mut self, id: SocketId) -> Result<&mut DatagramOptions, SocketError> {
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
        let foreign = socket.options.freebind || socket.options.transparent;
        // Any host's address can be taken where packets to any address come in.
        let any = self.net.intercepts() && is_host_address(ip);
        let usable = ip.is_unspecified() || self.net.is_local(ip) || self.is_group(ip) || any;
        if !usable && !foreign {
            return Err(SocketError::AddrNotAvailable);
        }
        let claim = claim_for(socket, ip, addr.port());
        // IP_BIND_ADDRESS_NO_PORT: the port is chosen when it is known who the peer is.
        if addr.port() != 0 || !socket.options.bind_no_port {
            self.udp_claim(id, Claim { iface, ..claim })?;
        }
        let socket = self.udp.get_mut(id)?;
        socket.local = ip;
        socket.options.iface = iface;
        Ok(())
    }

    /// Takes the port of a claim (0: any) and lets datagrams to it reach the socket.
    pub(super) fn udp_claim(&mut self, id: SocketId, claim: Claim) -> Result<(), SocketError> {
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
        let way = self.datagram_way(
            &socket.options,
            chosen,
            (remote.ip(), iface),
            &SendTo::default(),
        );
        let route = self.net.route(remote.ip(), way.src, way.iface)?;
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

    /// The path MTU to the peer (IP_MTU).
    ///
    /// # Errors
    /// `NotConnected`; `Invalid` if there is no such UDP socket.
    pub fn udp_mtu(&self, id: SocketId) -> Result<u32, SocketError> {
        let socket = self.udp.get(id)?;
        let remote = socket.remote.ok_or(SocketError::NotConnected)?;
        Ok(self
            .net
            .route(remote.ip(), Some(socket.local), socket.options.iface)?
            .mtu)
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
        socket.read_shut |= how != Shutdown::Write;
        socket.write_shut |= how != Shutdown::Read;
        self.events.mark(id);
        // Without a peer it is an error, and done all the same (Linux `inet_shutdown`).
        match self.udp.get(id)?.remote {
            Some(_) => Ok(()),
            None => Err(SocketError::NotConnected),
        }
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

pub(super) fn claim_for(socket: &UdpSocket, addr: IpAddr, port: u16) -> Claim {
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
