//! Where packets meet the filter, and what is set there. Without a ruleset each place costs one test of an
//! option.

use std::net::IpAddr;

use smallvec::smallvec;

use super::Stack;
use super::egress::{DatagramOut, IpRepr, fragment_step};
use super::forward::Transit;
use super::ingress::{Inbound, LinkInfo};
use super::ip_in::Header;
use super::net::{LOOPBACK, Net, Path};
use crate::buf::{Bytes, RxPacket, TxPacket};
use crate::error::SocketError;
use crate::filter::conntrack::{ConnInfo, Track, Tracked};
use crate::filter::packet::{Inner, Packet, Summary};
use crate::filter::rules::{Hook, Reject, Ruleset, RulesetError};
use crate::filter::{Filter, Outcome, Place};
use crate::network::icmp_error::Problem;
use crate::network::route::Flow;
use crate::network::{IfaceId, TransportOut, proto};
use crate::wire::checksum::Checksum;
use crate::wire::tcp::{self, TcpFlags, TcpRepr};
use crate::wire::{icmpv4, icmpv6};

impl Stack {
    /// Sets all rules at once, in the place of those before; connections stay. An empty ruleset that does
    /// not ask for tracking takes the filter out, and forgets all connections.
    ///
    /// # Errors
    /// What is wrong; then nothing has changed.
    pub fn set_ruleset(&mut self, ruleset: Ruleset) -> Result<(), RulesetError> {
        if ruleset == Ruleset::default() {
            self.net.filter = None;
            return Ok(());
        }
        match &mut self.net.filter {
            Some(filter) => filter.replace(ruleset),
            None => {
                let filter = Filter::new(ruleset, &mut self.net.rng)?;
                self.net.filter = Some(Box::new(filter));
                Ok(())
            }
        }
    }

    /// The rules.
    pub fn ruleset(&self) -> Ruleset {
        let filter = self.net.filter.as_ref();
        filter.map_or_else(Ruleset::default, |filter| filter.ruleset().clone())
    }

    /// Packets and bytes that each rule of a chain has fitted; `None` if there is no such chain.
    pub fn rule_counts(&self, table: &str, chain: &str) -> Option<Vec<(u64, u64)>> {
        self.net.filter.as_ref()?.counts(table, chain)
    }

    /// The connections that are tracked.
    pub fn connections(&self) -> impl Iterator<Item = ConnInfo> {
        let filter = self.net.filter.iter();
        filter.flat_map(|filter| filter.conns.iter().map(|conn| conn.info()))
    }

    /// Forgets the connections that `which` names; returns how many.
    pub fn forget_connections(&mut self, which: impl Fn(&ConnInfo) -> bool) -> usize {
        match &mut self.net.filter {
            Some(filter) => filter.conns.remove_where(|conn| which(&conn.info())),
            None => 0,
        }
    }

    pub(super) fn conntrack_timers(&mut self) {
        if let Some(filter) = &mut self.net.filter {
            let gone = filter.conns.expire(self.net.now);
            self.net.stats.filter.conntrack_expired += gone as u64;
        }
    }

    /// Lets a packet that came in through the first hook; it may be changed. `None`: it is gone.
    pub(super) fn prerouting(
        &mut self,
        link: LinkInfo,
        packet: &mut RxPacket,
        header: &mut Header,
    ) -> Option<Track> {
        let mut track = Track::default();
        if link.iface == LOOPBACK || link.is_echo() {
            let conns = self.net.filter.as_ref().map(|filter| &filter.conns);
            track.conn = match conns {
                Some(conns) => Tracked::of_tag(link.tag, conns),
                None => Tracked::Untracked,
            };
        }
        let own = self.net.own_of(link.iface, header.src);
        let mut seen = Packet::Whole(&mut packet.data);
        let hook = (Hook::Prerouting, Some(link.iface), None);
        if self.net.hook(hook, own, &mut seen, &mut track) != Outcome::Pass {
            return None;
        }
        let summary = seen.summary()?;
        (header.src, header.dst) = (summary.src, summary.dst);
        Some(track)
    }

