//! Interception: an interface takes packets to any address, and what no socket of the stack's own is
//! for goes to the embedder.
//!
//! A listener or a UDP socket that fits comes first (one bound to the unspecified address fits every
//! destination), then the interceptor. What cannot be a host's address is dropped as ever: 0/8, 240/4,
//! loopback, groups, broadcasts.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::Stack;
use super::icmp::{HEADER_LEN, echo_reply_header};
use super::ingress::Inbound;
use super::setup::ConfigError;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::{IfaceId, proto};
use crate::socket::intercept::{
    EchoRequest, InterceptConfig, Intercepted, OfferId, UdpFlow, Unreachable,
};
use crate::socket::{DatagramOptions, Family, Names, Readiness, SocketId, SocketKind, SocketTable};
use crate::transport::tcp::TimerHeap;
use crate::transport::udp::{FlowInfo, UdpSocket};
use crate::wire::icmpv4::Icmpv4Repr;
use crate::wire::icmpv6::Icmpv6Repr;
use crate::wire::ipv4::{self, Ipv4Repr};
use crate::wire::ipv6::{self, Ipv6Repr};
use crate::wire::udp;

/// One interceptor.
#[derive(Debug)]
struct Interceptor {
    iface: IfaceId,
    config: InterceptConfig,
    /// UDP flows that are not closed.
    flows: usize,
    /// Those that the embedder has not been told of.
    fresh: VecDeque<UdpFlow>,
    echoes: VecDeque<EchoRequest>,
}

/// All interceptors of a stack.
#[derive(Debug)]
pub(super) struct Interceptors {
    table: SocketTable<Interceptor>,
    /// When a UDP flow may have been idle for too long, by slot of its socket.
    idle: TimerHeap,
}

impl Interceptors {
    pub(super) fn new() -> Self {
        Self {
            table: SocketTable::new(SocketKind::Intercept),
            idle: TimerHeap::default(),
        }
    }

    /// When the next UDP flow may have been idle for too long.
    pub(super) fn poll_timeout(&self) -> Option<crate::time::Instant> {
        self.idle.earliest()
    }
}

/// True if a host can have the address: only then is it intercepted.
pub(super) fn is_host_address(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first != 0 && first < 224 && !v4.is_loopback()
        }
        // An IPv4 address in IPv6's form is none on a wire (RFC 4291, 2.5.5.2), and a host's socket would
        // take it for the IPv4 address, 127.0.0.1 included.
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some() || v6.to_bits() >> 32 == 0;
            !mapped && !v6.is_multicast()
        }
    }
}

impl Stack {
    /// Makes `iface` take packets to any address. What no socket is for is offered to the returned
    /// interceptor, which is readable when [`Stack::intercept_next`] has something. Closing it ends that:
    /// close connections and flows to other addresses first, for then they reach nobody.
    ///
    /// # Errors
    /// `NoInterface` (the loopback interface is none), `Exists` if the interface has an interceptor.
    pub fn intercept(
        &mut self,
        iface: IfaceId,
        config: InterceptConfig,
    ) -> Result<SocketId, ConfigError> {
        let state = self.net.iface_mut(iface).filter(|state| !state.is_loopback);
        let state = state.ok_or(ConfigError::NoInterface)?;
        if state.interceptor.is_some() {
            return Err(ConfigError::Exists);
        }
        let id = self.intercept.table.insert(Interceptor {
            iface,
            config,
            flows: 0,
            fresh: VecDeque::new(),
            echoes: VecDeque::new(),
        });
        state.interceptor = Some(id);
        state.proxy_arp_except = config.proxy_arp_except;
        self.tcp.intercept(id, iface, &config);
        Ok(id)
    }

