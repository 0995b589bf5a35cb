//! TCP_INFO by name: `struct tcp_info` of the kernel, which only ever grows at its end.

/// Size asked for; an older kernel gives less.
pub(super) const SIZE: usize = 248;

/// Name, offset and size of each field that scripts may ask for.
const FIELDS: [(&str, usize, usize); 56] = [
    ("tcpi_state", 0, 1),
    ("tcpi_ca_state", 1, 1),
    ("tcpi_retransmits", 2, 1),
    ("tcpi_probes", 3, 1),
    ("tcpi_backoff", 4, 1),
    ("tcpi_options", 5, 1),
    ("tcpi_rto", 8, 4),
    ("tcpi_ato", 12, 4),
    ("tcpi_snd_mss", 16, 4),
    ("tcpi_rcv_mss", 20, 4),
    ("tcpi_unacked", 24, 4),
    ("tcpi_sacked", 28, 4),
    ("tcpi_lost", 32, 4),
    ("tcpi_retrans", 36, 4),
    ("tcpi_fackets", 40, 4),
    ("tcpi_last_data_sent", 44, 4),
    ("tcpi_last_ack_sent", 48, 4),
    ("tcpi_last_data_recv", 52, 4),
    ("tcpi_last_ack_recv", 56, 4),
    ("tcpi_pmtu", 60, 4),
    ("tcpi_rcv_ssthresh", 64, 4),
    ("tcpi_rtt", 68, 4),
    ("tcpi_rttvar", 72, 4),
    ("tcpi_snd_ssthresh", 76, 4),
    ("tcpi_snd_cwnd", 80, 4),
    ("tcpi_advmss", 84, 4),
    ("tcpi_reordering", 88, 4),
    ("tcpi_rcv_rtt", 92, 4),
    ("tcpi_rcv_space", 96, 4),
    ("tcpi_total_retrans", 100, 4),
    ("tcpi_pacing_rate", 104, 8),
    ("tcpi_max_pacing_rate", 112, 8),
    ("tcpi_bytes_acked", 120, 8),
    ("tcpi_bytes_received", 128, 8),
    ("tcpi_segs_out", 136, 4),
    ("tcpi_segs_in", 140, 4),
    ("tcpi_notsent_bytes", 144, 4),
    ("tcpi_min_rtt", 148, 4),
    ("tcpi_data_segs_in", 152, 4),
    ("tcpi_data_segs_out", 156, 4),
    ("tcpi_delivery_rate", 160, 8),
    ("tcpi_busy_time", 168, 8),
    ("tcpi_rwnd_limited", 176, 8),
    ("tcpi_sndbuf_limited", 184, 8),
    ("tcpi_delivered", 192, 4),
    ("tcpi_delivered_ce", 196, 4),
    ("tcpi_bytes_sent", 200, 8),
    ("tcpi_bytes_retrans", 208, 8),
    ("tcpi_dsack_dups", 216, 4),
    ("tcpi_reord_seen", 220, 4),
    ("tcpi_rcv_ooopack", 224, 4),
    ("tcpi_snd_wnd", 228, 4),
    ("tcpi_rcv_wnd", 232, 4),
    ("tcpi_rehash", 236, 4),
    ("tcpi_total_rto", 240, 2),
    ("tcpi_total_rto_recoveries", 242, 2),
];

/// The fields that `bytes` has.
pub(super) fn fields(bytes: &[u8]) -> Vec<(&'static str, i64)> {
    let mut fields: Vec<(&'static str, i64)> = FIELDS
        .iter()
        .filter_map(|(name, offset, size)| {
            let mut word = [0; 8];
            word[..*size].copy_from_slice(bytes.get(*offset..offset + size)?);
            Some((*name, i64::from_le_bytes(word)))
        })
        .collect();
    if let Some([shifts, limited]) = bytes.get(6..8) {
        fields.push(("tcpi_snd_wscale", i64::from(shifts & 15)));
        fields.push(("tcpi_rcv_wscale", i64::from(shifts >> 4)));
        fields.push(("tcpi_delivery_rate_app_limited", i64::from(limited & 1)));
        let failure = limited >> 1 & 3;
        fields.push(("tcpi_fastopen_client_fail", i64::from(failure)));
    }
    fields
}

/// The structure with the fields that `fields` has; those that it lacks are zero.
pub(super) fn bytes(fields: &[(&'static str, i64)]) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    let value = |name: &str| fields.iter().find(|(known, _)| *known == name);
    for (name, offset, size) in FIELDS {
        if let Some((_, value)) = value(name) {
            bytes[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }
    let bits = |name: &str, mask: u8| value(name).map_or(0, |(_, value)| *value as u8 & mask);
    bytes[6] = bits("tcpi_snd_wscale", 15) | bits("tcpi_rcv_wscale", 15) << 4;
    bytes[7] =
        bits("tcpi_delivery_rate_app_limited", 1) | bits("tcpi_fastopen_client_fail", 3) << 1;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out() {
        let put = [
            ("tcpi_state", 1),
            ("tcpi_snd_wscale", 7),
            ("tcpi_rcv_wscale", 9),
            ("tcpi_fastopen_client_fail", 2),
            ("tcpi_bytes_acked", 1 << 40),
            ("tcpi_total_rto", 3),
        ];
        let out = fields(&bytes(&put));
        for pair in put {
            assert!(out.contains(&pair), "{pair:?}");
        }
    }
}
