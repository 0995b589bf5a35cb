//! ICMP: echo, errors out, errors in.

use std::net::{IpAddr, SocketAddr};

use smallvec::smallvec;

use super::Stack;
use super::ingress::Inbound;
use crate::buf::{Bytes, GsoKind};
use crate::network::addr::is_bad_source;
use crate::network::icmp_error::{IcmpCause, IcmpError};
use crate::network::{IpOutput, TransportOut, proto};
use crate::wire::icmpv4::{self, Icmpv4Repr};
use crate::wire::ipv4::{Ipv4Repr, Ipv4View};
use crate::wire::{be16, be32};

/// An error is at most this long, IP header included (RFC 1812 section 4.3.2.3).
const ERROR_LEN_MAX: usize = 576;

impl Stack {
    pub(super) fn icmp_in(&mut self, inbound: &Inbound) {
        let message = inbound.payload();
        self.net.stats.icmp_in_msgs += 1;
        let Ok(repr) = Icmpv4Repr::parse(&message) else {
            self.net.stats.icmp_in_errors += 1;
            return;
        };
        if !inbound.meta.checksum_valid && !icmpv4::is_valid(&message) {
            self.net.stats.icmp_in_csum_errors += 1;
            self.net.stats.icmp_in_errors += 1;
            return;
        }
        match repr {
            Icmpv4Repr::EchoRequest { ident, seq } => {
                self.net.stats.icmp_in_echos += 1;
                let data = message.slice(icmpv4::HEADER_LEN..);
                if !self.intercept_echo(inbound, (ident, seq), &data) {
                    self.echo_reply(inbound, ident, seq, data);
                }
            }
            Icmpv4Repr::EchoReply { ident, .. } => {
                self.net.stats.icmp_in_echo_reps += 1;
                self.ping_in(&inbound.meta, ident, &message);
            }
            Icmpv4Repr::Unreachable { .. } => {
                self.net.stats.icmp_in_dest_unreachs += 1;
                self.icmp_error_in(repr, &message[icmpv4::HEADER_LEN..]);
            }
            Icmpv4Repr::TimeExceeded { .. } => {
                self.net.stats.icmp_in_time_excds += 1;
                self.icmp_error_in(repr, &message[icmpv4::HEADER_LEN..]);
            }
            Icmpv4Repr::ParameterProblem { .. } => {
                self.icmp_error_in(repr, &message[icmpv4::HEADER_LEN..]);
            }
            Icmpv4Repr::Other { .. } => {}
        }
    }

    fn echo_reply(&mut self, inbound: &Inbound, ident: u16, seq: u16, data: Bytes) {
        let config = &self.net.config;
        let group = self.is_group(inbound.meta.dst);
        if config.icmp_echo_ignore_all || (group && config.icmp_echo_ignore_broadcasts) {
            return;
        }
        let src = match group {
            true => None,
            false => Some(inbound.meta.dst),
        };
        let reply = Icmpv4Repr::EchoReply { ident, seq };
        if self.send_icmp(src, inbound.meta.src, inbound.meta.tos, reply, data) {
            self.net.stats.icmp_out_echo_reps += 1;
        }
    }

    /// Answers a packet with an error, unless RFC 1122 section 3.2.2 forbids it or there were too many.
    pub(super) fn send_icmp_error(&mut self, about: &Inbound, error: Icmpv4Repr) {
        let (src, dst) = (about.meta.src, about.meta.dst);
        let unanswerable = src.is_unspecified() || is_bad_source(src) || about.meta.not_unicast;
        if unanswerable || self.is_group(dst) || about.is_icmp_error() {
            return;
        }
        let limits = self.net.config.icmp_limits;
        // We can't flood ourselves over a link.
        if !self.net.is_local(src) && !self.icmp_limit.allow(self.net.now, src, &limits) {
            self.net.stats.icmp_out_rate_limited += 1;
            return;
        }
        let room = ERROR_LEN_MAX - crate::wire::ipv4::HEADER_LEN - icmpv4::HEADER_LEN;
        let quote = about.packet.slice(..about.packet.len().min(room));
        // Linux: precedence "internetwork control" with the sender's other bits.
        let tos = (about.meta.tos & 0x1e) | 0xc0;
        if self.send_icmp(Some(dst), src, tos, error, quote) {
            match error {
                Icmpv4Repr::Unreachable { .. } => self.net.stats.icmp_out_dest_unreachs += 1,
                Icmpv4Repr::TimeExceeded { .. } => self.net.stats.icmp_out_time_excds += 1,
                _ => {}
            }
        }
    }

    /// Sends a message; true if it was queued. One that finds no room is lost, as on a wire.
    pub(super) fn send_icmp(
        &mut self,
        src: Option<IpAddr>,
        dst: IpAddr,
        tos: u8,
        message: Icmpv4Repr,
        payload: Bytes,
    ) -> bool {
        let Ok(route) = self.net.route(dst, src, None) else {
            return false;
        };
        let mut header = [0; icmpv4::HEADER_LEN];
        message.emit(&mut header);
        let packet = TransportOut {
            src: route.src,
            dst,
            iface: None,
            proto: proto::ICMP,
            tos,
            ttl: 0,
            dont_fragment: false,
            header: &header,
            checksum_offset: icmpv4::CHECKSUM_OFFSET,
            body: smallvec![payload],
            gso_size: 0,
            gso_kind: GsoKind::None,
        };
        let sent = self.net.output(packet).is_ok();
        self.net.stats.icmp_out_msgs += u64::from(sent);
        sent
    }

