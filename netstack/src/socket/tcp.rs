//! TCP sockets: options, `tcp_info`, ways to shut down.

use std::net::SocketAddr;

use bitflags::bitflags;

use crate::network::IfaceId;
use crate::time::Duration;
use crate::transport::tcp::{CongestionKind, FastOpenKeys};

/// Directions of `shutdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownHow {
    /// SHUT_RD.
    Receive,
    /// SHUT_WR.
    Send,
    /// SHUT_RDWR.
    Both,
}

impl ShutdownHow {
    /// True if no more is to be received.
    pub fn receive(self) -> bool {
        self != Self::Send
    }

    /// True if no more is to be sent.
    pub fn send(self) -> bool {
        self != Self::Receive
    }
}

/// How data is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendHow {
    /// More will follow at once (MSG_MORE): a last, partial segment is held back.
    pub more: bool,
    /// The record ends here (MSG_EOR).
    pub end_of_record: bool,
    /// The data is urgent up to its last byte (MSG_OOB).
    pub urgent: bool,
    /// Tell when the data is acknowledged (MSG_ZEROCOPY; it is copied all the same).
    pub zero_copy: bool,
    /// More of the same call follows: receipts wait for its end.
    pub partial: bool,
    /// Connect first, with the data on the SYN if that can be (MSG_FASTOPEN).
    pub fast_open: bool,
    /// Where to connect to then.
    pub to: Option<SocketAddr>,
    /// The writer waits, and sends what is left as soon as it can (a blocking call).
    pub waits: bool,
}

bitflags! {
    /// Which timestamps of what is sent go to the error queue.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TxStamps: u8 {
        /// When it entered the transmit queue.
        const SCHEDULED = 0x01;
        /// When it was handed to the device.
        const SENT = 0x02;
        /// When it was acknowledged.
        const ACKNOWLEDGED = 0x04;
        /// All of these.
        const STAGES = 0x07;
        /// Each names its last byte, counted from when this was switched on.
        const NUMBERED = 0x08;
        /// Counted from what had been written then, and not from what had been acknowledged.
        const NUMBERED_FROM_WRITTEN = 0x10;
    }
}

/// What recv(MSG_OOB) finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrgentRead {
    /// The urgent byte.
    Byte(u8),
    /// The stream has ended before it.
    End,
}

/// IP_MTU_DISCOVER: whether packets carry DF. Segments follow what routers say of the path in every mode
/// (Linux lets them be fragmented in some).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of Linux's IP_PMTUDISC_")]
pub enum MtuDiscover {
    Dont = 0,
    #[default]
    Want = 1,
    Do = 2,
    Probe = 3,
    Interface = 4,
    Omit = 5,
}

