//! Socket options of TCP, and those of every type, between their ABI form and netstack's.

use std::sync::atomic::Ordering;
use std::time::Duration;

use netstack::network::IfaceId;
use netstack::socket::Family;
use netstack::socket::tcp::{MtuDiscover, TcpInfo, TcpOption, TcpOptionName, TcpState};
use netstack::stack::Stack;
use netstack::transport::tcp::{CongestionKind, FastOpenKeys};
use sentry_abi::Errno;

use super::endpoint::Endpoint;
use crate::net::{SocketType, option_int};

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const TCP: i32 = libc::IPPROTO_TCP;
const IPV6: i32 = libc::IPPROTO_IPV6;

pub(super) fn int(value: i32) -> Result<Vec<u8>, Errno> {
    Ok(value.to_ne_bytes().to_vec())
}

/// What is the same for every type; `None` if the option is none of these.
pub(super) fn get_common(
    endpoint: &Endpoint,
    socket: SocketType,
    level: i32,
    name: i32,
) -> Option<Result<Vec<u8>, Errno>> {
    Some(match (level, name) {
        (SOCKET, libc::SO_TYPE) => int(socket.kind),
        (SOCKET, libc::SO_DOMAIN) => int(socket.family),
        (SOCKET, libc::SO_PROTOCOL) => int(socket.protocol),
        (SOCKET, libc::SO_ERROR) => int(endpoint.take_error()),
        (SOCKET, libc::SO_OOBINLINE) if socket.kind != libc::SOCK_STREAM => {
            int(endpoint.oob_inline.load(Ordering::Relaxed).into())
        }
        // An option of IPv6 means nothing to a socket of IPv4 (`do_ip_getsockopt`).
        (IPV6, _) if socket.family != libc::AF_INET6 => Err(Errno::EOPNOTSUPP),
        (IPV6, libc::IPV6_V6ONLY) => endpoint
            .call(|stack, id| stack.names(id))
            .and_then(|names| int(names.v6only.into())),
        _ => return None,
    })
}

pub(super) fn set_oob_inline(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
    let on = option_int(value)? != 0;
    endpoint.oob_inline.store(on, Ordering::Relaxed);
    Ok(())
}