    /// Lets a packet for us through its hook; false if it is gone.
    pub(super) fn input_hook(&mut self, inbound: &mut Inbound) -> bool {
        let mut track = std::mem::take(&mut inbound.track);
        let mut packet = Packet::Whole(&mut inbound.packet);
        let hook = (Hook::Input, Some(inbound.meta.iface), None);
        let outcome = self.net.hook(hook, None, &mut packet, &mut track);
        if let Some(summary) = packet.summary() {
            inbound.meta.src = summary.src;
        }
        if let Outcome::Reject(how) = outcome {
            self.reject(inbound, how, track);
        }
        outcome == Outcome::Pass
    }

    /// Lets a packet for another host through its two hooks. `None`: it is gone.
    pub(super) fn forward_hooks(&mut self, mut transit: Transit, path: &Path) -> Option<Transit> {
        if self.net.filter.is_none() {
            return Some(transit);
        }
        let mut track = std::mem::take(&mut transit.track);
        let (iif, oif) = (Some(transit.iface), Some(path.iface));
        let mut packet = Packet::Whole(&mut transit.packet.data);
        let hook = (Hook::Forward, iif, oif);
        let outcome = self.net.hook(hook, None, &mut packet, &mut track);
        if let Outcome::Reject(how) = outcome {
            let about = transit.as_inbound();
            self.reject(&about, how, track);
            return None;
        }
        if outcome != Outcome::Pass || !self.net.postrouting(path, iif, &mut packet, &mut track) {
            return None;
        }
        let summary = packet.summary()?;
        (transit.header.src, transit.header.dst) = (summary.src, summary.dst);
        transit.track = track;
        Some(transit)
    }

    /// Tells the sender of a packet that it was refused.
    fn reject(&mut self, about: &Inbound, how: Reject, track: Track) {
        let summary = Summary::parse(&about.packet, about.packet.len());
        let Some(summary) = summary.filter(|it| !it.is_later_fragment) else {
            return;
        };
        if let Some(filter) = &mut self.net.filter {
            filter.about = Some(track);
        }
        match (how, summary.inner) {
            (Reject::TcpReset, Inner::Tcp(_)) => self.net.send_reset(about, &summary),
            _ => self.send_icmp_error(about, problem_of(how)),
        }
        if let Some(filter) = &mut self.net.filter {
            filter.about = None;
        }
    }
}

fn problem_of(how: Reject) -> Problem {
    use icmpv4::unreachable as v4;
    use icmpv6::unreachable as v6;
    let (v4, v6) = match how {
        Reject::Port | Reject::TcpReset => (v4::PORT, v6::PORT),
        Reject::Host => (v4::HOST, v6::ADDRESS),
        Reject::Net => (v4::NET, v6::NO_ROUTE),
        Reject::Prohibited => (v4::PROHIBITED, v6::PROHIBITED),
    };
    Problem::Unreachable { v4, v6 }
}

/// A hook, and the interfaces that a packet has come in and leaves over.
type Where = (Hook, Option<IfaceId>, Option<IfaceId>);

impl Net {
    /// Lets a packet through a hook.
    fn hook(
        &mut self,
        (hook, iif, oif): Where,
        own: Option<IpAddr>,
        packet: &mut Packet<'_>,
        track: &mut Track,
    ) -> Outcome {
        let Some(mut filter) = self.filter.take() else {
            return Outcome::Pass;
        };
        let mut stats = std::mem::take(&mut self.stats.filter);
        let name = |id: Option<IfaceId>| Some(self.iface(id?)?.name.as_str());
        let place = Place {
            now: self.now,
            hook,
            iif: name(iif),
            oif: name(oif),
            own,
            config: &self.config.conntrack,
        };
        let outcome = filter.run(&place, packet, track, &mut stats);
        self.stats.filter = stats;
        self.filter = Some(filter);
        outcome
    }

