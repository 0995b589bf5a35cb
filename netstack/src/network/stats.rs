//! Counters of the network layer.

use std::net::IpAddr;

use crate::stats::{counters, family_counters};

family_counters! {
    /// One family of IP, with one counter for each reason to drop.
    IpStats {
        /// Packets received at the IP layer.
        in_receives = ["IpInReceives", "Ip6InReceives"],
        /// Bytes received at the IP layer.
        in_octets = ["IpExtInOctets", "Ip6InOctets"],
        /// Headers with a bad version or length.
        in_hdr_errors = ["IpInHdrErrors", "Ip6InHdrErrors"],
        /// Packets shorter than their length field.
        in_truncated_pkts = ["IpExtInTruncatedPkts", "Ip6InTruncatedPkts"],
        /// Headers with a bad checksum.
        in_csum_errors = ["IpExtInCsumErrors", ""],
        /// Headers with malformed options, or too many.
        in_option_errors = ["IpInOptionErrors", "Ip6InOptionErrors"],
        /// Packets with a source route, which is not honoured.
        in_source_route = ["IpInSourceRoute", "Ip6InRoutingHeaders"],
        /// Sources that cannot be: multicast, broadcast, 0/8, mapped IPv4, our own or loopback on a link.
        in_martian_src = ["IpInMartianSource", "Ip6InMartianSource"],
        /// Destinations that are not ours.
        in_addr_errors = ["IpInAddrErrors", "Ip6InAddrErrors"],
        /// Unicast packets in a link broadcast or multicast.
        in_link_group = ["IpInLinkGroup", "Ip6InLinkGroup"],
        /// Protocols that nobody handles.
        in_unknown_protos = ["IpInUnknownProtos", "Ip6InUnknownProtos"],
        /// Packets that came in where their answers would not leave (`rp_filter`).
        in_reverse_path = ["TcpExtIPReversePathFilter", ""],
        /// Packets for others to which there was no way, or none that is allowed.
        in_no_routes = ["IpExtInNoRoutes", "Ip6InNoRoutes"],
        /// Packets for others that were too long for the next link and may not be fragmented.
        in_too_big = ["IpInTooBigErrors", "Ip6InTooBigErrors"],
        /// Packets for others that were sent on.
        forw_datagrams = ["IpForwDatagrams", "Ip6OutForwDatagrams"],
        /// Copies of multicasts that were sent on.
        mfc_forwarded = ["IpMfcForwarded", "Ip6MfcForwarded"],
        /// Multicasts without an entry that would send them on.
        mfc_no_entry = ["IpMfcNoEntry", "Ip6MfcNoEntry"],
        /// Multicasts that came in at another interface than their entry says.
        mfc_wrong_if = ["IpMfcWrongIf", "Ip6MfcWrongIf"],
        /// Packets delivered to a transport.
        in_delivers = ["IpInDelivers", "Ip6InDelivers"],
        /// Packets sent by local transports.
        out_requests = ["IpOutRequests", "Ip6OutRequests"],
        /// Packets refused because a transmit queue was full.
        out_discards = ["IpOutDiscards", "Ip6OutDiscards"],
        /// Packets for which there was no route.
        out_no_routes = ["IpOutNoRoutes", "Ip6OutNoRoutes"],
        /// Fragments received.
        reasm_reqds = ["IpReasmReqds", "Ip6ReasmReqds"],
        /// Datagrams reassembled.
        reasm_oks = ["IpReasmOKs", "Ip6ReasmOKs"],
        /// Fragments dropped: overlap, bad length, no room.
        reasm_fails = ["IpReasmFails", "Ip6ReasmFails"],
        /// Datagrams whose time to be reassembled ran out.
        reasm_timeout = ["IpReasmTimeout", "Ip6ReasmTimeout"],
        /// Datagrams dropped because fragments overlapped.
        reasm_overlaps = ["IpExtReasmOverlaps", "Ip6ReasmOverlaps"],
        /// Datagrams that were fragmented.
        frag_oks = ["IpFragOKs", "Ip6FragOKs"],
        /// Datagrams that would not fit and may not be fragmented.
        frag_fails = ["IpFragFails", "Ip6FragFails"],
        /// Fragments made.
        frag_creates = ["IpFragCreates", "Ip6FragCreates"],
    }
}

