//! What a script says, after parsing: options, set-up commands, and timed events.

/// A place in a script, for messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pos {
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub column: u32,
}

/// Microseconds: script times, relative to the start of the script or to another event.
pub type Micros = i64;

/// A whole script.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// `--name=value` lines, in order.
    pub options: Vec<OptionLine>,
    /// The command in backticks before the first event.
    pub init: Option<Command>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// The command in backticks after the last event.
    pub cleanup: Option<Command>,
}

/// `--name` or `--name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionLine {
    /// The name without its dashes.
    pub name: String,
    /// What follows the equals sign.
    pub value: Option<String>,
    /// Where it stands.
    pub pos: Pos,
}

/// Shell text in backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The text, line breaks included.
    pub text: String,
    /// Where it starts.
    pub pos: Pos,
}

/// One thing that happens, or is expected to happen, at a time.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: When,
    /// What.
    pub action: Action,
    /// Where its time stands.
    pub pos: Pos,
}

/// The time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `0.5`: since the start of the script.
    At(Micros),
    /// `+0.5`: after the event before.
    After(Micros),
    /// `0.5~0.6`.
    Between(Micros, Micros),
    /// `+0.5~+0.6`.
    AfterBetween(Micros, Micros),
    /// `*`: whenever it happens.
    Any,
}

/// What an event does.
#[derive(Clone, Debug)]
pub enum Action {
    /// A packet to inject or to expect.
    Packet(Packet),
    /// A system call with its expected result.
    Call(Call),
    /// A command in backticks.
    Command(Command),
    /// A `%{ }%` block.
    Code(Command),
}

/// Which way a packet travels, seen from the stack under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `<`: the runner injects it.
    In,
    /// `>`: the stack is expected to send it.
    Out,
}

/// A packet line.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Injected or expected.
    pub direction: Direction,
    /// What is said of the IP header.
    pub ip: IpInfo,
    /// Headers around it, the outermost first.
    pub encapsulation: Vec<Encapsulation>,
    /// Source and destination port, if the line names its flow.
    pub ports: Option<(u16, u16)>,
    /// The transport part.
    pub body: Body,
}

/// A header around a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// `ipv4 1.2.3.4 > 5.6.7.8:` or `ipv6 ...`.
    Ip {
        /// Sender.
        source: std::net::IpAddr,
        /// Receiver.
        destination: std::net::IpAddr,
    },
    /// `gre flags [key present],sum 0,off 0,key=1,seq 0:` (RFC 2784, RFC 2890).
    Gre {
        /// The flag bits of its first 16.
        flags: u16,
        /// Checksum.
        sum: u16,
        /// Offset.
        offset: u16,
        /// Key.
        key: u32,
        /// Sequence number.
        sequence: u32,
    },
    /// `mpls (label 1,tc 0,[S],ttl 64):` (RFC 3032).
    Mpls(Vec<MplsEntry>),
}

impl Encapsulation {
    /// Its name in scripts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ip { source, .. } if source.is_ipv4() => "ipv4",
            Self::Ip { .. } => "ipv6",
            Self::Gre { .. } => "gre",
            Self::Mpls(_) => "mpls",
        }
    }
}

/// An entry of an MPLS label stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MplsEntry {
    /// Label, 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits.
    pub class: u8,
    /// It is the last.
    pub bottom: bool,
    /// Time to live.
    pub ttl: u8,
}

/// What a script says of the IP header; what it leaves out is not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpInfo {
    /// The ECN bits or the whole TOS byte.
    pub tos: Option<Tos>,
    /// Time to live.
    pub ttl: Option<u8>,
}

/// The part of the TOS byte that a script names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tos {
    /// The two ECN bits.
    Ecn(u8),
    /// ECT(0) or ECT(1).
    Ect01,
    /// The whole byte.
    Byte(u8),
}

/// The transport part of a packet line.
#[derive(Clone, Debug)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram with that many bytes of payload.
    Udp(u16),
    /// An ICMP message.
    Icmp(Icmp),
}

