//! What a capture says about TCP connections: read with a decoder of its own, not with netstack's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::shared::capture::Frame;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;

/// What netstack announces with its default receive buffer of 6 MiB, whatever the machine's settings.
const OWN_WINDOW_SCALE: u8 = 7;

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Direction {
    /// Sequence number of the SYN, and the shift of its window scale option.
    pub(crate) syn: Option<(u32, Option<u8>)>,
    /// Bytes of data in all segments.
    pub(crate) data: u64,
    /// Data began right after the SYN's sequence number.
    pub(crate) in_sequence: bool,
    pub(crate) fin: bool,
    /// All came from the kernel; none did.
    pub(crate) from_kernel: Option<bool>,
    /// Segments whose IP identification is not zero.
    pub(crate) numbered: u64,
}

/// A connection: the sandbox's direction and the machine's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) sandbox: Direction,
    pub(crate) machine: Direction,
}

/// The connections of `sandbox`, by the port of the sandbox and the other end.
#[derive(Debug)]
pub(crate) struct Flows {
    sandbox: Ipv4Addr,
    flows: BTreeMap<(u16, SocketAddrV4), Flow>,
}

impl Flows {
    pub(crate) fn new(sandbox: Ipv4Addr) -> Self {
        let flows = BTreeMap::new();
        Self { sandbox, flows }
    }

    pub(crate) fn add(&mut self, frames: &[Frame]) {
        for frame in frames {
            self.add_segment(frame);
        }
    }

    /// Connections whose server has the port `port`, on either side.
    pub(crate) fn of(&self, port: u16) -> impl Iterator<Item = &Flow> {
        self.flows
            .iter()
            .filter(move |((own, peer), _)| *own == port || peer.port() == port)
            .map(|(_, flow)| flow)
    }

    fn add_segment(&mut self, frame: &Frame) -> Option<()> {
        let segment = Segment::parse(frame)?;
        let by_sandbox = *segment.src.ip() == self.sandbox;
        let (own, peer) = match (by_sandbox, *segment.dst.ip() == self.sandbox) {
            (true, false) => (segment.src, segment.dst),
            (false, true) => (segment.dst, segment.src),
            _ => return None,
        };
        let flow = self.flows.entry((own.port(), peer)).or_default();
        let direction = match by_sandbox {
            true => &mut flow.sandbox,
            false => &mut flow.machine,
        };
        direction.add(&segment, frame.from_kernel);
        Some(())
    }
}

impl Direction {
    fn add(&mut self, segment: &Segment, from_kernel: bool) {
        if segment.flags & SYN != 0 {
            self.syn = Some((segment.seq, segment.window_scale));
        }
        if segment.data > 0 {
            let first = self.syn.map(|(isn, _)| isn.wrapping_add(1));
            self.in_sequence |= first == Some(segment.seq);
            self.data += segment.data;
        }
        self.fin |= segment.flags & FIN != 0;
        self.numbered += u64::from(segment.identification != 0);
        // A mixture would be both stacks at one address.
        let mixed = self.from_kernel.is_some_and(|before| before != from_kernel);
        assert!(!mixed, "two stacks speak for one address: {segment:?}");
        self.from_kernel = Some(from_kernel);
    }

    /// SYN, data right after it, and FIN were seen.
    fn whole(&self) -> bool {
        self.syn.is_some() && self.data > 0 && self.in_sequence && self.fin
    }
}

impl Flow {
    /// Data went both ways.
    pub(crate) fn used(&self) -> bool {
        self.sandbox.data > 0 && self.machine.data > 0
    }

    /// Seen from SYN to FIN in both directions.
    pub(crate) fn whole(&self) -> bool {
        self.sandbox.whole() && self.machine.whole()
    }

    /// The sandbox's side came in from the device and looks like netstack: its window scale, and no IP
    /// identification (RFC 6864, 4.1); Linux numbers the data segments of its sockets
    /// (`ip_select_ident_segs`). The machine's side has to look like Linux.
    pub(crate) fn by_netstack(&self) -> bool {
        let Some((_, scale)) = self.sandbox.syn else {
            return false;
        };
        self.sandbox.from_kernel == Some(false)
            && self.sandbox.numbered == 0
            && scale == Some(OWN_WINDOW_SCALE)
            && self.machine.from_kernel == Some(true)
            && self.machine.numbered > 0
    }
}

#[derive(Debug)]
struct Segment {
    src: SocketAddrV4,
    dst: SocketAddrV4,
    identification: u16,
    seq: u32,
    flags: u8,
    data: u64,
    window_scale: Option<u8>,
}

impl Segment {
    /// The segment in a frame, if it is one of IPv4.
    fn parse(frame: &Frame) -> Option<Self> {
        let ip = frame.bytes.get(frame.network..)?;
        if frame.network == 14 && frame.bytes[12..14] != [8, 0] {
            return None;
        }
        let be16 = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let header = usize::from(ip.first()? & 15) * 4;
        let tcp = ip.get(header..)?;
        if ip[0] >> 4 != 4 || *ip.get(9)? != 6 || tcp.len() < 20 {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let offset = usize::from(tcp[12] >> 4) * 4;
        Some(Self {
            src: SocketAddrV4::new(address(12), be16(tcp, 0)),
            dst: SocketAddrV4::new(address(16), be16(tcp, 2)),
            identification: be16(ip, 4),
            seq: u32::from_be_bytes(tcp[4..8].try_into().ok()?),
            flags: tcp[13],
            data: u64::from(be16(ip, 2)).saturating_sub((header + offset) as u64),
            window_scale: window_scale(tcp.get(20..offset)?),
        })
    }
}

/// The shift in the window scale option (RFC 7323, 2.2).
fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        match *options {
            [3, 3, shift, ..] => return Some(shift),
            [1, ref rest @ ..] => options = rest,
            [kind, len, ..] if kind != 0 && len >= 2 => {
                options = options.get(usize::from(len)..)?
            }
            _ => return None,
        }
    }
}