family_counters! {
    /// ICMP of one family.
    IcmpStats {
        /// Messages received.
        in_msgs = ["IcmpInMsgs", "Icmp6InMsgs"],
        /// Messages that are malformed.
        in_errors = ["IcmpInErrors", "Icmp6InErrors"],
        /// Errors that quote no packet.
        in_quote_errors = ["IcmpInQuoteErrors", "Icmp6InQuoteErrors"],
        /// Errors that quote a packet which is none of ours, or is not in flight (RFC 5927).
        in_foreign_quotes = ["IcmpInForeignQuotes", "Icmp6InForeignQuotes"],
        /// Messages with a bad checksum.
        in_csum_errors = ["IcmpInCsumErrors", "Icmp6InCsumErrors"],
        /// Echo requests received.
        in_echos = ["IcmpInEchos", "Icmp6InEchos"],
        /// Echo requests that found an interceptor's queue full.
        in_echo_drops = ["IcmpInterceptEchoDrops", "Icmp6InterceptEchoDrops"],
        /// Echo replies received.
        in_echo_reps = ["IcmpInEchoReps", "Icmp6InEchoReplies"],
        /// Destination unreachable received.
        in_dest_unreachs = ["IcmpInDestUnreachs", "Icmp6InDestUnreachs"],
        /// Packet too big received.
        in_pkt_too_bigs = ["", "Icmp6InPktTooBigs"],
        /// Time exceeded received.
        in_time_excds = ["IcmpInTimeExcds", "Icmp6InTimeExcds"],
        /// Parameter problem received.
        in_parm_probs = ["IcmpInParmProbs", "Icmp6InParmProblems"],
        /// Messages sent.
        out_msgs = ["IcmpOutMsgs", "Icmp6OutMsgs"],
        /// Echo replies sent.
        out_echo_reps = ["IcmpOutEchoReps", "Icmp6OutEchoReplies"],
        /// Destination unreachable sent.
        out_dest_unreachs = ["IcmpOutDestUnreachs", "Icmp6OutDestUnreachs"],
        /// Time exceeded sent.
        out_time_excds = ["IcmpOutTimeExcds", "Icmp6OutTimeExcds"],
        /// Packet too big sent.
        out_pkt_too_bigs = ["", "Icmp6OutPktTooBigs"],
        /// Redirects sent.
        out_redirects = ["IcmpOutRedirects", "Icmp6OutRedirects"],
        /// Parameter problem sent.
        out_parm_probs = ["IcmpOutParmProbs", "Icmp6OutParmProblems"],
        /// Messages not sent because of the rate limits.
        out_rate_limited = ["IcmpOutRateLimitHost", "Icmp6OutRateLimitHost"],
    }
}

counters! {
    /// Links, ARP and the neighbour table.
    LinkStats {
        /// Frames shorter than their link header.
        link_in_truncated = "LinkInTruncated",
        /// Frames for another station.
        link_in_other_host = "LinkInOtherHost",
        /// Frames of another VLAN, length-field frames, types that we do not speak.
        link_in_unknown_type = "LinkInUnknownType",
        /// ARP packets received.
        arp_in = "ArpIn",
        /// ARP packets that are malformed or of another kind.
        arp_in_errors = "ArpInErrors",
        /// ARP packets whose sender cannot be: multicast, broadcast, loopback or one of ours.
        arp_in_bad_sender = "ArpInBadSender",
        /// ARP packets sent.
        arp_out = "ArpOut",
        /// Packets dropped because the neighbour table or a neighbour's queue is full.
        neigh_out_discards = "NeighOutDiscards",
        /// Packets dropped because the neighbour does not answer.
        neigh_out_unreachable = "NeighOutUnreachable",
    }
}

counters! {
    /// Neighbour discovery (RFC 4861) and multicast listeners (RFC 3810).
    NdStats {
        /// Router solicitations received.
        in_router_solicits = "Icmp6InRouterSolicits",
        /// Router advertisements received.
        in_router_adverts = "Icmp6InRouterAdvertisements",
        /// Neighbour solicitations received.
        in_neighbor_solicits = "Icmp6InNeighborSolicits",
        /// Neighbour advertisements received.
        in_neighbor_adverts = "Icmp6InNeighborAdvertisements",
        /// Redirects received.
        in_redirects = "Icmp6InRedirects",
        /// Multicast listener queries received.
        in_group_queries = "Icmp6InGroupMembQueries",
        /// Multicast listener reports of version 1 received.
        in_group_responses = "Icmp6InGroupMembResponses",
        /// Messages whose hop limit is not 255: they come from beyond the link.
        in_bad_hop_limit = "NdInBadHopLimit",
        /// Messages that are too short, or whose code or options are malformed.
        in_malformed = "NdInMalformed",
        /// Messages whose source, destination or target cannot be.
        in_bad_address = "NdInBadAddress",
        /// Router solicitations sent.
        out_router_solicits = "Icmp6OutRouterSolicits",
        /// Neighbour solicitations sent.
        out_neighbor_solicits = "Icmp6OutNeighborSolicits",
        /// Neighbour advertisements sent.
        out_neighbor_adverts = "Icmp6OutNeighborAdvertisements",
        /// Multicast listener reports sent.
        out_mld_reports = "Icmp6OutMLDv2Reports",
        /// Multicast listener done messages of version 1 sent.
        out_group_reductions = "Icmp6OutGroupMembReductions",
        /// Addresses of ours that somebody else has.
        dad_failures = "NdDadFailures",
    }
}

