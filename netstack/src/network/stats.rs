//! Counters of the network layer.

use crate::stats::counters;

counters! {
    /// Links, ARP, IPv4 and ICMP, with one counter for each reason to drop.
    NetStats {
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
        /// Packets received at the IP layer.
        ip_in_receives = "IpInReceives",
        /// Bytes received at the IP layer.
        ip_in_octets = "IpExtInOctets",
        /// Headers with a bad version or length.
        ip_in_hdr_errors = "IpInHdrErrors",
        /// Packets shorter than their length field.
        ip_in_truncated_pkts = "IpExtInTruncatedPkts",
        /// Headers with a bad checksum.
        ip_in_csum_errors = "IpExtInCsumErrors",
        /// Headers with malformed options.
        ip_in_option_errors = "IpInOptionErrors",
        /// Packets with a source route, which is not honoured.
        ip_in_source_route = "IpInSourceRoute",
        /// Sources that cannot be: multicast, broadcast, 0/8, our own or loopback on a link.
        ip_in_martian_src = "IpInMartianSource",
        /// Destinations that are not ours.
        ip_in_addr_errors = "IpInAddrErrors",
        /// Unicast packets in a link broadcast or multicast.
        ip_in_link_group = "IpInLinkGroup",
        /// Protocols that nobody handles.
        ip_in_unknown_protos = "IpInUnknownProtos",
        /// Packets delivered to a transport.
        ip_in_delivers = "IpInDelivers",
        /// Packets sent by local transports.
        ip_out_requests = "IpOutRequests",
        /// Packets refused because a transmit queue was full.
        ip_out_discards = "IpOutDiscards",
        /// Packets for which there was no route.
        ip_out_no_routes = "IpOutNoRoutes",
        /// Fragments received.
        ip_reasm_reqds = "IpReasmReqds",
        /// Datagrams reassembled.
        ip_reasm_oks = "IpReasmOKs",
        /// Fragments dropped: overlap, bad length, no room.
        ip_reasm_fails = "IpReasmFails",
        /// Datagrams whose time to be reassembled ran out.
        ip_reasm_timeout = "IpReasmTimeout",
        /// Datagrams dropped because fragments overlapped.
        ip_reasm_overlaps = "IpExtReasmOverlaps",
        /// Datagrams that were fragmented.
        ip_frag_oks = "IpFragOKs",
        /// Datagrams that would not fit and may not be fragmented.
        ip_frag_fails = "IpFragFails",
        /// Fragments made.
        ip_frag_creates = "IpFragCreates",
        /// ICMP messages received.
        icmp_in_msgs = "IcmpInMsgs",
        /// ICMP messages that are malformed.
        icmp_in_errors = "IcmpInErrors",
        /// ICMP errors that quote no packet.
        icmp_in_quote_errors = "IcmpInQuoteErrors",
        /// ICMP errors that quote a packet which is none of ours, or is not in flight (RFC 5927).
        icmp_in_foreign_quotes = "IcmpInForeignQuotes",
        /// ICMP messages with a bad checksum.
        icmp_in_csum_errors = "IcmpInCsumErrors",
        /// Echo requests received.
        icmp_in_echos = "IcmpInEchos",
        /// Echo requests that found an interceptor's queue full.
        icmp_in_echo_drops = "IcmpInterceptEchoDrops",
        /// Echo replies received.
        icmp_in_echo_reps = "IcmpInEchoReps",
        /// Destination unreachable received.
        icmp_in_dest_unreachs = "IcmpInDestUnreachs",
        /// Time exceeded received.
        icmp_in_time_excds = "IcmpInTimeExcds",
        /// ICMP messages sent.
        icmp_out_msgs = "IcmpOutMsgs",
        /// Echo replies sent.
        icmp_out_echo_reps = "IcmpOutEchoReps",
        /// Destination unreachable sent.
        icmp_out_dest_unreachs = "IcmpOutDestUnreachs",
        /// Time exceeded sent.
        icmp_out_time_excds = "IcmpOutTimeExcds",
        /// ICMP messages not sent because of the rate limits.
        icmp_out_rate_limited = "IcmpOutRateLimitHost",
    }
}
