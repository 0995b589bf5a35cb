//! ICMP of both families: echo, errors out, errors in.

use std::net::IpAddr;

use smallvec::smallvec;

use super::Stack;
use super::config::NetConfig;
use super::egress::ip_header_len;
use super::ingress::Inbound;
use super::net::LOOPBACK;
use crate::buf::{Bytes, GsoKind};
use crate::filter::conntrack::Track;
use crate::network::addr::is_bad_source;
use crate::network::icmp_error::{IcmpCause, IcmpError, Problem};
use crate::network::quote::Quoted;
use crate::network::source::is_link_local;
use crate::network::{IfaceId, IpMeta, IpOutput, TransportOut, proto};
use crate::time::Instant;
use crate::wire::icmpv4::{self, Icmpv4Repr};
use crate::wire::icmpv6::{self, Icmpv6Repr};
use crate::wire::{WireError, ipv6};

/// Bytes of a message's header, the same in both families.
pub(super) const HEADER_LEN: usize = icmpv4::HEADER_LEN;
/// An error of IPv4 is at most this long, IP header included (RFC 1812 section 4.3.2.3).
const ERROR_LEN_MAX: usize = 576;

/// The header of an echo reply to `to`.
pub(super) fn echo_reply_header(to: IpAddr, ident: u16, seq: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    match to {
        IpAddr::V4(_) => Icmpv4Repr::EchoReply { ident, seq }.emit(&mut header),
        IpAddr::V6(_) => Icmpv6Repr::EchoReply { ident, seq }.emit(&mut header),
    }
    header
}

impl Stack {
    pub(super) fn icmp_in(&mut self, inbound: &Inbound) {
        let message = inbound.payload();
        let meta = &inbound.meta;
        self.net.stats.icmp(meta.src).in_msgs += 1;
        let Ok(repr) = Message::parse(meta, &message) else {
            self.net.stats.icmp(meta.src).in_errors += 1;
            return;
        };
        if !meta.checksum_valid && !is_valid(meta, &message) {
            self.net.stats.icmp(meta.src).in_csum_errors += 1;
            self.net.stats.icmp(meta.src).in_errors += 1;
            return;
        }
        let stats = self.net.stats.icmp(meta.src);
        match repr {
            Message::EchoRequest { ident, seq } => {
                stats.in_echos += 1;
                let data = message.slice(HEADER_LEN..);
                if !self.intercept_echo(inbound, (ident, seq), &data) {
                    self.echo_reply(inbound, ident, seq, data);
                }
            }
            Message::EchoReply { ident } => {
                stats.in_echo_reps += 1;
                self.ping_in(inbound, ident);
            }
            Message::Error(kind, cause) => {
                match kind {
                    ErrorKind::Unreachable => stats.in_dest_unreachs += 1,
                    ErrorKind::TooBig => stats.in_pkt_too_bigs += 1,
                    ErrorKind::TimeExceeded => stats.in_time_excds += 1,
                    ErrorKind::Parameter => stats.in_parm_probs += 1,
                }
                if let Some(cause) = cause {
                    self.icmp_error_in(inbound, cause, &message);
                }
            }
            Message::Other => self.net.nd_in(inbound, &message),
        }
    }

    fn echo_reply(&mut self, inbound: &Inbound, ident: u16, seq: u16, data: Bytes) {
        let (config, meta) = (&self.net.config, &inbound.meta);
        let group = self.is_group(meta.dst);
        if config.icmp_echo_ignore_all || (group && !answers_groups(config, meta.dst)) {
            return;
        }
        let src = match group {
            true => None,
            false => Some(meta.dst),
        };
        let header = echo_reply_header(meta.src, ident, seq);
        let iface = link_of(meta);
        if self.send_icmp(src, meta.src, iface, meta.tos, &header, data) {
            self.net.stats.icmp(meta.src).out_echo_reps += 1;
        }
    }