    /// An error about a packet of ours: finds out which, learns the path MTU, tells the socket.
    fn icmp_error_in(&mut self, message: Icmpv4Repr, quote: &[u8]) {
        let Some(mut cause) = IcmpCause::of(&message) else {
            return;
        };
        let view = Ipv4View::new_quoted(quote).ok();
        let quoted = view.and_then(|view| Some((view, quoted_error(&view, cause)?)));
        let Some((view, error)) = quoted else {
            self.net.stats.icmp_in_quote_errors += 1;
            self.net.stats.icmp_in_errors += 1;
            return;
        };
        let repr = Ipv4Repr::parse(&view);
        let from_us = self.net.is_local(IpAddr::V4(repr.src)) || self.net.intercepts();
        if !from_us || !self.is_ours(repr.proto, &error) {
            self.net.stats.icmp_in_foreign_quotes += 1;
            return;
        }
        if let Some(said) = cause.mtu {
            cause.mtu = self.learn_mtu(error.remote.ip(), said, u32::from(be16(quote, 2)));
            if cause.mtu.is_none() {
                return;
            }
        }
        self.dispatch_error(repr.proto, &IcmpError { cause, ..error });
    }

    fn learn_mtu(&mut self, dst: IpAddr, said: u32, old_len: u32) -> Option<u32> {
        let link_mtu = self.net.path(dst, None, None).ok()?.mtu;
        let (now, old_len) = (self.net.now, old_len.min(link_mtu));
        self.net.pmtu.lower(now, dst, said, old_len, link_mtu)
    }

    /// Tells the sockets of packets that the neighbour table gave up (Linux `arp_error_report`).
    pub(super) fn report_undeliverable(&mut self) {
        while let Some(packet) = self.net.undeliverable.pop() {
            // The headers may be split between head and body (fragments); 64 bytes are enough.
            let mut quote = [0; 128];
            let mut len = 0;
            let ranges = packet.body.iter().map(|range| &range[..]);
            for range in core::iter::once(packet.head.as_slice()).chain(ranges) {
                let take = range.len().min(quote.len() - len);
                quote[len..len + take].copy_from_slice(&range[..take]);
                len += take;
            }
            let cause = IcmpCause {
                error: crate::error::SocketError::HostUnreachable,
                hard: false,
                mtu: None,
            };
            if let Ok(view) = Ipv4View::new_quoted(&quote[..len])
                && let Some(error) = quoted_error(&view, cause)
            {
                self.dispatch_error(Ipv4Repr::parse(&view).proto, &error);
            }
        }
    }

    /// True if a socket exists that can have sent the packet: a forged error must not even change the
    /// path MTU.
    fn is_ours(&self, protocol: u8, error: &IcmpError) -> bool {
        match protocol {
            proto::UDP => self.udp.owner(error).is_some(),
            proto::TCP => self.tcp_owns(error),
            _ => self.raw_owns(protocol, error),
        }
    }

    fn dispatch_error(&mut self, protocol: u8, error: &IcmpError) {
        match protocol {
            proto::UDP => self.udp.icmp_error(error, &mut self.events),
            proto::TCP => self.tcp_error(error),
            _ => self.raw_error(protocol, error),
        }
    }

    pub(super) fn is_group(&self, addr: IpAddr) -> bool {
        addr.is_multicast() || self.net.is_broadcast(addr)
    }
}

impl Inbound {
    fn is_icmp_error(&self) -> bool {
        let payload = &self.packet[self.header_len..];
        self.proto == proto::ICMP
            && Icmpv4Repr::parse(payload).is_ok_and(|message| message.is_error())
    }
}

/// What a quoted packet of ours says of its flow; ports are zero for protocols without.
fn quoted_error(view: &Ipv4View<'_>, cause: IcmpCause) -> Option<IcmpError> {
    let repr = Ipv4Repr::parse(view);
    // Only the first fragment tells the ports.
    if repr.fragment_offset != 0 {
        return None;
    }
    let payload = view.payload();
    let (ports, seq) = match repr.proto {
        proto::TCP | proto::UDP if payload.len() < 8 => return None,
        proto::TCP | proto::UDP => ((be16(payload, 0), be16(payload, 2)), be32(payload, 4)),
        proto::ICMP if payload.len() >= 8 => ((be16(payload, 4), 0), 0),
        _ => ((0, 0), 0),
    };
    Some(IcmpError {
        local: SocketAddr::new(IpAddr::V4(repr.src), ports.0),
        remote: SocketAddr::new(IpAddr::V4(repr.dst), ports.1),
        seq,
        cause,
    })
}
