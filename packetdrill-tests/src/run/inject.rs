//! Lines with `<`: packets from the peer.

use std::net::SocketAddr;

use super::flow::FlowId;
use super::wire::{Datagram, Segment, Transport};
use super::{Outcome, Runner, pattern};
use crate::ast::{Body, Echoed, Flags, Icmp, Packet, Pos, Tcp, Tos};
use crate::report::Failure;

/// TTL of injected packets.
const TTL: u8 = 255;

impl Runner<'_> {
    pub(super) fn inject(&mut self, pos: Pos, packet: &Packet) -> Outcome {
        refuse_encapsulation(pos, packet)?;
        let (flow, transport) = match &packet.body {
            Body::Tcp(tcp) => {
                let isn = tcp.flags.has(Flags::SYN).then_some(tcp.seq);
                let flow = self.flows.of_inbound(packet, isn);
                let mut segment = script_segment(tcp);
                let shown = Transport::Tcp(segment.clone());
                self.note(format!("< {}", self.datagram(flow, packet, shown)));
                self.flows
                    .get_mut(flow)
                    .map_inbound(&mut segment, self.config.ts_ecr_scaled)
                    .map_err(|message| Failure::error(pos, message))?;
                (flow, Transport::Tcp(segment))
            }
            Body::Udp(len) => {
                let flow = self.flows.of_inbound(packet, None);
                let payload = pattern::bytes(0, usize::from(*len));
                (flow, Transport::Udp(payload))
            }
            Body::Icmp(icmp) => {
                let flow = self.flows.of_inbound(packet, None);
                (flow, self.icmp(pos, flow, icmp)?)
            }
        };
        let datagram = self.datagram(flow, packet, transport);
        if !matches!(packet.body, Body::Tcp(_)) {
            self.note(format!("< {datagram}"));
        }
        let bytes = datagram
            .encode()
            .map_err(|message| Failure::error(pos, message))?;
        let result = self.target.inject(bytes);
        result.map_err(|message| Failure::error(pos, message))?;
        self.pump()
    }

    fn datagram(&self, flow: FlowId, packet: &Packet, transport: Transport) -> Datagram {
        let addresses = &self.config.addresses;
        let ports = match transport {
            Transport::Icmp { .. } => (0, 0),
            _ => {
                let live = self.flows.get(flow).live;
                (live.remote, live.local)
            }
        };
        Datagram {
            source: SocketAddr::new(addresses.remote.ip(), ports.0),
            destination: SocketAddr::new(addresses.local.ip(), ports.1),
            tos: match packet.ip.tos {
                Some(Tos::Ecn(bits)) => bits,
                Some(Tos::Byte(byte)) => byte,
                Some(Tos::Ect01) => 2,
                None => 0,
            },
            ttl: packet.ip.ttl.unwrap_or(TTL),
            transport,
        }
    }

    /// An ICMP message; an error quotes the IP header and eight bytes of a segment that we sent.
    fn icmp(&self, pos: Pos, flow: FlowId, icmp: &Icmp) -> Outcome<Transport> {
        let mut rest = [0; 4];
        if let Some(mtu) = icmp.mtu {
            rest[2..].copy_from_slice(&mtu.to_be_bytes());
        }
        if let Some(id) = icmp.id {
            rest[..2].copy_from_slice(&id.to_be_bytes());
        }
        let is_error = matches!(icmp.kind, 3 | 4 | 5 | 11 | 12);
        let payload = if is_error {
            self.quote(pos, flow, icmp)?
        } else {
            Vec::new()
        };
        Ok(Transport::Icmp {
            kind: icmp.kind,
            code: icmp.code,
            rest,
            payload,
        })
    }

    fn quote(&self, pos: Pos, flow: FlowId, icmp: &Icmp) -> Outcome<Vec<u8>> {
        const EIGHT: usize = 8;
        let (flow, addresses) = (self.flows.get(flow), &self.config.addresses);
        let transport = match icmp.echoed {
            Some(Echoed::Udp(len)) => Transport::Udp(vec![0; usize::from(len)]),
            // Eight bytes of anything: no transport takes it for its own.
            Some(Echoed::Raw(_)) => {
                let message = "an ICMP error about a packet of no transport is not supported";
                return Err(Box::new(Failure::error(pos, message)));
            }
            tcp => {
                let (seq, len) = match tcp {
                    Some(Echoed::Tcp(seq, len)) => (seq, len),
                    _ => (0, 0),
                };
                Transport::Tcp(Segment {
                    flags: Flags(Flags::ACK),
                    // Without an excerpt in the script, it is what we sent last.
                    seq: match tcp {
                        Some(Echoed::Tcp(..)) => flow.our_seq(seq),
                        _ => flow.last_sent(),
                    },
                    payload: vec![0; usize::from(len)],
                    ..Segment::default()
                })
            }
        };
        let quoted = Datagram {
            source: SocketAddr::new(addresses.local.ip(), flow.live.local),
            destination: SocketAddr::new(addresses.remote.ip(), flow.live.remote),
            tos: 0,
            ttl: 64,
            transport,
        };
        let mut bytes = quoted
            .encode()
            .map_err(|message| Failure::error(pos, message))?;
        let header = if addresses.local.is_ipv4() { 20 } else { 40 };
        bytes.truncate(header + EIGHT);
        Ok(bytes)
    }
}

/// The stacks under test have no tunnels.
pub(super) fn refuse_encapsulation(pos: Pos, packet: &Packet) -> Outcome {
    match packet.encapsulation.first() {
        None => Ok(()),
        Some(header) => {
            let message = format!("{} encapsulation: the stack has no tunnels", header.name());
            Err(Box::new(Failure::error(pos, message)))
        }
    }
}

/// A line's segment, its numbers still the script's.
fn script_segment(tcp: &Tcp) -> Segment {
    // Data starts one after the number of a SYN; all other numbers count from the SYN's.
    let offset = if tcp.flags.has(Flags::SYN) {
        0
    } else {
        u64::from(tcp.seq.wrapping_sub(1))
    };
    Segment {
        flags: tcp.flags,
        seq: tcp.seq,
        ack: tcp.ack.unwrap_or(0),
        win: tcp.win.unwrap_or(0),
        urg: tcp.urg.unwrap_or(0),
        options: tcp.options.clone().unwrap_or_default(),
        payload: pattern::bytes(offset, usize::from(tcp.len)),
    }
}