    /// Answers a packet with an error, unless RFC 1122 section 3.2.2 or RFC 4443 section 2.4 forbids it
    /// or there were too many.
    pub(super) fn send_icmp_error(&mut self, about: &Inbound, problem: Problem) {
        let (src, dst) = (about.meta.src, about.meta.dst);
        let group = about.meta.not_unicast || self.is_group(dst);
        let said_anyway = matches!(
            problem,
            Problem::Option {
                multicast: true,
                ..
            }
        );
        let unanswerable = src.is_unspecified() || is_bad_source(src);
        if unanswerable || (group && !said_anyway) || about.is_icmp_error() {
            return;
        }
        let mut header = [0; HEADER_LEN];
        match (src, problem.to_v4()) {
            (IpAddr::V4(_), Some(message)) => message.emit(&mut header),
            (IpAddr::V4(_), None) => return,
            (IpAddr::V6(_), _) => problem.to_v6().emit(&mut header),
        }
        let limits = self.net.config.icmp_limits;
        // We can't flood ourselves over a link.
        if !self.net.is_local(src) && !self.icmp_limit.allow(self.net.now, src, &limits) {
            self.net.stats.icmp(src).out_rate_limited += 1;
            return;
        }
        let len_max = match src {
            IpAddr::V4(_) => ERROR_LEN_MAX,
            IpAddr::V6(_) => ipv6::MTU_MIN as usize,
        };
        let room = len_max - ip_header_len(src) - HEADER_LEN;
        let quote = about.packet.slice(..about.packet.len().min(room));
        let tos = match src {
            // Linux: precedence "internetwork control" with the sender's other bits.
            IpAddr::V4(_) => (about.meta.tos & 0x1e) | 0xc0,
            IpAddr::V6(_) => 0,
        };
        // What is for others is answered from where the answer leaves.
        let is_routers = matches!(
            problem,
            Problem::Unreachable { .. }
                | Problem::TransitTime
                | Problem::TooBig { .. }
                | Problem::Redirect { .. }
        );
        let ours = (!group && (!is_routers || self.net.is_local(dst))).then_some(dst);
        if self.send_icmp(ours, src, link_of(&about.meta), tos, &header, quote) {
            let stats = self.net.stats.icmp(src);
            match (problem, src) {
                (Problem::ReassemblyTime | Problem::TransitTime, _) => stats.out_time_excds += 1,
                (Problem::TooBig { .. }, IpAddr::V6(_)) => stats.out_pkt_too_bigs += 1,
                (Problem::Port | Problem::Unreachable { .. } | Problem::TooBig { .. }, _)
                | (Problem::Protocol { .. }, IpAddr::V4(_)) => stats.out_dest_unreachs += 1,
                (Problem::Redirect { .. }, _) => stats.out_redirects += 1,
                _ => stats.out_parm_probs += 1,
            }
        }
    }

    /// Sends a message; true if it was queued. One that finds no room is lost, as on a wire.
    pub(super) fn send_icmp(
        &mut self,
        src: Option<IpAddr>,
        dst: IpAddr,
        iface: Option<IfaceId>,
        tos: u8,
        header: &[u8],
        payload: Bytes,
    ) -> bool {
        let Ok(route) = self.net.route(dst, src, iface) else {
            return false;
        };
        let packet = TransportOut {
            src: route.src,
            dst,
            iface,
            proto: match dst {
                IpAddr::V4(_) => proto::ICMP,
                IpAddr::V6(_) => proto::ICMPV6,
            },
            tos,
            ttl: 0,
            dont_fragment: false,
            header,
            checksum_offset: icmpv4::CHECKSUM_OFFSET,
            body: smallvec![payload],
            gso_size: 0,
            gso_kind: GsoKind::None,
        };
        let sent = self.net.output(packet).is_ok();
        self.net.stats.icmp(dst).out_msgs += u64::from(sent);
        sent
    }

    /// An error about a packet of ours: finds out which, learns the path MTU, tells the socket.
    fn icmp_error_in(&mut self, inbound: &Inbound, mut cause: IcmpCause, message: &Bytes) {
        let (from, quote) = (inbound.meta.src, &message[HEADER_LEN..]);
        let quoted = Quoted::parse(quote).filter(|it| it.src.is_ipv4() == from.is_ipv4());
        let quoted = quoted.and_then(|quoted| Some((quoted, quoted.error(cause)?)));
        let Some((quoted, error)) = quoted else {
            self.net.stats.icmp(from).in_quote_errors += 1;
            self.net.stats.icmp(from).in_errors += 1;
            return;
        };
        let from_us = self.net.is_local(quoted.src) || self.net.intercepts();
        if !from_us || !self.is_ours(quoted.proto, &error) {
            self.net.stats.icmp(from).in_foreign_quotes += 1;
            if quoted.proto == proto::TCP && self.tcp.has_flow(&error) {
                self.tcp_stats.out_of_window_icmps += 1;
            }
            return;
        }
        if let Some(said) = cause.mtu {
            cause.mtu = self.learn_mtu(error.remote.ip(), said, quoted.total_len);
            if cause.mtu.is_none() {
                return;
            }
        }
        let error = IcmpError { cause, ..error };
        self.report_icmp(inbound, (message, HEADER_LEN), &quoted, &error);
        self.dispatch_error(quoted.proto, &error);
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
            let Some(quoted) = Quoted::parse(&quote[..len]) else {
                continue;
            };
            if !self.net.is_local(quoted.src) && !self.net.intercepts() {
                self.tell_of_dead_neighbor(&quoted, packet.to_vec().into());
            } else if let Some(error) = quoted.error(cause) {
                self.dispatch_error(quoted.proto, &error);
            }
        }
    }

    /// A packet for another host is not delivered, because its next hop does not answer.
    fn tell_of_dead_neighbor(&mut self, quoted: &Quoted<'_>, packet: Bytes) {
        let about = Inbound::of_quoted(quoted, packet, self.net.now);
        let (v4, v6) = (icmpv4::unreachable::HOST, icmpv6::unreachable::ADDRESS);
        self.send_icmp_error(&about, Problem::Unreachable { v4, v6 });
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
    /// A packet that is here no more, or only in part, for what is to be said of it.
    pub(super) fn of_quoted(quoted: &Quoted<'_>, packet: Bytes, now: Instant) -> Self {
        Self {
            header_len: quoted.header_len,
            proto: quoted.proto,
            proto_at: 0,
            router_alert: false,
            track: Track::default(),
            meta: IpMeta {
                src: quoted.src,
                dst: quoted.dst,
                iface: LOOPBACK,
                tos: quoted.tos,
                ttl: quoted.ttl,
                not_unicast: false,
                arrival: now,
                checksum_valid: false,
                gro_size: 0,
            },
            packet,
        }
    }

    fn is_icmp_error(&self) -> bool {
        let Some(quoted) = Quoted::parse(&self.packet) else {
            return false;
        };
        let (v4, kind) = (self.meta.src.is_ipv4(), quoted.icmp_type());
        kind.is_some_and(|kind| match v4 {
            true => icmpv4::is_error(kind),
            false => icmpv6::is_error(kind),
        })
    }
}