impl MtuDiscover {
    /// The mode of a number.
    pub fn from_number(number: i32) -> Option<Self> {
        const ALL: [MtuDiscover; 6] = [
            MtuDiscover::Dont,
            MtuDiscover::Want,
            MtuDiscover::Do,
            MtuDiscover::Probe,
            MtuDiscover::Interface,
            MtuDiscover::Omit,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// True if packets carry DF (Linux `ip_dont_fragment`).
    pub(crate) fn dont_fragment(self) -> bool {
        matches!(self, Self::Want | Self::Do | Self::Probe)
    }
}

/// An option with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// TCP_NODELAY.
    NoDelay(bool),
    /// TCP_CORK.
    Cork(bool),
    /// TCP_QUICKACK.
    QuickAck(bool),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// TCP_KEEPIDLE in seconds (1 to 32767).
    KeepIdle(u32),
    /// TCP_KEEPINTVL in seconds (1 to 32767).
    KeepInterval(u32),
    /// TCP_KEEPCNT (1 to 127).
    KeepCount(u32),
    /// SO_LINGER; `None` is off.
    Linger(Option<Duration>),
    /// TCP_LINGER2 in seconds; negative: no FIN-WAIT-2 for orphans; 0: the setting.
    Linger2(i32),
    /// TCP_DEFER_ACCEPT in seconds; read back rounded up to SYN-ACK timeouts.
    DeferAccept(u32),
    /// TCP_SYNCNT (1 to 127).
    SynCount(u32),
    /// TCP_USER_TIMEOUT in milliseconds; 0 is off.
    UserTimeout(u32),
    /// TCP_MAXSEG in bytes (88 to 32767, or 0).
    MaxSegment(u32),
    /// TCP_WINDOW_CLAMP in bytes; 0 is off.
    WindowClamp(u32),
    /// TCP_NOTSENT_LOWAT in bytes; 0: the setting.
    NotSentLowat(u32),
    /// TCP_CONGESTION.
    Congestion(CongestionKind),
    /// SO_REUSEADDR.
    ReuseAddr(bool),
    /// SO_REUSEPORT.
    ReusePort(bool),
    /// SO_RCVBUF in bytes: set as asked for, read back doubled, as Linux does.
    ReceiveBuffer(u32),
    /// SO_SNDBUF in bytes: likewise.
    SendBuffer(u32),
    /// SO_RCVLOWAT in bytes.
    ReceiveLowat(u32),
    /// SO_ZEROCOPY: calls with [`SendHow::zero_copy`] get receipts on the error queue.
    ZeroCopy(bool),
    /// SO_TIMESTAMPING of what is sent.
    TxStamps(TxStamps),
    /// IP_RECVERR: an ICMP error about the connection is reported at once.
    ReceiveErrors(bool),
    /// SO_OOBINLINE: urgent data stays in the stream.
    OobInline(bool),
    /// IP_TOS.
    Tos(u8),
    /// IP_TTL; 0: the stack's default.
    Ttl(u8),
    /// SO_BINDTODEVICE.
    BindToInterface(Option<IfaceId>),
    /// IP_MTU_DISCOVER.
    MtuDiscover(MtuDiscover),
    /// TCP_FASTOPEN: connections that a listener may have without a finished handshake.
    FastOpen(u32),
    /// TCP_FASTOPEN_CONNECT.
    FastOpenConnect(bool),
    /// TCP_FASTOPEN_NO_COOKIE.
    FastOpenNoCookie(bool),
    /// TCP_FASTOPEN_KEY.
    FastOpenKey(FastOpenKeys),
}

/// The names of the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each names the variant of `TcpOption` that documents it"
)]
pub enum TcpOptionName {
    NoDelay,
    Cork,
    QuickAck,
    KeepAlive,
    KeepIdle,
    KeepInterval,
    KeepCount,
    Linger,
    Linger2,
    DeferAccept,
    SynCount,
    UserTimeout,
    MaxSegment,
    WindowClamp,
    NotSentLowat,
    Congestion,
    ReuseAddr,
    ReusePort,
    ReceiveBuffer,
    SendBuffer,
    ReceiveLowat,
    ZeroCopy,
    TxStamps,
    ReceiveErrors,
    OobInline,
    Tos,
    Ttl,
    BindToInterface,
    MtuDiscover,
    FastOpen,
    FastOpenConnect,
    FastOpenNoCookie,
    FastOpenKey,
}

/// States by their Linux numbers (`tcpi_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the states of RFC 9293, 3.3.2")]
#[repr(u8)]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    #[default]
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

/// The values of Linux's `struct tcp_info`, under its names without `tcpi_`. Times in microseconds
/// where Linux has microseconds, in milliseconds where it has milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names are those of Linux's struct tcp_info"
)]
pub struct TcpInfo {
    pub state: TcpState,
    /// 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss.
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    /// TCPI_OPT_TIMESTAMPS 1, SACK 2, WSCALE 4, ECN 8, ECN_SEEN 16, SYN_DATA 32, TFO_CHILD 128.
    pub options: u8,
    /// Why Fast Open did not work out: 1 no cookie, 2 data not acknowledged, 3 SYN repeated.
    pub fastopen_client_fail: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    /// On a listener: the length of the accept queue.
    pub unacked: u32,
    /// On a listener: its bound.
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub last_data_sent: u32,
    pub last_data_recv: u32,
    pub last_ack_recv: u32,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    /// Bytes per second.
    pub delivery_rate: u64,
    /// The application was the limit of it.
    pub delivery_rate_app_limited: bool,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
}