/// TCP flags, as the bits of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// FIN.
    pub const FIN: u16 = 0x01;
    /// SYN.
    pub const SYN: u16 = 0x02;
    /// RST.
    pub const RST: u16 = 0x04;
    /// PSH.
    pub const PSH: u16 = 0x08;
    /// ACK.
    pub const ACK: u16 = 0x10;
    /// URG.
    pub const URG: u16 = 0x20;
    /// ECE.
    pub const ECE: u16 = 0x40;
    /// CWR.
    pub const CWR: u16 = 0x80;
    /// AE (RFC 9768).
    pub const AE: u16 = 0x100;

    /// Letters of the language in the order in which it writes them, with their bits.
    pub const LETTERS: [(char, u16); 9] = [
        ('F', Self::FIN),
        ('S', Self::SYN),
        ('R', Self::RST),
        ('P', Self::PSH),
        ('U', Self::URG),
        ('E', Self::ECE),
        ('W', Self::CWR),
        ('A', Self::AE),
        ('.', Self::ACK),
    ];

    /// True if all of `bits` are set.
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

/// A TCP segment as the script writes it: numbers in script space.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Header flags.
    pub flags: Flags,
    /// First sequence number.
    pub seq: u32,
    /// Payload bytes.
    pub len: u16,
    /// Acknowledgement number, if given.
    pub ack: Option<u32>,
    /// Window field (unscaled), if given.
    pub win: Option<u16>,
    /// Urgent pointer, if given.
    pub urg: Option<u16>,
    /// The options; `None` is `<...>`: whatever they are.
    pub options: Option<Vec<TcpOption>>,
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// `nop`.
    Nop,
    /// `eol`.
    Eol,
    /// `mss 1460`.
    Mss(u16),
    /// `wscale 7`.
    WindowScale(u8),
    /// `sackOK`.
    SackPermitted,
    /// `sack 1:1001 2001:3001`.
    Sack(Vec<(u32, u32)>),
    /// `TS val 100 ecr 0`.
    Timestamp {
        /// The sender's clock.
        val: u32,
        /// The echoed clock.
        ecr: u32,
    },
    /// `md5 a1b2...`: the digest of TCP-MD5 (RFC 2385).
    Md5(Vec<u8>),
    /// `TCP-AO 1 2 a1b2...`: key identifiers and the code (RFC 5925).
    Ao {
        /// The key that it was made with.
        key_id: u8,
        /// The key that the sender would like to be sent.
        next_key_id: u8,
        /// The message authentication code.
        mac: Vec<u8>,
    },
    /// `ECN e0b 1 ceb 0 e1b 1`: byte counters of accurate ECN (RFC 9768).
    AccEcn {
        /// ECT(1) comes first.
        e1b_first: bool,
        /// The counters in their order, 24 bits each; the last may be left out.
        counters: Vec<u32>,
    },
    /// `FO a1b2...`: the cookie, empty for a request.
    FastOpen(Vec<u8>),
    /// `FOEXP a1b2...`: the same in the experimental option 254 with magic 0xF989.
    FastOpenExp(Vec<u8>),
    /// Anything else seen on the wire: kind and data.
    Unknown(u8, Vec<u8>),
}

/// An ICMP message about a packet that the stack sent, or an echo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type number.
    pub kind: u8,
    /// Code number.
    pub code: u8,
    /// Next-hop MTU of "fragmentation needed".
    pub mtu: Option<u16>,
    /// Echo identifier.
    pub id: Option<u16>,
    /// The packet that it complains about.
    pub echoed: Option<Echoed>,
}

/// The packet of ours that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echoed {
    /// A TCP segment: sequence number and payload length.
    Tcp(u32, u16),
    /// A UDP datagram: payload length.
    Udp(u16),
    /// That many bytes of no transport that is known.
    Raw(u16),
}

/// A system call.
#[derive(Clone, Debug)]
pub struct Call {
    /// For a blocking call, when it is expected to return (on the event's own time base).
    pub end: Option<Micros>,
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// The expected return value.
    pub result: Expr,
    /// The expected error name after `= -1`.
    pub errno: Option<String>,
}

/// An argument or result.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `...`: not looked at, or supplied by the runner.
    Ellipsis,
    /// A number.
    Int(i64),
    /// A string.
    Str(Vec<u8>),
    /// A symbol such as `SOL_SOCKET`.
    Word(String),
    /// `A | B`.
    Or(Box<Expr>, Box<Expr>),
    /// `[1, 2]`: what a pointer points to.
    Array(Vec<Expr>),
    /// `{onoff=1, linger=0}`; a nameless entry has an empty name.
    Struct(Vec<(String, Expr)>),
    /// `htons(80)`, `inet_addr("...")`.
    Apply(String, Vec<Expr>),
}
