//! UDP: sending, corked and in segments too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smallvec::smallvec;

use super::Stack;
use super::datagram::Way;
use super::egress::ip_header_len;
use super::udp_calls::claim_for;
use crate::buf::{Bytes, GsoKind};
use crate::error::SocketError;
use crate::network::{IfaceId, TransportOut, proto};
use crate::socket::{SendTo, SocketId};
use crate::transport::udp::Corked;
use crate::wire::udp::{CHECKSUM_OFFSET, HEADER_LEN, UdpRepr};

/// The largest payload of a datagram over IPv4.
const PAYLOAD_MAX: usize = 65_535 - crate::wire::ipv4::HEADER_LEN - HEADER_LEN;
/// Datagrams that one call makes at most (Linux UDP_MAX_SEGMENTS).
const SEGMENTS_MAX: usize = 128;

impl Stack {
    /// Sends a datagram to an address, or to the peer. Returns its length.
    ///
    /// # Errors
    /// A pending error first; `Pipe` after shutdown, `DestinationRequired`, `MessageTooLong`,
    /// `Access` for a broadcast without the option, `NetUnreachable`, `Invalid` for a source address that
    /// is not ours or more than 128 segments; `WouldBlock` if the transmit queue is full: the socket
    /// becomes writable when there is room.
    pub fn udp_send(
        &mut self,
        id: SocketId,
        data: impl Into<Bytes>,
        to: impl Into<SendTo>,
    ) -> Result<usize, SocketError> {
        let (data, how) = (data.into(), to.into());
        let now = self.net.now;
        let socket = self.udp.get_mut(id)?;
        if let Some(error) = socket.queue.take_error() {
            return Err(error);
        }
        socket.touch(now);
        if socket.corked.is_some() {
            return self.udp_append(id, &data, how.more);
        }
        let (to, iface) = self.udp_to(id, &data, &how)?;
        if self.udp.get(id)?.write_shut {
            return Err(SocketError::Pipe);
        }
        if self.udp.get(id)?.port() == 0 {
            let socket = self.udp.get(id)?;
            let claim = claim_for(socket, socket.local, 0);
            let no_port = |_| SocketError::WouldBlock;
            self.udp_claim(id, claim).map_err(no_port)?;
        }
        let socket = self.udp.get_mut(id)?;
        if how.more || socket.options.cork {
            let len = data.len();
            socket.corked = Some(Corked {
                to,
                iface,
                how,
                data: data.into(),
            });
            return Ok(len);
        }
        self.udp_transmit(id, data, (to, iface), &how)
    }

    /// Where a datagram goes, and that it may.
    fn udp_to(
        &self,
        id: SocketId,
        data: &Bytes,
        how: &SendTo,
    ) -> Result<(SocketAddr, Option<IfaceId>), SocketError> {
        let socket = self.udp.get(id)?;
        let peer = socket.remote.map(|remote| (remote, socket.options.iface));
        if how.to.is_none() && peer.is_none() {
            return Err(SocketError::DestinationRequired);
        }
        if data.len() > PAYLOAD_MAX {
            return Err(SocketError::MessageTooLong);
        }
        match (how.to, peer) {
            (None, Some(peer)) => Ok(peer),
            (Some(to), _) => self.udp_destination(id, to),
            (None, None) => Err(SocketError::DestinationRequired),
        }
    }

    /// Adds to a datagram that is being held back, and sends it unless there is more.
    fn udp_append(&mut self, id: SocketId, data: &[u8], more: bool) -> Result<usize, SocketError> {
        let socket = self.udp.get_mut(id)?;
        let Some(corked) = &mut socket.corked else {
            return Err(SocketError::Invalid);
        };
        if corked.data.len() + data.len() > PAYLOAD_MAX {
            // Linux `udp_flush_pending_frames`.
            socket.corked = None;
            return Err(SocketError::MessageTooLong);
        }
        corked.data.extend_from_slice(data);
        if !more && !socket.options.cork {
            self.udp_push(id)?;
        }
        Ok(data.len())
    }

    /// Sends what has been held back, if anything.
    ///
    /// # Errors
    /// As [`Stack::udp_send`]; what could not be sent is lost.
    pub fn udp_push(&mut self, id: SocketId) -> Result<(), SocketError> {
        let Some(corked) = self.udp.get_mut(id)?.corked.take() else {
            return Ok(());
        };
        let Corked {
            to,
            iface,
            how,
            data,
        } = corked;
        self.udp_transmit(id, data.into(), (to, iface), &how)
            .map(drop)
    }

    fn udp_transmit(
        &mut self,
        id: SocketId,
        data: Bytes,
        (to, iface): (SocketAddr, Option<IfaceId>),
        how: &SendTo,
    ) -> Result<usize, SocketError> {
        let socket = self.udp.get(id)?;
        let local = Some(socket.local).filter(|local| !local.is_unspecified());
        let way = self.datagram_way(&socket.options, local, (to.ip(), iface), how);
        let segment = usize::from(how.segment.unwrap_or(socket.options.gso_size));
        let sent = self.udp_output(id, data, (to, &way), segment);
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
        (to, way): (SocketAddr, &Way),
        segment: usize,
    ) -> Result<usize, SocketError> {
        let socket = self.udp.get(id)?;
        let route = self.datagram_route(to.ip(), way)?;
        let mut header = [0; HEADER_LEN];
        let repr = UdpRepr {
            src_port: socket.port(),
            dst_port: to.port(),
            payload_len: data.len() as u16,
        };
        repr.emit(&mut header);
        let len = data.len();
        let headers = ip_header_len(to.ip()) + HEADER_LEN;
        let cut = segment > 0 && len > segment;
        if segment > 0 {
            if headers + segment.min(len) > route.mtu as usize {
                return Err(SocketError::MessageTooLong);
            }
            if len > segment * SEGMENTS_MAX {
                return Err(SocketError::Invalid);
            }
        }
        let longest = if cut { segment } else { len };
        let dont_fragment = way.dont_fragment(headers + longest <= route.mtu as usize);
        let packet = TransportOut {
            src: route.src,
            dst: to.ip(),
            iface: way.iface,
            proto: proto::UDP,
            tos: way.tos,
            ttl: way.ttl,
            dont_fragment,
            header: &header,
            checksum_offset: CHECKSUM_OFFSET,
            body: smallvec![data],
            gso_size: if cut { segment as u16 } else { 0 },
            gso_kind: if cut { GsoKind::Udp } else { GsoKind::None },
        };
        self.net.output_datagram(packet, way.out)?;
        Ok(len)
    }

    /// Checks a destination, and says over which interface it has to be reached, if that matters. The
    /// unspecified address means this host, as in Linux.
    pub(super) fn udp_destination(
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
        let iface = inward.link(socket.options.iface)?;
        if self.net.is_broadcast(ip) && !socket.options.broadcast {
            // Where there is no route that is what is said.
            self.net.path(ip, None, iface)?;
            return Err(SocketError::Access);
        }
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
}
