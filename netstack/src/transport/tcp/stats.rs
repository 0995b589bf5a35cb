//! Counters of TCP, by SNMP name.

use crate::stats::counters;

counters! {
    /// TCP counters.
    TcpStats {
        /// Segments received, bad ones included.
        in_segs = "TcpInSegs",
        /// Segments sent, those that only retransmit included.
        out_segs = "TcpOutSegs",
        /// Segments received with a bad checksum or header: the sum of the three that follow.
        in_errs = "TcpInErrs",
        /// Segments shorter than the least header.
        in_truncated = "TcpInTruncated",
        /// Segments whose data offset is below 5 or past their end.
        in_hdr_errors = "TcpInHdrErrors",
        /// Segments with a bad checksum.
        in_csum_errors = "TcpInCsumErrors",
        /// Segments to a broadcast or multicast address, dropped.
        in_not_unicast = "TcpInNotUnicast",
        /// Segments with an option of impossible length; it and what follows it is not read, the
        /// segment counts (as in Linux).
        in_option_errors = "TcpInOptionErrors",
        /// Segments sent again.
        retrans_segs = "TcpRetransSegs",
        /// Resets sent.
        out_rsts = "TcpOutRsts",
        /// Connections opened by us.
        active_opens = "TcpActiveOpens",
        /// Connections opened by peers.
        passive_opens = "TcpPassiveOpens",
        /// SYNs that found an interceptor with too many undecided.
        offers_dropped = "TcpExtInterceptOfferDrops",
        /// SYNs that an interceptor did not decide about in time.
        offers_expired = "TcpExtInterceptOfferTimeouts",
        /// Attempts that failed.
        attempt_fails = "TcpAttemptFails",
        /// Established connections that were reset.
        estab_resets = "TcpEstabResets",
        /// Connections dropped because an accept queue was full.
        listen_overflows = "TcpExtListenOverflows",
        /// SYNs and final ACKs dropped at a listener, for whatever reason.
        listen_drops = "TcpExtListenDrops",
        /// SYNs dropped because a SYN queue was full.
        req_q_full_drop = "TcpExtTCPReqQFullDrop",
        /// SYN queues that overflowed into cookies.
        req_q_full_cookies = "TcpExtTCPReqQFullDoCookies",
        /// Cookies sent.
        syncookies_sent = "TcpExtSyncookiesSent",
        /// Connections made from a cookie.
        syncookies_recv = "TcpExtSyncookiesRecv",
        /// ACKs whose cookie was no good.
        syncookies_failed = "TcpExtSyncookiesFailed",
        /// Half-open records that expired.
        req_timeouts = "TcpExtTCPTimeouts_Req",
        /// Half-open records that a reset or SYN ended.
        embryonic_rsts = "TcpExtEmbryonicRsts",
        /// Final ACKs held back by TCP_DEFER_ACCEPT.
        defer_accept_drop = "TcpExtTCPDeferAcceptDrop",
        /// Resets sent because `tcp_abort_on_overflow` is set.
        abort_on_overflow = "TcpExtTCPAbortOnOverflow",
        /// Connections closed with unread data.
        abort_on_close = "TcpExtTCPAbortOnClose",
        /// Challenge ACKs.
        challenge_acks = "TcpExtTCPChallengeACK",
        /// Acknowledgements of what was never sent (Linux has no counter for it).
        acks_of_unsent = "TcpExtTCPAcksOfUnsent",
        /// Acknowledgements older than any window (RFC 5961, 5.2).
        acks_too_old = "TcpExtTCPAcksTooOld",
        /// SYNs on synchronised connections.
        syn_challenge = "TcpExtTCPSYNChallenge",
        /// Ranges dropped from beyond a hole, because the receive buffer was full.
        ofo_pruned = "TcpExtOfoPruned",
        /// Segments refused by PAWS.
        paws_estab = "TcpExtPAWSEstab",
        /// Acknowledgements that waited for their delay.
        delayed_acks = "TcpExtDelayedACKs",
        /// Retransmission timeouts.
        timeouts = "TcpExtTCPTimeouts",
        /// Fast recoveries begun with SACK.
        sack_recovery = "TcpExtTCPSackRecovery",
        /// Fast recoveries begun without.
        reno_recovery = "TcpExtTCPRenoRecovery",
        /// Timeouts that found that the peer had dropped what it had reported.
        sack_reneging = "TcpExtTCPSACKReneging",
        /// Estimates of reordering that grew by SACK blocks.
        sack_reorder = "TcpExtTCPSACKReorder",
        /// The same by an echoed timestamp.
        ts_reorder = "TcpExtTCPTSReorder",
        /// Recoveries undone at their end.
        full_undo = "TcpExtTCPFullUndo",
        /// Recoveries undone before.
        partial_undo = "TcpExtTCPPartialUndo",
        /// Recoveries undone because all retransmissions were duplicates.
        dsack_undo = "TcpExtTCPDSACKUndo",
        /// Timeouts undone.
        loss_undo = "TcpExtTCPLossUndo",
        /// Of these, those that F-RTO found spurious.
        spurious_rtos = "TcpExtTCPSpuriousRTOs",
        /// Retransmissions that were lost too.
        lost_retransmit = "TcpExtTCPLostRetransmit",
        /// Tail loss probes sent.
        loss_probes = "TcpExtTCPLossProbes",
        /// Losses that a probe has repaired.
        loss_probe_recovery = "TcpExtTCPLossProbeRecovery",
        /// Reports of duplicates below what is acknowledged.
        dsack_recv = "TcpExtTCPDSACKRecv",
        /// The same above it.
        dsack_ofo_recv = "TcpExtTCPDSACKOfoRecv",
        /// Reports of duplicates of more than was sent again, or of more than the window.
        dsack_ignored_dubious = "TcpExtTCPDSACKIgnoredDubious",
        /// Reports of duplicates from before the present episode.
        dsack_ignored_old = "TcpExtTCPDSACKIgnoredOld",
        /// Reports of duplicates when there is nothing to undo.
        dsack_ignored_no_undo = "TcpExtTCPDSACKIgnoredNoUndo",
        /// SACK blocks of what is not in flight.
        sack_discard = "TcpExtTCPSACKDiscard",
        /// Slow starts ended by a train of acknowledgements (HyStart), and the sum of the windows then.
        hystart_train_detect = "TcpExtTCPHystartTrainDetect",
        /// See the line before.
        hystart_train_cwnd = "TcpExtTCPHystartTrainCwnd",
        /// Slow starts ended by a longer round trip, and the sum of the windows then.
        hystart_delay_detect = "TcpExtTCPHystartDelayDetect",
        /// See the line before.
        hystart_delay_cwnd = "TcpExtTCPHystartDelayCwnd",
        /// Connections that went into TIME-WAIT.
        time_wait = "TcpExtTW",
        /// TIME-WAIT records dropped for want of room.
        time_wait_overflow = "TcpExtTCPTimeWaitOverflow",
        /// ICMP errors that quote something of a connection that is not in flight.
        out_of_window_icmps = "TcpExtOutOfWindowIcmps",
        /// Windows reduced because the network marked something.
        ecn_reductions = "TcpExtTCPEcnReductions",
        /// Connections opened by us whose data on the SYN was taken.
        fast_open_active = "TcpExtTCPFastOpenActive",
        /// The same, where it was not.
        fast_open_active_fail = "TcpExtTCPFastOpenActiveFail",
        /// Connections made by a SYN with data.
        fast_open_passive = "TcpExtTCPFastOpenPassive",
        /// SYNs with a cookie that is no good, or for which there was no room.
        fast_open_passive_fail = "TcpExtTCPFastOpenPassiveFail",
        /// SYNs with data that met a listener with too many open handshakes.
        fast_open_listen_overflow = "TcpExtTCPFastOpenListenOverflow",
        /// SYNs that ask for a cookie.
        fast_open_cookie_reqd = "TcpExtTCPFastOpenCookieReqd",
        /// Times that clients began to stay away from Fast Open.
        fast_open_blackhole = "TcpExtTCPFastOpenBlackhole",
        /// Connections made with a cookie of the second key.
        fast_open_passive_alt_key = "TcpExtTCPFastOpenPassiveAltKey",
    }
}
