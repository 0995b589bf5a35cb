//! Socket options by number, and settings by name.

use super::super::target::{SettingError, SysResult};
use super::sockets::errno;
use netstack::socket::tcp::{MtuDiscover, TcpOption, TcpOptionName as Name};
use netstack::socket::{SocketId, SocketKind};
use netstack::stack::{SettingError as StackError, Stack};
use netstack::time::Duration;
use netstack::transport::tcp::{CongestionKind, FastOpenKeys};
use nix::errno::Errno;

/// Sets the sysctl `name`.
pub(super) fn set(stack: &mut Stack, name: &str, value: &str) -> Result<(), SettingError> {
    let known = name.starts_with("net.ipv4.") || name.starts_with("net.core.");
    let last = name.rsplit('.').next().unwrap_or_default();
    if !known || stack.setting(last).is_none() {
        return Err(SettingError::Unknown);
    }
    // The kernel takes hexadecimal numbers too.
    let hex = value.strip_prefix("0x");
    let number = hex.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let value = number.map_or_else(|| value.to_owned(), |number| number.to_string());
    match stack.set_setting(last, &value) {
        Ok(()) => Ok(()),
        Err(StackError::Unknown) => Err(SettingError::Unknown),
        Err(error) => Err(SettingError::Invalid(error.to_string())),
    }
}

/// The first four bytes as an integer, or the first where there are fewer, as the kernel takes them.
fn int(value: &[u8]) -> SysResult<i32> {
    match value {
        [] => Err(Errno::EINVAL),
        [a, b, c, d, ..] => Ok(i32::from_le_bytes([*a, *b, *c, *d])),
        [byte, ..] => Ok(i32::from(*byte)),
    }
}

/// An option that is 0 or 1.
pub(super) fn on(value: &[u8]) -> SysResult<bool> {
    flag(int(value)?)
}

/// setsockopt(2).
pub(super) fn set_socket(
    stack: &mut Stack,
    id: SocketId,
    level: i32,
    name: i32,
    value: &[u8],
) -> SysResult<()> {
    if id.kind() != SocketKind::Tcp {
        return set_datagram(stack, id, level, name, value);
    }
    let option = tcp_option(level, name, value)?;
    stack.tcp_set_option(id, option).map_err(errno)
}

