//! Segments as the engine handles them: a checked one coming in, a reply or data going out.

use std::net::{IpAddr, SocketAddr};

use super::Cx;
use super::flow::FlowKey;
use super::seq::Seq;
use crate::buf::{Bytes, GsoKind};
use crate::error::SocketError;
use crate::network::{IfaceId, IpMeta, TransportOut, proto};
use crate::socket::tcp::MtuDiscover;
use crate::time::Instant;
use crate::wire::WireError;
use crate::wire::checksum::Checksum;
use crate::wire::tcp::{CHECKSUM_OFFSET, HEADER_LEN_MAX, TcpFlags, TcpOptions, TcpRepr, TcpView};
use smallvec::SmallVec;

/// Payload ranges of one outgoing segment.
pub(super) type Body = SmallVec<[Bytes; 4]>;

/// A received segment whose lengths and checksum are right.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Sequence number of the first thing in it (SYN, byte or FIN).
    pub(super) seq: Seq,
    /// Acknowledgement number, if the ACK bit is set.
    pub(super) ack: Seq,
    /// Control bits.
    pub(super) flags: TcpFlags,
    /// Window field, unscaled.
    pub(super) window: u16,
    /// Urgent pointer.
    pub(super) urgent: u16,
    /// Options.
    pub(super) options: TcpOptions,
    /// Data.
    pub(super) payload: Bytes,
    /// When the link saw it.
    pub(super) arrival: Instant,
    /// Original segments that the link merged into this one.
    pub(super) merged: u32,
    /// ECN bits of the IP header.
    pub(super) ecn: u8,
}

impl Segment {
    /// Checks and reads a segment.
    ///
    /// # Errors
    /// `Truncated`, `BadLength` or `BadChecksum`.
    pub(super) fn parse(meta: &IpMeta, bytes: &Bytes) -> Result<(Self, FlowKey), WireError> {
        let view = TcpView::new(bytes)?;
        if !meta.checksum_valid {
            // An IP packet has at most 64 KiB.
            let len = bytes.len() as u32;
            let mut sum = Checksum::pseudo(meta.src, meta.dst, proto::TCP, len);
            sum.add_bytes(bytes);
            if !sum.is_valid() {
                return Err(WireError::BadChecksum);
            }
        }
        let repr = TcpRepr::parse(&view);
        let payload = bytes.slice(view.header_len()..);
        let merged = match meta.gro_size {
            0 => 1,
            size => (payload.len() as u32).div_ceil(u32::from(size)).max(1),
        };
        let key = FlowKey {
            local: SocketAddr::new(meta.dst, repr.dst_port),
            remote: SocketAddr::new(meta.src, repr.src_port),
        };
        let segment = Self {
            seq: Seq(repr.seq),
            ack: Seq(repr.ack),
            flags: repr.flags,
            window: repr.window,
            urgent: repr.urgent,
            options: repr.options,
            payload,
            arrival: meta.arrival,
            merged,
            ecn: super::ecn::bits(meta.tos),
        };
        Ok((segment, key))
    }

    pub(super) fn has(&self, flags: TcpFlags) -> bool {
        self.flags.contains(flags)
    }

    pub(super) fn syn(&self) -> bool {
        self.has(TcpFlags::SYN)
    }

    pub(super) fn fin(&self) -> bool {
        self.has(TcpFlags::FIN)
    }

    pub(super) fn rst(&self) -> bool {
        self.has(TcpFlags::RST)
    }

    pub(super) fn is_ack(&self) -> bool {
        self.has(TcpFlags::ACK)
    }

    /// Length in sequence space: SYN and FIN count one each.
    pub(super) fn seq_len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.syn()) + u32::from(self.fin())
    }

    /// The sequence number after the last thing in it.
    pub(super) fn end(&self) -> Seq {
        self.seq + self.seq_len()
    }
}

/// What the IP header of an outgoing segment says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IpOptions {
    /// TOS byte.
    pub(super) tos: u8,
    /// TTL; 0 for the stack's default.
    pub(super) ttl: u8,
    /// The interface that the socket is bound to.
    pub(super) iface: Option<IfaceId>,
    /// IP_MTU_DISCOVER.
    pub(super) mtu_discover: MtuDiscover,
}

/// An outgoing segment without its ports.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    pub(super) flags: TcpFlags,
    pub(super) window: u16,
    /// Urgent pointer.
    pub(super) urgent: u16,
    pub(super) options: TcpOptions,
    pub(super) body: Body,
    /// Payload bytes per segment, if the body is longer than that; else 0.
    pub(super) gso_size: u16,
}

impl Outgoing {
    /// Emits the segment on the flow `key`.
    ///
    /// # Errors
    /// As [`crate::network::IpOutput::output`]; nothing was sent then.
    pub(super) fn send(
        self,
        cx: &mut Cx<'_>,
        key: &FlowKey,
        ip: IpOptions,
    ) -> Result<(), SocketError> {
        let repr = TcpRepr {
            src_port: key.local.port(),
            dst_port: key.remote.port(),
            seq: self.seq.0,
            ack: self.ack.0,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: self.options,
        };
        let mut header = [0; HEADER_LEN_MAX];
        let len = repr.header_len();
        repr.emit(&mut header[..len]);
        let gso_kind = match (self.gso_size, key.local.ip()) {
            (0, _) => GsoKind::None,
            (_, IpAddr::V4(_)) => GsoKind::Tcp4,
            (_, IpAddr::V6(_)) => GsoKind::Tcp6,
        };
        let payload: usize = self.body.iter().map(Bytes::len).sum();
        let segments = match self.gso_size {
            0 => 1,
            size => payload.div_ceil(usize::from(size)) as u64,
        };
        cx.out.output(TransportOut {
            src: key.local.ip(),
            dst: key.remote.ip(),
            iface: ip.iface,
            proto: proto::TCP,
            tos: ip.tos,
            ttl: ip.ttl,
            dont_fragment: ip.mtu_discover.dont_fragment(),
            header: &header[..len],
            checksum_offset: CHECKSUM_OFFSET,
            body: self.body,
            gso_size: self.gso_size,
            gso_kind,
        })?;
        cx.stats.out_segs += segments;
        if self.flags.contains(TcpFlags::RST) {
            cx.stats.out_rsts += 1;
        }
        Ok(())
    }
}

/// Answers `segment` with a reset (RFC 9293, section 3.10.7.1); a reset itself is never answered.
/// A full transmit queue drops it: the peer's next segment brings another.
pub(super) fn send_reset(cx: &mut Cx<'_>, key: &FlowKey, segment: &Segment, ip: IpOptions) {
    if segment.rst() {
        return;
    }
    let reset = if segment.is_ack() {
        Outgoing {
            seq: segment.ack,
            flags: TcpFlags::RST,
            ..Outgoing::default()
        }
    } else {
        Outgoing {
            ack: segment.end(),
            flags: TcpFlags::RST | TcpFlags::ACK,
            ..Outgoing::default()
        }
    };
    // Unreachable peers and full queues are the network's affair: a reset is best effort.
    let _ = reset.send(cx, key, ip);
}