/// What a message of either family means.
enum Message {
    EchoRequest {
        ident: u16,
        seq: u16,
    },
    EchoReply {
        ident: u16,
    },
    /// With what it means to a socket, if it means anything.
    Error(ErrorKind, Option<IcmpCause>),
    /// Nothing for us.
    Other,
}

enum ErrorKind {
    Unreachable,
    TooBig,
    TimeExceeded,
    Parameter,
}

impl Message {
    fn parse(meta: &IpMeta, bytes: &[u8]) -> Result<Self, WireError> {
        match meta.src {
            IpAddr::V4(_) => Icmpv4Repr::parse(bytes).map(|repr| Self::of_v4(&repr)),
            IpAddr::V6(_) => Icmpv6Repr::parse(bytes).map(|repr| Self::of_v6(&repr)),
        }
    }

    fn of_v4(repr: &Icmpv4Repr) -> Self {
        let kind = match *repr {
            Icmpv4Repr::EchoRequest { ident, seq } => return Self::EchoRequest { ident, seq },
            Icmpv4Repr::EchoReply { ident, .. } => return Self::EchoReply { ident },
            Icmpv4Repr::Unreachable { .. } => ErrorKind::Unreachable,
            Icmpv4Repr::TimeExceeded { .. } => ErrorKind::TimeExceeded,
            Icmpv4Repr::ParameterProblem { .. } => ErrorKind::Parameter,
            Icmpv4Repr::Other { .. } => return Self::Other,
        };
        Self::Error(kind, IcmpCause::of(repr))
    }

    fn of_v6(repr: &Icmpv6Repr) -> Self {
        let kind = match *repr {
            Icmpv6Repr::EchoRequest { ident, seq } => return Self::EchoRequest { ident, seq },
            Icmpv6Repr::EchoReply { ident, .. } => return Self::EchoReply { ident },
            Icmpv6Repr::Unreachable { .. } => ErrorKind::Unreachable,
            Icmpv6Repr::PacketTooBig { .. } => ErrorKind::TooBig,
            Icmpv6Repr::TimeExceeded { .. } => ErrorKind::TimeExceeded,
            Icmpv6Repr::ParameterProblem { .. } => ErrorKind::Parameter,
            Icmpv6Repr::Other { .. } => return Self::Other,
        };
        Self::Error(kind, IcmpCause::of_v6(repr))
    }
}

fn is_valid(meta: &IpMeta, message: &[u8]) -> bool {
    match (meta.src, meta.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => icmpv6::is_valid(src, dst, message),
        _ => icmpv4::is_valid(message),
    }
}

/// True if echo requests to groups are answered: in IPv6 they are (Linux `icmp_echo_ignore_broadcasts`
/// and `net.ipv6.icmp.echo_ignore_multicast`).
fn answers_groups(config: &NetConfig, dst: IpAddr) -> bool {
    dst.is_ipv6() || !config.icmp_echo_ignore_broadcasts
}

/// The link that an answer has to take: link-local addresses mean something only there.
fn link_of(meta: &IpMeta) -> Option<IfaceId> {
    match meta.src {
        IpAddr::V6(src) if is_link_local(src) => Some(meta.iface),
        _ => None,
    }
}
