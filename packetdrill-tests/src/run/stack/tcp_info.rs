//! TCP_INFO of netstack under Linux's names.

use super::super::target::SysResult;
use super::sockets::errno;
use netstack::socket::SocketId;
use netstack::stack::Stack;

macro_rules! fields {
    ($info:expr, $($name:ident),* $(,)?) => {
        vec![$((concat!("tcpi_", stringify!($name)), $info.$name as i64)),*]
    };
}

/// Every field that netstack has.
pub(super) fn fields(stack: &mut Stack, id: SocketId) -> SysResult<Vec<(&'static str, i64)>> {
    let info = stack.tcp_info(id).map_err(errno)?;
    Ok(fields![
        info,
        state,
        ca_state,
        retransmits,
        probes,
        backoff,
        options,
        fastopen_client_fail,
        snd_wscale,
        rcv_wscale,
        rto,
        ato,
        snd_mss,
        rcv_mss,
        unacked,
        sacked,
        lost,
        retrans,
        last_data_sent,
        last_data_recv,
        last_ack_recv,
        pmtu,
        rcv_ssthresh,
        rtt,
        rttvar,
        snd_ssthresh,
        snd_cwnd,
        advmss,
        reordering,
        rcv_rtt,
        rcv_space,
        total_retrans,
        bytes_acked,
        bytes_received,
        segs_out,
        segs_in,
        notsent_bytes,
        min_rtt,
        data_segs_in,
        data_segs_out,
        delivery_rate,
        delivery_rate_app_limited,
        busy_time,
        rwnd_limited,
        sndbuf_limited,
        delivered,
        delivered_ce,
        bytes_sent,
        bytes_retrans,
        dsack_dups,
        reord_seen,
        rcv_ooopack,
        snd_wnd,
        rcv_wnd,
    ])
}
