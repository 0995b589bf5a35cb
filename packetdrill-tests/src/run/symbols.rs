//! Names of constants, as scripts write them.

use nix::errno::Errno;

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), libc::$name as i64)),*]
    };
}

/// Constants that the C library names. Where it lacks one, [`EXTRA`] has it.
const LIBC: &[(&str, i64)] = names![
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    SOCK_STREAM,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_CLOEXEC,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_ICMP,
    IPPROTO_IP,
    SOL_SOCKET,
    SOL_TCP,
    SOL_IP,
    SOL_UDP,
    SO_ACCEPTCONN,
    SO_BINDTODEVICE,
    SO_BROADCAST,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_MARK,
    SO_OOBINLINE,
    SO_PRIORITY,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_RCVLOWAT,
    SO_RCVTIMEO,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SO_SNDLOWAT,
    SO_SNDTIMEO,
    SO_TIMESTAMP,
    SO_TIMESTAMPING,
    SO_TYPE,
    SO_DOMAIN,
    SO_PROTOCOL,
    SO_ZEROCOPY,
    SO_BUSY_POLL,
    SO_MAX_PACING_RATE,
    IP_TOS,
    IP_TTL,
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_RECVERR,
    IP_FREEBIND,
    IP_TRANSPARENT,
    IP_PMTUDISC_WANT,
    IP_PMTUDISC_DONT,
    IP_PMTUDISC_DO,
    IP_PMTUDISC_PROBE,
    TCP_NODELAY,
    TCP_MAXSEG,
    TCP_CORK,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_KEEPCNT,
    TCP_SYNCNT,
    TCP_LINGER2,
    TCP_DEFER_ACCEPT,
    TCP_WINDOW_CLAMP,
    TCP_INFO,
    TCP_QUICKACK,
    TCP_CONGESTION,
    TCP_MD5SIG,
    TCP_USER_TIMEOUT,
    TCP_FASTOPEN,
    TCP_FASTOPEN_CONNECT,
    TCP_FASTOPEN_KEY,
    TCP_FASTOPEN_NO_COOKIE,
    TCP_TIMESTAMP,
    TCP_NOTSENT_LOWAT,
    TCP_INQ,
    TCP_SAVE_SYN,
    TCP_SAVED_SYN,
    TCP_REPAIR,
    TCP_THIN_LINEAR_TIMEOUTS,
    TCP_THIN_DUPACK,
    O_RDONLY,
    O_WRONLY,
    O_RDWR,
    O_NONBLOCK,
    O_CLOEXEC,
    F_GETFL,
    F_SETFL,
    F_GETFD,
    F_SETFD,
    F_DUPFD,
    FD_CLOEXEC,
    SHUT_RD,
    SHUT_WR,
    SHUT_RDWR,
    MSG_OOB,
    MSG_PEEK,
    MSG_DONTROUTE,
    MSG_CTRUNC,
    MSG_TRUNC,
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_WAITALL,
    MSG_ERRQUEUE,
    MSG_NOSIGNAL,
    MSG_MORE,
    MSG_FASTOPEN,
    MSG_ZEROCOPY,
    MSG_CONFIRM,
    FIONREAD,
    POLLIN,
    POLLPRI,
    POLLOUT,
    POLLERR,
    POLLHUP,
    POLLNVAL,
    POLLRDHUP,
    POLLRDNORM,
    POLLRDBAND,
    POLLWRNORM,
    POLLWRBAND,
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLL_CTL_DEL,
    EPOLLIN,
    EPOLLOUT,
    EPOLLERR,
    EPOLLHUP,
    EPOLLRDHUP,
    EPOLLPRI,
    EPOLLET,
    EPOLLONESHOT,
    SOMAXCONN,
    INADDR_ANY
];

/// Constants of the kernel's own headers.
const EXTRA: &[(&str, i64)] = &[
    ("SIOCINQ", 0x541b),
    ("SIOCATMARK", 0x8905),
    ("SIOCOUTQNSD", 0x894b),
    ("SIOCOUTQ", 0x5411),
    ("NULL", 0),
    ("TCP_CM_INQ", 36),
    ("TCP_TX_DELAY", 37),
    ("SHUT_RDDWR", 2),
];

/// The value of a name.
pub(super) fn value(name: &str) -> Option<i64> {
    LIBC.iter()
        .chain(EXTRA)
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
        // SO_ERROR is compared with errors.
        .or_else(|| errno(name).map(|errno| errno as i64))
}

/// The error of a name.
pub(super) fn errno(name: &str) -> Option<Errno> {
    let name = match name {
        "EWOULDBLOCK" => "EAGAIN",
        "ENOTSUP" => "EOPNOTSUPP",
        "EDEADLOCK" => "EDEADLK",
        name => name,
    };
    (1..=133)
        .map(Errno::from_raw)
        .find(|errno| format!("{errno:?}") == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_values() {
        assert_eq!(value("SOL_SOCKET"), Some(1));
        assert_eq!(value("MSG_FASTOPEN"), Some(0x2000_0000));
        assert_eq!(value("ECONNREFUSED"), Some(111));
        assert_eq!(value("NO_SUCH_NAME"), None);
        assert_eq!(errno("EAGAIN"), Some(Errno::EAGAIN));
        assert_eq!(errno("EWOULDBLOCK"), Some(Errno::EAGAIN));
        assert_eq!(errno("ENOSUCH"), None);
    }
}
