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
    ("SOL_IPV6", 41),
    ("IPV6_RECVERR", 25),
    ("IPV6_TCLASS", 67),
    ("IPV6_UNICAST_HOPS", 16),
    ("SO_TIMESTAMPNS", 35),
    ("SCM_TIMESTAMP", 29),
    ("SCM_TIMESTAMPNS", 35),
    ("SCM_TIMESTAMPING", 37),
    ("SOF_TIMESTAMPING_TX_HARDWARE", 1),
    ("SOF_TIMESTAMPING_TX_SOFTWARE", 1 << 1),
    ("SOF_TIMESTAMPING_RX_HARDWARE", 1 << 2),
    ("SOF_TIMESTAMPING_RX_SOFTWARE", 1 << 3),
    ("SOF_TIMESTAMPING_SOFTWARE", 1 << 4),
    ("SOF_TIMESTAMPING_SYS_HARDWARE", 1 << 5),
    ("SOF_TIMESTAMPING_RAW_HARDWARE", 1 << 6),
    ("SOF_TIMESTAMPING_OPT_ID", 1 << 7),
    ("SOF_TIMESTAMPING_TX_SCHED", 1 << 8),
    ("SOF_TIMESTAMPING_TX_ACK", 1 << 9),
    ("SOF_TIMESTAMPING_OPT_CMSG", 1 << 10),
    ("SOF_TIMESTAMPING_OPT_TSONLY", 1 << 11),
    ("SOF_TIMESTAMPING_OPT_STATS", 1 << 12),
    ("SOF_TIMESTAMPING_OPT_PKTINFO", 1 << 13),
    ("SOF_TIMESTAMPING_OPT_TX_SWHW", 1 << 14),
    ("SOF_TIMESTAMPING_BIND_PHC", 1 << 15),
    ("SOF_TIMESTAMPING_OPT_ID_TCP", 1 << 16),
    ("SCM_TSTAMP_SND", 0),
    ("SCM_TSTAMP_SCHED", 1),
    ("SCM_TSTAMP_ACK", 2),
    ("SO_EE_ORIGIN_NONE", 0),
    ("SO_EE_ORIGIN_LOCAL", 1),
    ("SO_EE_ORIGIN_ICMP", 2),
    ("SO_EE_ORIGIN_ICMP6", 3),
    ("SO_EE_ORIGIN_TXSTATUS", 4),
    ("SO_EE_ORIGIN_TIMESTAMPING", 4),
    ("SO_EE_ORIGIN_ZEROCOPY", 5),
    ("SO_EE_CODE_ZEROCOPY_COPIED", 1),
    ("EPOLLEXCLUSIVE", 1 << 28),
    ("EPOLLWAKEUP", 1 << 29),
    ("EPOLLRDNORM", 0x40),
    ("EPOLLRDBAND", 0x80),
    ("EPOLLWRNORM", 0x100),
    ("EPOLLWRBAND", 0x200),
    ("TCP_MD5SIG_EXT", 32),
    ("TCP_ZEROCOPY_RECEIVE", 35),
    ("TCP_ULP", 31),
    ("TCP_RTO_MAX_MS", 44),
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