counters! {
    /// IGMP (RFC 3376).
    IgmpStats {
        /// Messages received.
        in_msgs = "IgmpInMsgs",
        /// Queries received.
        in_queries = "IgmpInQueries",
        /// Reports of versions 1 and 2 received.
        in_reports = "IgmpInReports",
        /// Messages that are malformed.
        in_errors = "IgmpInErrors",
        /// Messages with a bad checksum.
        in_csum_errors = "IgmpInCsumErrors",
        /// Reports sent, of any version.
        out_reports = "IgmpOutReports",
        /// Leave messages of version 2 sent.
        out_leaves = "IgmpOutLeaves",
    }
}

counters! {
    /// What the filter has done; all but the first three are packets that were dropped or not tracked.
    FilterStats {
        /// Connections that were remembered.
        conntrack_inserted = "ConntrackInserted",
        /// Connections that were forgotten because nothing came any more.
        conntrack_expired = "ConntrackExpired",
        /// Connections that were forgotten to make room for others.
        conntrack_early_drop = "ConntrackEarlyDrop",
        /// Packets that fit no connection. They go on, unless a rule drops them.
        conntrack_invalid = "ConntrackInvalid",
        /// First packets that were dropped because the table was full.
        conntrack_full = "ConntrackFull",
        /// First packets that were dropped because another connection has the same ends.
        conntrack_clash = "ConntrackClash",
        /// First packets that were dropped because no port was free for them.
        nat_no_port = "NatNoPort",
        /// Packets dropped by rules or policies before it was known where they go.
        prerouting_drops = "FilterPreroutingDrops",
        /// The same of packets for us.
        input_drops = "FilterInputDrops",
        /// The same of packets for others.
        forward_drops = "FilterForwardDrops",
        /// The same of packets from us.
        output_drops = "FilterOutputDrops",
        /// The same of packets about to leave.
        postrouting_drops = "FilterPostroutingDrops",
        /// Packets that were refused and answered, of those above.
        rejected = "FilterRejected",
        /// Packets that a rule has asked to be noted.
        logged = "FilterLogged",
    }
}

/// All counters below the transports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Links, ARP, neighbours.
    pub link: LinkStats,
    /// IPv4.
    pub ip4: IpStats,
    /// IPv6.
    pub ip6: IpStats,
    /// ICMP for IPv4.
    pub icmp4: IcmpStats,
    /// ICMP for IPv6.
    pub icmp6: IcmpStats,
    /// Neighbour discovery.
    pub nd: NdStats,
    /// Groups of IPv4.
    pub igmp: IgmpStats,
    /// Hooks, connection tracking, translation.
    pub filter: FilterStats,
}

impl NetStats {
    /// Every counter with its published name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ip = self.ip4.iter(false).chain(self.ip6.iter(true));
        let icmp = self.icmp4.iter(false).chain(self.icmp6.iter(true));
        let rest = self.nd.iter().chain(self.igmp.iter());
        let rest = rest.chain(self.filter.iter());
        self.link.iter().chain(ip).chain(icmp).chain(rest)
    }

    /// The IP counters of the family of `addr`.
    pub(crate) fn ip(&mut self, addr: IpAddr) -> &mut IpStats {
        match addr {
            IpAddr::V4(_) => &mut self.ip4,
            IpAddr::V6(_) => &mut self.ip6,
        }
    }

    /// The ICMP counters of the family of `addr`.
    pub(crate) fn icmp(&mut self, addr: IpAddr) -> &mut IcmpStats {
        match addr {
            IpAddr::V4(_) => &mut self.icmp4,
            IpAddr::V6(_) => &mut self.icmp6,
        }
    }
}