    /// The next thing that an interceptor has not been told of; `None` for now.
    pub fn intercept_next(&mut self, id: SocketId) -> Option<Intercepted> {
        if let Some(offer) = self.tcp.next_offer(id) {
            return Some(Intercepted::Tcp(offer));
        }
        let interceptor = self.intercept.table.get_mut(id)?;
        if let Some(flow) = interceptor.fresh.pop_front() {
            return Some(Intercepted::Udp(flow));
        }
        interceptor.echoes.pop_front().map(Intercepted::Echo)
    }

    /// True if the offer still waits: the peer has not given up, and it is not too old.
    pub fn is_offered(&self, offer: OfferId) -> bool {
        self.tcp.is_offered(offer)
    }

    /// Accepts a connection: sends the SYN-ACK. The socket's local address is what the peer wanted;
    /// it becomes writable, or has an error, when the handshake has ended.
    ///
    /// # Errors
    /// `Invalid` if the offer is gone, `NetUnreachable` if there is no way back to the peer.
    pub fn offer_accept(&mut self, offer: OfferId) -> Result<SocketId, SocketError> {
        self.tcp_call(|tcp, cx| tcp.accept_offer(cx, offer))
    }

    /// Refuses a connection with a reset.
    ///
    /// # Errors
    /// `Invalid` if the offer is gone.
    pub fn offer_refuse(&mut self, offer: OfferId) -> Result<(), SocketError> {
        self.tcp_call(|tcp, cx| tcp.refuse_offer(cx, offer))
    }

    /// Refuses a connection with an ICMP error (subject to the rate limits).
    ///
    /// # Errors
    /// `Invalid` if the offer is gone.
    pub fn offer_unreachable(
        &mut self,
        offer: OfferId,
        why: Unreachable,
    ) -> Result<(), SocketError> {
        let syn = self.tcp.drop_offer(offer)?;
        let mut start = [0; 8];
        start[..2].copy_from_slice(&syn.from.port().to_be_bytes());
        start[2..4].copy_from_slice(&syn.to.port().to_be_bytes());
        start[4..].copy_from_slice(&syn.seq.to_be_bytes());
        self.say_unreachable(syn.from, syn.to, proto::TCP, start, why);
        Ok(())
    }

    /// Forgets a connection request without an answer; the peer's next SYN is another offer.
    ///
    /// # Errors
    /// `Invalid` if the offer is gone.
    pub fn offer_drop(&mut self, offer: OfferId) -> Result<(), SocketError> {
        self.tcp.drop_offer(offer).map(|_| ())
    }

    /// Says to the peer of a UDP flow, by ICMP, that its datagrams do not arrive (subject to the rate
    /// limits). The flow stays.
    ///
    /// # Errors
    /// `Invalid` if the socket is no UDP flow of an interceptor.
    pub fn flow_unreachable(&mut self, id: SocketId, why: Unreachable) -> Result<(), SocketError> {
        let socket = self.udp.get(id)?;
        let (Some(flow), Some(remote)) = (socket.flow, socket.remote) else {
            return Err(SocketError::Invalid);
        };
        let to = SocketAddr::new(socket.local, flow.port);
        let mut start = [0; 8];
        let repr = udp::UdpRepr {
            src_port: remote.port(),
            dst_port: to.port(),
            payload_len: 0,
        };
        repr.emit(&mut start);
        self.say_unreachable(remote, to, proto::UDP, start, why);
        Ok(())
    }

    /// Answers an echo request with `data`. False if there was no room or no way.
    pub fn intercept_echo_reply(&mut self, request: &EchoRequest, data: Bytes) -> bool {
        let header = echo_reply_header(request.from, request.ident, request.seq);
        let sent = self.send_icmp(Some(request.to), request.from, None, 0, &header, data);
        self.net.stats.icmp(request.from).out_echo_reps += u64::from(sent);
        self.settle();
        sent
    }