/// The option of netstack that an ABI option is.
fn tcp_name(level: i32, name: i32) -> Result<TcpOptionName, Errno> {
    use TcpOptionName as N;
    Ok(match (level, name) {
        (TCP, libc::TCP_NODELAY) => N::NoDelay,
        (TCP, libc::TCP_CORK) => N::Cork,
        (TCP, libc::TCP_QUICKACK) => N::QuickAck,
        (TCP, libc::TCP_KEEPIDLE) => N::KeepIdle,
        (TCP, libc::TCP_KEEPINTVL) => N::KeepInterval,
        (TCP, libc::TCP_KEEPCNT) => N::KeepCount,
        (TCP, libc::TCP_LINGER2) => N::Linger2,
        (TCP, libc::TCP_DEFER_ACCEPT) => N::DeferAccept,
        (TCP, libc::TCP_SYNCNT) => N::SynCount,
        (TCP, libc::TCP_USER_TIMEOUT) => N::UserTimeout,
        (TCP, libc::TCP_MAXSEG) => N::MaxSegment,
        (TCP, libc::TCP_WINDOW_CLAMP) => N::WindowClamp,
        (TCP, libc::TCP_NOTSENT_LOWAT) => N::NotSentLowat,
        (TCP, libc::TCP_CONGESTION) => N::Congestion,
        (TCP, libc::TCP_FASTOPEN) => N::FastOpen,
        (TCP, libc::TCP_FASTOPEN_CONNECT) => N::FastOpenConnect,
        (TCP, libc::TCP_FASTOPEN_NO_COOKIE) => N::FastOpenNoCookie,
        (TCP, libc::TCP_FASTOPEN_KEY) => N::FastOpenKey,
        (SOCKET, libc::SO_KEEPALIVE) => N::KeepAlive,
        (SOCKET, libc::SO_LINGER) => N::Linger,
        (SOCKET, libc::SO_REUSEADDR) => N::ReuseAddr,
        (SOCKET, libc::SO_REUSEPORT) => N::ReusePort,
        (SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => N::ReceiveBuffer,
        (SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => N::SendBuffer,
        (SOCKET, libc::SO_RCVLOWAT) => N::ReceiveLowat,
        (SOCKET, libc::SO_OOBINLINE) => N::OobInline,
        (SOCKET, libc::SO_ZEROCOPY) => N::ZeroCopy,
        (IP, libc::IP_RECVERR) | (IPV6, libc::IPV6_RECVERR) => N::ReceiveErrors,
        (SOCKET, libc::SO_BINDTODEVICE) => N::BindToInterface,
        (IP, libc::IP_TOS) => N::Tos,
        (IP, libc::IP_TTL) => N::Ttl,
        (IP, libc::IP_MTU_DISCOVER) => N::MtuDiscover,
        // A socket that speaks both families has one of each.
        (IPV6, libc::IPV6_TCLASS) => N::Tos,
        (IPV6, libc::IPV6_UNICAST_HOPS) => N::Ttl,
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// getsockopt(2) of a TCP socket.
pub(super) fn get_tcp(
    endpoint: &Endpoint,
    socket: SocketType,
    level: i32,
    name: i32,
) -> Result<Vec<u8>, Errno> {
    if let Some(answer) = get_common(endpoint, socket, level, name) {
        return answer;
    }
    let info = || endpoint.call(|stack, id| stack.tcp_info(id));
    match (level, name) {
        (TCP, libc::TCP_INFO) => return Ok(emit_info(&info()?)),
        (SOCKET, libc::SO_ACCEPTCONN) => return int((info()?.state == TcpState::Listen).into()),
        _ => {}
    }
    let name = tcp_name(level, name)?;
    let (option, default_ttl) = endpoint.look(|stack, id| {
        let ttl = stack
            .setting("ip_default_ttl")
            .and_then(|text| text.parse().ok());
        (stack.tcp_option(id, name), ttl.unwrap_or(64))
    });
    let option = option.map_err(super::endpoint::to_errno)?;
    match option {
        TcpOption::Congestion(kind) => {
            let mut text = kind.name().as_bytes().to_vec();
            text.resize(16, 0);
            Ok(text)
        }
        TcpOption::Linger(linger) => {
            let on = i32::from(linger.is_some());
            let seconds =
                linger.map_or(0, |time| i32::try_from(time.as_secs()).unwrap_or(i32::MAX));
            Ok([on.to_ne_bytes(), seconds.to_ne_bytes()].concat())
        }
        TcpOption::BindToInterface(iface) => Ok(interface_name(endpoint, iface)),
        TcpOption::Ttl(0) => int(default_ttl),
        TcpOption::FastOpenKey(keys) => Ok(keys.to_bytes()),
        other => int(scalar(other)),
    }
}

/// The value of an option that is a plain number.
fn scalar(option: TcpOption) -> i32 {
    use TcpOption as O;
    match option {
        O::NoDelay(on)
        | O::Cork(on)
        | O::QuickAck(on)
        | O::KeepAlive(on)
        | O::OobInline(on)
        | O::ZeroCopy(on)
        | O::ReceiveErrors(on)
        | O::ReuseAddr(on)
        | O::ReusePort(on)
        | O::FastOpenConnect(on)
        | O::FastOpenNoCookie(on) => on.into(),
        O::KeepIdle(n)
        | O::KeepInterval(n)
        | O::KeepCount(n)
        | O::DeferAccept(n)
        | O::SynCount(n)
        | O::UserTimeout(n)
        | O::MaxSegment(n)
        | O::WindowClamp(n)
        | O::NotSentLowat(n)
        | O::ReceiveBuffer(n)
        | O::SendBuffer(n)
        | O::ReceiveLowat(n)
        | O::FastOpen(n) => n as i32,
        O::MtuDiscover(mode) => mode as i32,
        O::Linger2(n) => n,
        O::Tos(n) | O::Ttl(n) => n.into(),
        O::Congestion(_)
        | O::Linger(_)
        | O::BindToInterface(_)
        | O::FastOpenKey(_)
        | O::TxStamps(_) => 0,
    }
}

/// setsockopt(2) of a TCP socket.
pub(super) fn set_tcp(
    endpoint: &Endpoint,
    family: Family,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    use TcpOptionName as N;
    let option_name = match (level, name) {
        (IPV6, _) if family == Family::V4 => return Err(Errno::ENOPROTOOPT),
        (IPV6, libc::IPV6_V6ONLY) => return set_v6only(endpoint, value),
        // Priorities and marks have no effect on a stack without queue disciplines or policy routing.
        (SOCKET, libc::SO_PRIORITY | libc::SO_MARK) => return option_int(value).map(drop),
        _ => tcp_name(level, name)?,
    };
    let number = || option_int(value);
    let unsigned = || u32::try_from(option_int(value)?).map_err(|_| Errno::EINVAL);
    let on = || Ok::<_, Errno>(option_int(value)? != 0);
    let byte = || u8::try_from(option_int(value)?).map_err(|_| Errno::EINVAL);
    let option = match option_name {
        N::NoDelay => TcpOption::NoDelay(on()?),
        N::Cork => TcpOption::Cork(on()?),
        N::QuickAck => TcpOption::QuickAck(on()?),
        N::KeepAlive => TcpOption::KeepAlive(on()?),
        N::OobInline => TcpOption::OobInline(on()?),
        N::ZeroCopy => TcpOption::ZeroCopy(parse_flag(number()?)?),
        N::ReceiveErrors => TcpOption::ReceiveErrors(on()?),
        // The socket itself knows these.
        N::TxStamps => return Err(Errno::ENOPROTOOPT),
        N::ReuseAddr => TcpOption::ReuseAddr(on()?),
        N::ReusePort => TcpOption::ReusePort(on()?),
        N::KeepIdle => TcpOption::KeepIdle(unsigned()?),
        N::KeepInterval => TcpOption::KeepInterval(unsigned()?),
        N::KeepCount => TcpOption::KeepCount(unsigned()?),
        N::Linger => TcpOption::Linger(parse_linger(value)?),
        N::Linger2 => TcpOption::Linger2(number()?),
        // A negative time is none (`tcp_setsockopt`).
        N::DeferAccept => TcpOption::DeferAccept(u32::try_from(number()?).unwrap_or(0)),
        N::SynCount => TcpOption::SynCount(unsigned()?),
        N::UserTimeout => TcpOption::UserTimeout(unsigned()?),
        N::MaxSegment => TcpOption::MaxSegment(unsigned()?),
        N::WindowClamp => TcpOption::WindowClamp(unsigned()?),
        N::NotSentLowat => TcpOption::NotSentLowat(number()? as u32),
        N::Congestion => TcpOption::Congestion(parse_congestion(value)?),
        // Buffer sizes are capped, never refused.
        N::ReceiveBuffer => TcpOption::ReceiveBuffer(number()? as u32),
        N::SendBuffer => TcpOption::SendBuffer(number()? as u32),
        N::ReceiveLowat => TcpOption::ReceiveLowat(number()?.max(1) as u32),
        N::Tos if level == IPV6 => TcpOption::Tos(parse_traffic_class(number()?)?),
        N::Tos => TcpOption::Tos(byte()?),
        N::Ttl => TcpOption::Ttl(parse_ttl(number()?)?),
        N::BindToInterface => TcpOption::BindToInterface(parse_interface(endpoint, value)?),
        N::MtuDiscover => {
            TcpOption::MtuDiscover(MtuDiscover::from_number(number()?).ok_or(Errno::EINVAL)?)
        }
        N::FastOpen => TcpOption::FastOpen(unsigned()?),
        N::FastOpenConnect => TcpOption::FastOpenConnect(parse_flag(number()?)?),
        N::FastOpenNoCookie => TcpOption::FastOpenNoCookie(parse_flag(number()?)?),
        N::FastOpenKey => {
            TcpOption::FastOpenKey(FastOpenKeys::from_bytes(value).ok_or(Errno::EINVAL)?)
        }
    };
    endpoint.call(|stack, id| stack.tcp_set_option(id, option))
}

/// 0 or 1: some options take nothing else.
fn parse_flag(value: i32) -> Result<bool, Errno> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

/// IPV6_V6ONLY, which only a socket without an address takes.
pub(super) fn set_v6only(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
    let on = option_int(value)? != 0;
    endpoint.call(|stack, id| stack.set_v6only(id, on))
}

/// IPV6_TCLASS: 0 to 255, or -1 for the default.
pub(super) fn parse_traffic_class(value: i32) -> Result<u8, Errno> {
    match value {
        -1 => Ok(0),
        0..=255 => Ok(value as u8),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct linger`
fn parse_linger(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let seconds = value.get(4..8).ok_or(Errno::EINVAL)?;
    let on = option_int(value)? != 0;
    let seconds = u32::from_ne_bytes(seconds.try_into().expect("four bytes"));
    Ok(on.then(|| Duration::from_secs(seconds.into())))
}

fn parse_congestion(value: &[u8]) -> Result<CongestionKind, Errno> {
    let text = value.split(|&b| b == 0).next().unwrap_or_default();
    std::str::from_utf8(text)
        .ok()
        .and_then(CongestionKind::from_name)
        .ok_or(Errno::ENOENT)
}

/// IP_TTL: 1 to 255, or -1 for the default.
pub(super) fn parse_ttl(value: i32) -> Result<u8, Errno> {
    match value {
        -1 => Ok(0),
        1..=255 => Ok(value as u8),
        _ => Err(Errno::EINVAL),
    }
}

/// SO_BINDTODEVICE: a name, or nothing for any interface.
pub(super) fn parse_interface(endpoint: &Endpoint, value: &[u8]) -> Result<Option<IfaceId>, Errno> {
    let name = value.split(|&b| b == 0).next().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
    endpoint
        .look(|stack, _| stack.interface_by_name(name))
        .ok_or(Errno::ENODEV)
        .map(Some)
}

pub(super) fn interface_name(endpoint: &Endpoint, iface: Option<IfaceId>) -> Vec<u8> {
    let Some(iface) = iface else {
        return Vec::new();
    };
    let find = |stack: &mut Stack| {
        stack
            .interfaces()
            .find(|info| info.id == iface)
            .map(|info| info.name)
    };
    endpoint
        .look(|stack, _| find(stack))
        .map_or_else(Vec::new, |name| [name.as_bytes(), b"\0"].concat())
}

fn words(bytes: &mut Vec<u8>, words: &[u32]) {
    words
        .iter()
        .for_each(|word| bytes.extend_from_slice(&word.to_ne_bytes()));
}

fn longs(bytes: &mut Vec<u8>, longs: &[u64]) {
    longs
        .iter()
        .for_each(|long| bytes.extend_from_slice(&long.to_ne_bytes()));
}

/// `struct tcp_info` up to `tcpi_rcv_wnd` (linux/tcp.h).
fn emit_info(info: &TcpInfo) -> Vec<u8> {
    let mut bytes = vec![
        info.state as u8,
        info.ca_state,
        info.retransmits,
        info.probes,
        info.backoff,
        info.options,
        info.snd_wscale | info.rcv_wscale << 4,
        u8::from(info.delivery_rate_app_limited) | info.fastopen_client_fail << 1,
    ];
    let i = info;
    words(
        &mut bytes,
        &[
            i.rto, i.ato, i.snd_mss, i.rcv_mss, i.unacked, i.sacked, i.lost, i.retrans, 0,
        ],
    );
    words(
        &mut bytes,
        &[i.last_data_sent, 0, i.last_data_recv, i.last_ack_recv],
    );
    words(
        &mut bytes,
        &[
            i.pmtu,
            i.rcv_ssthresh,
            i.rtt,
            i.rttvar,
            i.snd_ssthresh,
            i.snd_cwnd,
            i.advmss,
            i.reordering,
        ],
    );
    words(&mut bytes, &[i.rcv_rtt, i.rcv_space, i.total_retrans]);
    emit_info_totals(info, &mut bytes);
    bytes
}

/// The part from `tcpi_pacing_rate` on.
fn emit_info_totals(info: &TcpInfo, bytes: &mut Vec<u8>) {
    let i = info;
    // Pacing rates are unlimited: there is no pacing.
    longs(
        bytes,
        &[u64::MAX, u64::MAX, i.bytes_acked, i.bytes_received],
    );
    words(
        bytes,
        &[
            i.segs_out,
            i.segs_in,
            i.notsent_bytes,
            i.min_rtt,
            i.data_segs_in,
            i.data_segs_out,
        ],
    );
    longs(
        bytes,
        &[
            i.delivery_rate,
            i.busy_time,
            i.rwnd_limited,
            i.sndbuf_limited,
        ],
    );
    words(bytes, &[i.delivered, i.delivered_ce]);
    longs(bytes, &[i.bytes_sent, i.bytes_retrans]);
    words(
        bytes,
        &[
            i.dsack_dups,
            i.reord_seen,
            i.rcv_ooopack,
            i.snd_wnd,
            i.rcv_wnd,
        ],
    );
}