    /// True if datagrams have to be whole before they are looked at.
    pub(super) fn tracks(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.tracks())
    }

    /// Lets a packet that is about to leave through the last hook; false if it is gone.
    fn postrouting(
        &mut self,
        path: &Path,
        iif: Option<IfaceId>,
        packet: &mut Packet<'_>,
        track: &mut Track,
    ) -> bool {
        let begins = matches!(track.conn, Tracked::Begins { .. });
        let own = packet
            .summary()
            .filter(|_| begins)
            .and_then(|summary| self.masquerade(path, summary.dst));
        let hook = (Hook::Postrouting, iif, Some(path.iface));
        self.hook(hook, own, packet, track) == Outcome::Pass
    }

    /// The address that a masquerade gives to packets to `dst`.
    fn masquerade(&self, path: &Path, dst: IpAddr) -> Option<IpAddr> {
        let next = match path.hop {
            super::net::Hop::Neighbor(next) => next,
            _ => dst,
        };
        match (dst, next) {
            (IpAddr::V4(_), IpAddr::V4(next)) => self.source_v4(path.iface, next),
            (IpAddr::V6(dst), _) => self.source_v6(dst, path.iface),
            _ => None,
        }
    }

    /// Our own address where a packet of the family of `like` came in.
    fn own_of(&self, id: IfaceId, like: IpAddr) -> Option<IpAddr> {
        let usable = self.iface(id)?.addrs.iter().filter(|own| own.is_usable());
        let mut addrs = usable.map(|own| own.ip());
        addrs.find(|ip| {
            let of_link = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            ip.is_ipv4() == like.is_ipv4() && !of_link
        })
    }

    /// Sends a packet that the filter has to see, and may change.
    pub(super) fn output_filtered(
        &mut self,
        packet: TransportOut<'_>,
        path: Path,
        header: IpRepr,
        how: DatagramOut,
    ) -> Result<(), SocketError> {
        let (is_tcp, oif, dont_fragment) = (
            packet.proto == proto::TCP,
            packet.iface,
            packet.dont_fragment,
        );
        // It may leave over another device than it seems now.
        let complete = packet.gso_size == 0;
        let built = self.with_transport(packet, &path, complete);
        let Some((path, header, built)) = self.output_hooks(path, header, built, oif) else {
            // As in Linux TCP sends again later, and others are told.
            return match is_tcp {
                true => Ok(()),
                false => Err(SocketError::NotPermitted),
            };
        };
        let dst = header.dst();
        let mtu = match how.ignore_pmtu {
            true => path.mtu as usize,
            false => self.pmtu.mtu(self.now, dst, path.mtu) as usize,
        };
        let total = built.len() + header.len();
        let fragment = built.offload.gso_size == 0 && total > mtu;
        if fragment && dont_fragment {
            self.stats.ip(dst).frag_fails += 1;
            return Err(SocketError::MessageTooLong);
        }
        let pieces = if fragment {
            total.div_ceil(fragment_step(dst, mtu))
        } else {
            1
        };
        if !self.ifaces[usize::from(path.iface.0)].has_room(pieces) {
            self.stats.ip(dst).out_discards += 1;
            return Err(SocketError::NoBuffers);
        }
        match fragment {
            true => self.send_fragments(&path, header, (built, how), mtu),
            false => self.send_whole(&path, header, built, how),
        }
        Ok(())
    }

    /// Lets a packet of ours through both of its hooks, after which it may go another way. It has its IP
    /// header and its whole checksum, if it is no super-packet. `None`: it is gone.
    pub(super) fn output_hooks(
        &mut self,
        path: Path,
        header: IpRepr,
        mut built: TxPacket,
        oif: Option<IfaceId>,
    ) -> Option<(Path, IpRepr, TxPacket)> {
        header.push(&mut built);
        let whole = matches!(header.proto(), proto::ICMP | proto::ICMPV6);
        if whole {
            // An error's quote may have to be changed too.
            flatten(&mut built);
        }
        let mut track = Track::default();
        let before = with_packet(&mut built, whole, |packet| packet.summary())?;
        let own = match before.src {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        };
        let hook = (Hook::Output, None, Some(path.iface));
        let passes = with_packet(&mut built, whole, |packet| {
            self.hook(hook, Some(own), packet, &mut track) == Outcome::Pass
        });
        let after = with_packet(&mut built, whole, |packet| packet.summary())?;
        if !passes {
            return None;
        }
        let mut path = path;
        if (after.src, after.dst) != (before.src, before.dst) || track.mark != 0 {
            // Linux `ip_route_me_harder`.
            let flow = Flow {
                mark: track.mark,
                tos: after.tos,
                proto: after.proto,
                ports: after.ports().unwrap_or((0, 0)),
                ..Flow::to(after.dst, Some(after.src), oif)
            };
            path = self.path_of(&flow).ok()?;
        }
        let passes = with_packet(&mut built, whole, |packet| {
            self.postrouting(&path, None, packet, &mut track)
        });
        if !passes {
            return None;
        }
        let header = header.read_again(built.head.as_slice())?;
        built.head.pop_front(header.len());
        if path.iface == LOOPBACK {
            built.tag = track.conn.to_tag();
        }
        Some((path, header, built))
    }

    /// Refuses a TCP segment as the host that it was for would (RFC 9293 section 3.10.7.1).
    fn send_reset(&mut self, about: &Inbound, summary: &Summary) {
        let Inner::Tcp(segment) = summary.inner else {
            return;
        };
        if segment.flags.contains(TcpFlags::RST) {
            return;
        }
        let acks = segment.flags.contains(TcpFlags::ACK);
        let counted = u32::from(segment.flags.contains(TcpFlags::SYN))
            + u32::from(segment.flags.contains(TcpFlags::FIN));
        let end = segment.seq.wrapping_add(segment.data_len + counted);
        let repr = TcpRepr {
            src_port: segment.dst,
            dst_port: segment.src,
            seq: if acks { segment.ack } else { 0 },
            ack: if acks { 0 } else { end },
            flags: match acks {
                true => TcpFlags::RST,
                false => TcpFlags::RST | TcpFlags::ACK,
            },
            ..TcpRepr::default()
        };
        let mut bytes = vec![0; tcp::HEADER_LEN];
        repr.emit(&mut bytes);
        let (src, dst) = (about.meta.dst, about.meta.src);
        let mut sum = Checksum::pseudo(src, dst, proto::TCP, bytes.len() as u32);
        sum.add_bytes(&bytes);
        bytes[16..18].copy_from_slice(&sum.finish().to_be_bytes());
        self.send_for(src, dst, proto::TCP, bytes.into());
    }

    /// Sends a packet in the name of another host.
    fn send_for(&mut self, src: IpAddr, dst: IpAddr, proto: u8, payload: Bytes) {
        let flow = Flow {
            iif: Some(LOOPBACK),
            ..Flow::to(dst, None, None)
        };
        // Routed as if it were ours: the sender need not be.
        let Ok(path) = self.path_of(&flow) else {
            return;
        };
        let path = Path { src, ..path };
        let packet = TxPacket {
            body: smallvec![payload],
            ..TxPacket::default()
        };
        let Some(header) = IpRepr::plain(src, dst, proto, self.config.ip_default_ttl) else {
            return;
        };
        let Some((path, header, packet)) = self.hooked(path, header, packet) else {
            return;
        };
        let link = self.iface_mut(path.iface);
        if link.is_some_and(|link| link.has_room(1)) {
            self.stats.ip(dst).out_requests += 1;
            self.send_whole(&path, header, packet, DatagramOut::default());
        }
    }

    fn hooked(
        &mut self,
        path: Path,
        header: IpRepr,
        mut packet: TxPacket,
    ) -> Option<(Path, IpRepr, TxPacket)> {
        if self.filter.is_none() {
            return Some((path, header, packet));
        }
        // The transport's header has to be where hooks look for it.
        let bytes = packet.to_vec();
        packet.body.clear();
        packet.head.push_front(bytes.len()).copy_from_slice(&bytes);
        self.output_hooks(path, header, packet, None)
    }
}