fn set_datagram(
    stack: &mut Stack,
    id: SocketId,
    level: i32,
    name: i32,
    value: &[u8],
) -> SysResult<()> {
    let number = int(value)?;
    let options = stack.udp_options_mut(id).map_err(errno)?;
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => options.reuse_addr = number != 0,
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => options.reuse_port = number != 0,
        (libc::SOL_SOCKET, libc::SO_BROADCAST) => options.broadcast = number != 0,
        (libc::IPPROTO_IP, libc::IP_TTL) => {
            options.ttl = u8::try_from(number).map_err(|_| Errno::EINVAL)?;
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => options.tos = number as u8,
        (libc::IPPROTO_IP, libc::IP_RECVERR) => options.recv_errors = number != 0,
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

/// 0 or 1: some options take nothing else.
fn flag(number: i32) -> SysResult<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

fn tcp_option(level: i32, name: i32, value: &[u8]) -> SysResult<TcpOption> {
    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_CONGESTION) {
        let text = String::from_utf8_lossy(value);
        let kind = CongestionKind::from_name(text.trim_end_matches('\0'));
        return kind.map(TcpOption::Congestion).ok_or(Errno::ENOENT);
    }
    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY) {
        let keys = FastOpenKeys::from_bytes(value);
        return keys.map(TcpOption::FastOpenKey).ok_or(Errno::EINVAL);
    }
    let number = int(value)?;
    let on = number != 0;
    let positive = u32::try_from(number).map_err(|_| Errno::EINVAL);
    Ok(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => TcpOption::KeepAlive(on),
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => TcpOption::ReuseAddr(on),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => TcpOption::ReusePort(on),
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => TcpOption::ReceiveBuffer(positive?),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => TcpOption::SendBuffer(positive?),
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => TcpOption::ZeroCopy(flag(number)?),
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => {
            TcpOption::TxStamps(super::receipts::stamps(number)?)
        }
        (libc::SOL_IP, libc::IP_RECVERR) => TcpOption::ReceiveErrors(on),
        (libc::SOL_SOCKET, libc::SO_OOBINLINE) => TcpOption::OobInline(on),
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => TcpOption::ReceiveLowat(positive?),
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let seconds = int(value.get(4..).ok_or(Errno::EINVAL)?)?;
            let seconds = Duration::from_secs(seconds.max(0) as u64);
            TcpOption::Linger(on.then_some(seconds))
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => TcpOption::Tos(number as u8),
        (libc::IPPROTO_IP, libc::IP_TTL) => {
            TcpOption::Ttl(u8::try_from(number).map_err(|_| Errno::EINVAL)?)
        }
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => {
            TcpOption::MtuDiscover(MtuDiscover::from_number(number).ok_or(Errno::EINVAL)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => TcpOption::NoDelay(on),
        (libc::IPPROTO_TCP, libc::TCP_CORK) => TcpOption::Cork(on),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => TcpOption::QuickAck(on),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => TcpOption::KeepIdle(positive?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => TcpOption::KeepInterval(positive?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => TcpOption::KeepCount(positive?),
        (libc::IPPROTO_TCP, libc::TCP_LINGER2) => TcpOption::Linger2(number),
        (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => TcpOption::DeferAccept(number.max(0) as u32),
        (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => TcpOption::SynCount(positive?),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => TcpOption::UserTimeout(positive?),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => TcpOption::MaxSegment(positive?),
        (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) => TcpOption::WindowClamp(positive?),
        (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT) => TcpOption::NotSentLowat(number as u32),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN) => TcpOption::FastOpen(positive?),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) => {
            TcpOption::FastOpenConnect(flag(number)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_NO_COOKIE) => {
            TcpOption::FastOpenNoCookie(flag(number)?)
        }
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// getsockopt(2).
pub(super) fn get_socket(
    stack: &mut Stack,
    id: SocketId,
    level: i32,
    name: i32,
) -> SysResult<Vec<u8>> {
    if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR) {
        let error = stack.take_error(id).map_or(0, |error| errno(error) as i32);
        return Ok(error.to_le_bytes().to_vec());
    }
    if id.kind() != SocketKind::Tcp {
        return Err(Errno::ENOPROTOOPT);
    }
    let name = tcp_option_name(level, name)?;
    let option = stack.tcp_option(id, name).map_err(errno)?;
    Ok(match option {
        TcpOption::Congestion(kind) => {
            let mut text = kind.name().as_bytes().to_vec();
            text.resize(16, 0);
            text
        }
        TcpOption::Linger(time) => {
            let seconds = time.map_or(0, |time| time.as_secs() as i32);
            let on = i32::from(time.is_some());
            [on.to_le_bytes(), seconds.to_le_bytes()].concat()
        }
        TcpOption::FastOpenKey(keys) => keys.to_bytes(),
        other => number_of(other).to_le_bytes().to_vec(),
    })
}

fn tcp_option_name(level: i32, name: i32) -> SysResult<Name> {
    Ok(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => Name::KeepAlive,
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => Name::ReuseAddr,
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => Name::ReusePort,
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => Name::ReceiveBuffer,
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => Name::SendBuffer,
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => Name::ZeroCopy,
        (libc::SOL_SOCKET, libc::SO_OOBINLINE) => Name::OobInline,
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => Name::ReceiveLowat,
        (libc::SOL_SOCKET, libc::SO_LINGER) => Name::Linger,
        (libc::IPPROTO_IP, libc::IP_TOS) => Name::Tos,
        (libc::IPPROTO_IP, libc::IP_TTL) => Name::Ttl,
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => Name::MtuDiscover,
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => Name::NoDelay,
        (libc::IPPROTO_TCP, libc::TCP_CORK) => Name::Cork,
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => Name::QuickAck,
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => Name::KeepIdle,
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => Name::KeepInterval,
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => Name::KeepCount,
        (libc::IPPROTO_TCP, libc::TCP_LINGER2) => Name::Linger2,
        (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => Name::DeferAccept,
        (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => Name::SynCount,
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => Name::UserTimeout,
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => Name::MaxSegment,
        (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) => Name::WindowClamp,
        (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT) => Name::NotSentLowat,
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => Name::Congestion,
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN) => Name::FastOpen,
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) => Name::FastOpenConnect,
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_NO_COOKIE) => Name::FastOpenNoCookie,
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY) => Name::FastOpenKey,
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// An option's value as the integer that Linux gives.
fn number_of(option: TcpOption) -> i32 {
    match option {
        TcpOption::NoDelay(on)
        | TcpOption::Cork(on)
        | TcpOption::QuickAck(on)
        | TcpOption::KeepAlive(on)
        | TcpOption::FastOpenConnect(on)
        | TcpOption::FastOpenNoCookie(on)
        | TcpOption::OobInline(on)
        | TcpOption::ZeroCopy(on)
        | TcpOption::ReceiveErrors(on)
        | TcpOption::ReuseAddr(on)
        | TcpOption::ReusePort(on) => i32::from(on),
        TcpOption::KeepIdle(value)
        | TcpOption::KeepInterval(value)
        | TcpOption::KeepCount(value)
        | TcpOption::DeferAccept(value)
        | TcpOption::SynCount(value)
        | TcpOption::UserTimeout(value)
        | TcpOption::MaxSegment(value)
        | TcpOption::WindowClamp(value)
        | TcpOption::NotSentLowat(value)
        | TcpOption::ReceiveBuffer(value)
        | TcpOption::SendBuffer(value)
        | TcpOption::FastOpen(value)
        | TcpOption::ReceiveLowat(value) => value.cast_signed(),
        TcpOption::MtuDiscover(mode) => mode as i32,
        TcpOption::Linger2(value) => value,
        TcpOption::Tos(value) | TcpOption::Ttl(value) => i32::from(value),
        // These have forms of their own.
        TcpOption::Linger(_)
        | TcpOption::Congestion(_)
        | TcpOption::BindToInterface(_)
        | TcpOption::TxStamps(_)
        | TcpOption::FastOpenKey(_) => 0,
    }
}