    /// An ICMP error with a quote made of what is known of the packet: RFC 792 asks for the header
    /// and 8 bytes.
    fn say_unreachable(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        proto: u8,
        start: [u8; 8],
        why: Unreachable,
    ) {
        let (peer, here) = (from.ip(), to.ip());
        let limits = self.net.config.icmp_limits;
        if !self.icmp_limit.allow(self.net.now, peer, &limits) {
            self.net.stats.icmp(peer).out_rate_limited += 1;
            return;
        }
        let mut quote = quoted_header(peer, here, proto);
        quote.extend_from_slice(&start);
        let mut header = [0; HEADER_LEN];
        // Linux: precedence "internetwork control" in IPv4.
        let tos = match peer {
            IpAddr::V4(_) => {
                let (code, mtu) = (why.code_v4(), 0);
                Icmpv4Repr::Unreachable { code, mtu }.emit(&mut header);
                0xc0
            }
            IpAddr::V6(_) => {
                let code = why.code_v6();
                Icmpv6Repr::Unreachable { code }.emit(&mut header);
                0
            }
        };
        if self.send_icmp(Some(here), peer, None, tos, &header, quote.into()) {
            self.net.stats.icmp(peer).out_dest_unreachs += 1;
        }
        self.settle();
    }

    /// A datagram that no socket is for: the flow that it begins, if there is an interceptor with room.
    pub(super) fn intercept_udp(
        &mut self,
        inbound: &Inbound,
        src_port: u16,
        dst_port: u16,
    ) -> Intercepting {
        let meta = &inbound.meta;
        let Some(id) = self
            .interceptor_of(meta.iface)
            .filter(|_| !meta.not_unicast)
        else {
            return Intercepting::Nobody;
        };
        let Some(interceptor) = self.intercept.table.get_mut(id) else {
            return Intercepting::Nobody;
        };
        // Port 0 can't be answered (RFC 768: "if not used, a value of zero").
        if interceptor.flows >= interceptor.config.udp_flows_max || src_port == 0 || dst_port == 0 {
            self.udp_stats.of(meta.src).flow_drops += 1;
            return Intercepting::Full;
        }
        let from = SocketAddr::new(meta.src, src_port);
        let to = SocketAddr::new(meta.dst, dst_port);
        let family = match to.ip() {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let mut options = DatagramOptions::new(family, interceptor.config.udp_recv_budget);
        options.iface = Some(meta.iface);
        let mut socket = UdpSocket::new(Names::of(family), options);
        socket.local = to.ip();
        socket.remote = Some(from);
        socket.flow = Some(FlowInfo {
            port: dst_port,
            interceptor: id,
            last_used: self.net.now,
        });
        let socket = self.udp.insert_flow(socket);
        interceptor.flows += 1;
        interceptor.fresh.push_back(UdpFlow { socket, from, to });
        let due = self.net.now + interceptor.config.udp_idle_timeout;
        self.intercept.idle.set(socket.index(), Some(due));
        self.events.mark(id);
        Intercepting::Flow(socket)
    }

    /// An echo request to an address that is not ours. True if an interceptor sees to it.
    pub(super) fn intercept_echo(
        &mut self,
        inbound: &Inbound,
        (ident, seq): (u16, u16),
        data: &Bytes,
    ) -> bool {
        let meta = &inbound.meta;
        if meta.not_unicast || self.net.is_local(meta.dst) {
            return false;
        }
        let Some(id) = self.interceptor_of(meta.iface) else {
            return false;
        };
        if let Some(interceptor) = self.intercept.table.get_mut(id) {
            if interceptor.echoes.len() >= interceptor.config.echoes_max {
                self.net.stats.icmp(meta.src).in_echo_drops += 1;
                return true;
            }
            interceptor.echoes.push_back(EchoRequest {
                from: meta.src,
                to: meta.dst,
                ident,
                seq,
                // Its own bytes: it may wait, and must not pin a receive chunk.
                data: Bytes::copy_from_slice(data),
                arrival: meta.arrival,
            });
            self.events.mark(id);
        }
        true
    }

    fn interceptor_of(&self, iface: IfaceId) -> Option<SocketId> {
        self.net.iface(iface)?.interceptor
    }

    /// Ends the UDP flows that have been idle for too long. Their sockets wait to be closed.
    pub(super) fn intercept_timers(&mut self) {
        while let Some(index) = self.intercept.idle.pop_due(self.net.now) {
            let Some(id) = self.udp.sockets.at(index) else {
                continue;
            };
            let Some((flow, local)) = self
                .udp
                .sockets
                .get(id)
                .and_then(|socket| Some((socket.flow?, socket.local)))
            else {
                continue;
            };
            let interceptor = self.intercept.table.get(flow.interceptor);
            let idle = interceptor.map_or(InterceptConfig::default().udp_idle_timeout, |i| {
                i.config.udp_idle_timeout
            });
            let due = flow.last_used + idle;
            if due > self.net.now {
                self.intercept.idle.set(index, Some(due));
                continue;
            }
            self.udp_stats.of(local).flows_expired += 1;
            self.udp.expire_flow(id);
            self.events.mark(id);
        }
    }

    /// A UDP flow's socket is gone.
    pub(super) fn flow_closed(&mut self, id: SocketId, flow: FlowInfo) {
        self.intercept.idle.remove(id.index());
        if let Some(interceptor) = self.intercept.table.get_mut(flow.interceptor) {
            interceptor.flows -= 1;
            interceptor.fresh.retain(|fresh| fresh.socket != id);
        }
    }

    pub(super) fn intercept_readiness(&self, id: SocketId) -> Option<Readiness> {
        let interceptor = self.intercept.table.get(id)?;
        let waiting = self.tcp.has_offer(id)
            || !interceptor.fresh.is_empty()
            || !interceptor.echoes.is_empty();
        Some(match waiting {
            true => Readiness::READABLE,
            false => Readiness::empty(),
        })
    }

    /// Flows that nobody has been told of go too.
    pub(super) fn intercept_close(&mut self, id: SocketId) {
        let Some(interceptor) = self.intercept.table.remove(id) else {
            return;
        };
        if let Some(state) = self.net.iface_mut(interceptor.iface) {
            state.interceptor = None;
            state.proxy_arp_except = None;
        }
        self.tcp.stop_intercepting(id);
        for flow in interceptor.fresh {
            self.udp.remove(flow.socket);
            self.intercept.idle.remove(flow.socket.index());
        }
    }
}

/// Who a datagram without a socket is for.
pub(super) enum Intercepting {
    /// There is no interceptor.
    Nobody,
    /// There is one, without room.
    Full,
    /// A new flow's socket.
    Flow(SocketId),
}

/// The header of a packet that was dropped, as far as an error has to tell it.
fn quoted_header(src: IpAddr, dst: IpAddr, proto: u8) -> Vec<u8> {
    let payload_len = match proto {
        proto::TCP => 20,
        _ => udp::HEADER_LEN as u16,
    };
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let repr = Ipv4Repr {
                src,
                dst,
                proto,
                tos: 0,
                ttl: 64,
                id: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                payload_len,
            };
            let mut bytes = vec![0; ipv4::HEADER_LEN];
            repr.emit(&mut bytes);
            bytes
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let repr = Ipv6Repr {
                src,
                dst,
                next_header: proto,
                traffic_class: 0,
                flow_label: 0,
                hop_limit: 64,
                payload_len,
            };
            let mut bytes = vec![0; ipv6::HEADER_LEN];
            repr.emit(&mut bytes);
            bytes
        }
        // A packet has one family.
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_a_host_can_have() {
        for never in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "ff02::1",
        ] {
            assert!(!is_host_address(never.parse().unwrap()), "{never}");
        }
        for may in [
            "10.0.2.2",
            "223.255.255.255",
            "2001:db8::1",
            "fd00::2",
            "64:ff9b::1",
        ] {
            assert!(is_host_address(may.parse().unwrap()), "{may}");
        }
    }
}