/// Makes the whole packet one range, all of it in the body.
fn flatten(packet: &mut TxPacket) {
    let bytes = Bytes::from(packet.to_vec());
    packet.head.pop_front(packet.head.len());
    packet.body = smallvec![bytes];
}

/// Shows a packet to the filter. One that is all in its body gets its IP header back into its head.
fn with_packet<R>(
    packet: &mut TxPacket,
    whole: bool,
    look: impl FnOnce(&mut Packet<'_>) -> R,
) -> R {
    if !whole {
        let (len, partial) = (packet.len(), packet.offload.checksum.is_some());
        let bytes = packet.head.as_mut_slice();
        return look(&mut Packet::Head {
            bytes,
            len,
            partial,
        });
    }
    let mut bytes = match packet.head.is_empty() {
        true => packet.body.pop().unwrap_or_default(),
        false => packet.to_vec().into(),
    };
    let result = look(&mut Packet::Whole(&mut bytes));
    let header_len = match bytes.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 15) * 4,
        _ => 40,
    };
    let header_len = header_len.min(bytes.len());
    packet.head.pop_front(packet.head.len());
    packet
        .head
        .push_front(header_len)
        .copy_from_slice(&bytes[..header_len]);
    packet.body = smallvec![bytes.slice(header_len..)];
    result
}
