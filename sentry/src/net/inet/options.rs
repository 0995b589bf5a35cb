//! Socket options of AF_INET and AF_INET6, between their ABI form and netstack's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netstack::network::IfaceId;
use netstack::socket::Family;
use netstack::socket::tcp::{MtuDiscover, TcpInfo, TcpOption, TcpOptionName, TcpState};
use netstack::stack::Stack;
use netstack::transport::tcp::{CongestionKind, FastOpenKeys};
use sentry_abi::Errno;

use super::datagram::{ControlFlags, Kind};
use super::endpoint::Endpoint;
use crate::net::{SocketType, option_int};

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const TCP: i32 = libc::IPPROTO_TCP;
const IPV6: i32 = libc::IPPROTO_IPV6;
/// linux/icmpv6.h
const ICMP6_FILTER: i32 = 1;
const ICMPV6_RAW: Kind = Kind::Raw(libc::IPPROTO_ICMPV6 as u8);

fn int(value: i32) -> Result<Vec<u8>, Errno> {
    Ok(value.to_ne_bytes().to_vec())
}

/// What is the same for every type; `None` if the option is none of these.
fn get_common(
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

fn set_oob_inline(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
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
        O::Congestion(_) | O::Linger(_) | O::BindToInterface(_) | O::FastOpenKey(_) => 0,
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
fn set_v6only(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
    let on = option_int(value)? != 0;
    endpoint.call(|stack, id| stack.set_v6only(id, on))
}

/// `struct icmp6_filter`; what is not given stays (`rawv6_seticmpfilter`).
fn set_icmp6_filter(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
    endpoint.call(|stack, id| {
        let filter = &mut stack.raw_options_mut(id)?.icmp6_filter;
        for (word, bytes) in filter.iter_mut().zip(value.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(())
    })
}

/// IPV6_TCLASS: 0 to 255, or -1 for the default.
fn parse_traffic_class(value: i32) -> Result<u8, Errno> {
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
fn parse_ttl(value: i32) -> Result<u8, Errno> {
    match value {
        -1 => Ok(0),
        1..=255 => Ok(value as u8),
        _ => Err(Errno::EINVAL),
    }
}

/// SO_BINDTODEVICE: a name, or nothing for any interface.
fn parse_interface(endpoint: &Endpoint, value: &[u8]) -> Result<Option<IfaceId>, Errno> {
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

fn interface_name(endpoint: &Endpoint, iface: Option<IfaceId>) -> Vec<u8> {
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
        info.fastopen_client_fail << 1,
    ];
    let words = |bytes: &mut Vec<u8>, words: &[u32]| {
        words
            .iter()
            .for_each(|word| bytes.extend_from_slice(&word.to_ne_bytes()))
    };
    let longs = |bytes: &mut Vec<u8>, longs: &[u64]| {
        longs
            .iter()
            .for_each(|long| bytes.extend_from_slice(&long.to_ne_bytes()))
    };
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
    // Pacing rates are unlimited: there is no pacing.
    longs(
        &mut bytes,
        &[u64::MAX, u64::MAX, i.bytes_acked, i.bytes_received],
    );
    words(
        &mut bytes,
        &[
            i.segs_out,
            i.segs_in,
            i.notsent_bytes,
            i.min_rtt,
            i.data_segs_in,
            i.data_segs_out,
        ],
    );
    // The delivery rate is not kept.
    longs(
        &mut bytes,
        &[0, i.busy_time, i.rwnd_limited, i.sndbuf_limited],
    );
    words(&mut bytes, &[i.delivered, i.delivered_ce]);
    longs(&mut bytes, &[i.bytes_sent, i.bytes_retrans]);
    words(
        &mut bytes,
        &[
            i.dsack_dups,
            i.reord_seen,
            i.rcv_ooopack,
            i.snd_wnd,
            i.rcv_wnd,
        ],
    );
    bytes
}

/// getsockopt(2) of a UDP, echo or raw socket.
pub(super) fn get_datagram(
    endpoint: &Endpoint,
    socket: SocketType,
    kind: Kind,
    flags: &ControlFlags,
    level: i32,
    name: i32,
) -> Result<Vec<u8>, Errno> {
    if let Some(answer) = get_common(endpoint, socket, level, name) {
        return answer;
    }
    if let Some(flag) = control_flag(flags, level, name) {
        return int(flag.load(Ordering::Relaxed).into());
    }
    if kind != Kind::Udp {
        let options =
            endpoint.call(|stack, id| stack.raw_options_mut(id).map(|options| *options))?;
        return match (level, name) {
            (libc::IPPROTO_ICMPV6, ICMP6_FILTER) if kind == ICMPV6_RAW => {
                let words = options.icmp6_filter.iter();
                Ok(words.flat_map(|word| word.to_ne_bytes()).collect())
            }
            (SOCKET, libc::SO_BROADCAST) => int(options.broadcast.into()),
            (SOCKET, libc::SO_RCVBUF) => int(options.recv_budget as i32),
            (SOCKET, libc::SO_SNDBUF) => int(212_992),
            (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => int(if options.ttl == 0 {
                64
            } else {
                options.ttl.into()
            }),
            (IP, libc::IP_TOS) | (IPV6, libc::IPV6_TCLASS) => int(options.tos.into()),
            _ => Err(Errno::ENOPROTOOPT),
        };
    }
    let options = endpoint.call(|stack, id| stack.udp_options(id).copied())?;
    match (level, name) {
        (SOCKET, libc::SO_REUSEADDR) => int(options.reuse_addr.into()),
        (SOCKET, libc::SO_REUSEPORT) => int(options.reuse_port.into()),
        (SOCKET, libc::SO_BROADCAST) => int(options.broadcast.into()),
        (SOCKET, libc::SO_RCVBUF) => int(options.recv_budget as i32),
        (SOCKET, libc::SO_SNDBUF) => int(212_992),
        (SOCKET, libc::SO_BINDTODEVICE) => Ok(interface_name(endpoint, options.iface)),
        (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => int(if options.ttl == 0 {
            64
        } else {
            options.ttl.into()
        }),
        (IP, libc::IP_TOS) | (IPV6, libc::IPV6_TCLASS) => int(options.tos.into()),
        (IP, libc::IP_MULTICAST_TTL) | (IPV6, libc::IPV6_MULTICAST_HOPS) => {
            int(options.multicast_ttl.into())
        }
        (IP, libc::IP_RECVERR) | (IPV6, libc::IPV6_RECVERR) => int(options.recv_errors.into()),
        (IP, libc::IP_MTU_DISCOVER) | (IPV6, libc::IPV6_MTU_DISCOVER) => {
            int(if options.dont_fragment {
                libc::IP_PMTUDISC_DO
            } else {
                libc::IP_PMTUDISC_WANT
            })
        }
        _ => Err(Errno::ENOPROTOOPT),
    }
}

fn control_flag(flags: &ControlFlags, level: i32, name: i32) -> Option<&AtomicBool> {
    match (level, name) {
        (IP, libc::IP_PKTINFO) => Some(&flags.packet_info),
        (IP, libc::IP_RECVTTL) => Some(&flags.ttl),
        (IP, libc::IP_RECVTOS) => Some(&flags.tos),
        (IPV6, libc::IPV6_RECVPKTINFO) => Some(&flags.packet_info6),
        (IPV6, libc::IPV6_RECVHOPLIMIT) => Some(&flags.hop_limit),
        (IPV6, libc::IPV6_RECVTCLASS) => Some(&flags.traffic_class),
        _ => None,
    }
}

/// setsockopt(2) of a UDP, echo or raw socket.
pub(super) fn set_datagram(
    endpoint: &Endpoint,
    (family, kind): (Family, Kind),
    flags: &ControlFlags,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    if level == IPV6 && family == Family::V4 {
        return Err(Errno::ENOPROTOOPT);
    }
    if (level, name) == (IPV6, libc::IPV6_V6ONLY) {
        return set_v6only(endpoint, value);
    }
    if let Some(flag) = control_flag(flags, level, name) {
        flag.store(option_int(value)? != 0, Ordering::Relaxed);
        return Ok(());
    }
    if (level, name) == (SOCKET, libc::SO_OOBINLINE) {
        return set_oob_inline(endpoint, value);
    }
    if (level, name) == (libc::IPPROTO_ICMPV6, ICMP6_FILTER)
        && (family, kind) == (Family::V6, ICMPV6_RAW)
    {
        return set_icmp6_filter(endpoint, value);
    }
    if (level, name) == (SOCKET, libc::SO_BINDTODEVICE) {
        let iface = parse_interface(endpoint, value)?;
        return endpoint.call(|stack, id| {
            match kind {
                Kind::Udp => stack.udp_options_mut(id)?.iface = iface,
                _ => stack.raw_options_mut(id)?.iface = iface,
            }
            Ok(())
        });
    }
    // Some programs pass a single byte for byte-sized IP options.
    let number =
        option_int(value).or_else(|error| value.first().map(|&b| b.into()).ok_or(error))?;
    let byte = u8::try_from(number).map_err(|_| Errno::EINVAL);
    // Linux doubles what is asked for, within rmem_max, to account for its own overhead.
    let budget = (number.max(0) as usize).clamp(1152, 212_992) * 2;
    let on = number != 0;
    endpoint.look(|stack, id| -> Result<(), Errno> {
        if kind != Kind::Udp {
            let options = stack
                .raw_options_mut(id)
                .map_err(super::endpoint::to_errno)?;
            match (level, name) {
                (SOCKET, libc::SO_BROADCAST) => options.broadcast = on,
                (SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => options.recv_budget = budget,
                // Nothing waits to be sent on these sockets.
                (SOCKET, libc::SO_SNDBUF | libc::SO_PRIORITY | libc::SO_MARK) => {}
                (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => {
                    options.ttl = parse_ttl(number)?;
                }
                (IP, libc::IP_TOS) => options.tos = byte?,
                (IPV6, libc::IPV6_TCLASS) => options.tos = parse_traffic_class(number)?,
                (IP, libc::IP_MTU_DISCOVER) | (IPV6, libc::IPV6_MTU_DISCOVER) => {
                    options.dont_fragment = number >= libc::IP_PMTUDISC_DO
                }
                _ => return Err(Errno::ENOPROTOOPT),
            }
            return Ok(());
        }
        let options = stack
            .udp_options_mut(id)
            .map_err(super::endpoint::to_errno)?;
        match (level, name) {
            (SOCKET, libc::SO_REUSEADDR) => options.reuse_addr = on,
            (SOCKET, libc::SO_REUSEPORT) => options.reuse_port = on,
            (SOCKET, libc::SO_BROADCAST) => options.broadcast = on,
            (SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => options.recv_budget = budget,
            (SOCKET, libc::SO_SNDBUF | libc::SO_PRIORITY | libc::SO_MARK) => {}
            (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => {
                options.ttl = parse_ttl(number)?;
            }
            (IP, libc::IP_TOS) => options.tos = byte?,
            (IPV6, libc::IPV6_TCLASS) => options.tos = parse_traffic_class(number)?,
            (IP, libc::IP_MULTICAST_TTL) => options.multicast_ttl = byte?,
            (IPV6, libc::IPV6_MULTICAST_HOPS) => {
                // -1 is the default.
                options.multicast_ttl = if number == -1 { 1 } else { byte? };
            }
            (IP, libc::IP_RECVERR) | (IPV6, libc::IPV6_RECVERR) => options.recv_errors = on,
            (IP, libc::IP_MTU_DISCOVER) | (IPV6, libc::IPV6_MTU_DISCOVER) => {
                options.dont_fragment = number >= libc::IP_PMTUDISC_DO;
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    })
}
