//! Flows: which ports and numbers of the script stand for which on the wire.
//!
//! A line with ports names its flow; a line without means the current one, which a `socket` or
//! `listen` call leaves open for the next packet to begin. Sequence numbers of a SYN are as the script
//! writes them; all others count from the initial sequence number of their side.

use std::collections::HashMap;

use super::wire::Segment;
use crate::ast::{Direction, Flags, Packet, TcpOption};

/// Index of a flow.
pub(super) type FlowId = usize;

/// Ports: ours first, then the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) local: u16,
    pub(super) remote: u16,
}

/// One conversation.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// As the script names it; `None` for a flow without ports.
    script: Option<Ports>,
    /// On the wire.
    pub(super) live: Ports,
    /// The peer's initial sequence number (the script's own).
    remote_isn: u32,
    /// Ours, once seen, and what the script calls it.
    local_isn: Option<(u32, u32)>,
    /// Timestamps of ours: the script's value to the one on the wire.
    stamps: HashMap<u32, u32>,
    /// The first of them: script and wire.
    first_stamp: Option<(u32, u32)>,
    /// The sequence number of the peer's last SYN, and whether it may begin a new connection.
    last_syn: Option<u32>,
    reset: bool,
    /// Sequence number on the wire of the last segment of ours.
    last_sent: Option<u32>,
}

/// All flows of a script.
#[derive(Clone, Debug)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    current: Option<FlowId>,
    next_remote_port: u16,
    local_port: u16,
}

impl Flows {
    pub(super) fn new(local_port: u16) -> Self {
        Self {
            flows: Vec::new(),
            current: None,
            next_remote_port: 40_001,
            local_port,
        }
    }

    /// The next packet without ports begins a new flow.
    pub(super) fn open(&mut self) {
        self.current = None;
    }

    /// Packets without ports are about this conversation from now on, if it is known.
    pub(super) fn select(&mut self, live: Ports) {
        if let Some(id) = self.find_live(live) {
            self.current = Some(id);
        }
    }

    pub(super) fn get(&self, id: FlowId) -> &Flow {
        &self.flows[id]
    }

    pub(super) fn get_mut(&mut self, id: FlowId) -> &mut Flow {
        &mut self.flows[id]
    }

    pub(super) fn find_live(&self, live: Ports) -> Option<FlowId> {
        self.flows.iter().rposition(|flow| flow.live == live)
    }

    /// The flow of a line that injects, made if it is the first. `isn` is the sequence number of a SYN.
    pub(super) fn of_inbound(&mut self, packet: &Packet, isn: Option<u32>) -> FlowId {
        let named = packet.ports.map(|(remote, local)| Ports { local, remote });
        let found = match named {
            Some(ports) => self.find_script(ports),
            None => self.current,
        };
        if let Some(id) = found {
            return id;
        }
        let live = named.unwrap_or_else(|| {
            self.next_remote_port += 1;
            Ports {
                local: self.local_port,
                remote: self.next_remote_port - 1,
            }
        });
        self.add(named, live, isn.unwrap_or(0))
    }

    /// The flow that a line expects a packet of, if it is known already.
    pub(super) fn of_outbound(&self, packet: &Packet) -> Option<FlowId> {
        match packet.ports {
            Some((local, remote)) => self.find_script(Ports { local, remote }),
            None => self.current,
        }
    }

    /// Begins the flow of a line that expects a packet of a conversation that we open. The local port
    /// that the script writes stands for the one that was chosen.
    pub(super) fn begin_outbound(&mut self, packet: &Packet, live: Ports) -> FlowId {
        let script = packet.ports.map(|(local, remote)| Ports { local, remote });
        self.add(script, live, 0)
    }

    fn find_script(&self, ports: Ports) -> Option<FlowId> {
        let named = |flow: &Flow| flow.script == Some(ports);
        self.flows.iter().rposition(named)
    }

    fn add(&mut self, script: Option<Ports>, live: Ports, remote_isn: u32) -> FlowId {
        self.flows.push(Flow {
            script,
            live,
            remote_isn,
            local_isn: None,
            stamps: HashMap::new(),
            first_stamp: None,
            last_syn: None,
            reset: false,
            last_sent: None,
        });
        let id = self.flows.len() - 1;
        if script.is_none() {
            self.current = Some(id);
        }
        id
    }
}

impl Flow {
    /// The script's ports, where it names them, else those on the wire.
    pub(super) fn script_ports(&self) -> Ports {
        self.script.unwrap_or(self.live)
    }

    /// What a segment that the script injects looks like on the wire.
    ///
    /// # Errors
    /// It echoes a timestamp that we never sent, and `scaled` is off.
    pub(super) fn map_inbound(
        &mut self,
        segment: &mut Segment,
        scaled: bool,
    ) -> Result<(), String> {
        let syn = segment.flags.has(Flags::SYN);
        if syn {
            self.note_peer_syn(segment);
        } else {
            segment.seq = segment.seq.wrapping_add(self.remote_isn);
        }
        if segment.flags.has(Flags::RST) {
            self.reset = true;
        }
        let ours = self.local_isn.map_or(
            0,
            |(wire, script)| {
                if syn { wire.wrapping_sub(script) } else { wire }
            },
        );
        let acks = segment.flags.has(Flags::ACK);
        if acks {
            segment.ack = segment.ack.wrapping_add(ours);
        }
        for option in &mut segment.options {
            match option {
                TcpOption::Sack(blocks) => blocks.iter_mut().for_each(|(left, right)| {
                    *left = left.wrapping_add(ours);
                    *right = right.wrapping_add(ours);
                }),
                TcpOption::Timestamp { ecr, .. } if acks => *ecr = self.echo(*ecr, scaled)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn note_peer_syn(&mut self, segment: &Segment) {
        // The peer's first SYN, or its answer to ours, sets its numbers.
        if self.last_syn.is_none() {
            self.remote_isn = segment.seq;
        }
        self.last_syn = Some(segment.seq);
    }

    fn echo(&self, ecr: u32, scaled: bool) -> Result<u32, String> {
        match (self.stamps.get(&ecr), self.first_stamp) {
            (Some(wire), _) => Ok(*wire),
            (None, Some((script, wire))) if scaled => {
                Ok(ecr.wrapping_sub(script).wrapping_add(wire))
            }
            _ => Err(format!(
                "no packet with TS val {ecr} was sent on this flow, so it cannot be echoed (--tcp_ts_ecr_scaled allows it)"
            )),
        }
    }

    /// What a segment of ours looks like in script space, next to the line that expects it.
    pub(super) fn map_outbound(&mut self, segment: &mut Segment, line: &crate::ast::Tcp) {
        self.last_sent = Some(segment.seq);
        let syn = segment.flags.has(Flags::SYN);
        if syn {
            self.note_our_syn(segment, line.seq);
        }
        if segment.flags.has(Flags::RST) {
            self.reset = true;
        }
        let (wire, script) = self.local_isn.unwrap_or((0, 0));
        let ours = if syn { wire.wrapping_sub(script) } else { wire };
        // A reset that answers a segment without ACK has the number zero (RFC 9293, 3.5.2), not one of ours.
        if !(segment.flags.has(Flags::RST) && segment.seq == 0) {
            segment.seq = segment.seq.wrapping_sub(ours);
        }
        let theirs = if syn { 0 } else { self.remote_isn };
        if segment.flags.has(Flags::ACK) {
            segment.ack = segment.ack.wrapping_sub(theirs);
        }
        let expected = line
            .options
            .iter()
            .flatten()
            .find_map(|option| match option {
                TcpOption::Timestamp { val, .. } => Some(*val),
                _ => None,
            });
        for option in &mut segment.options {
            match option {
                TcpOption::Sack(blocks) => blocks.iter_mut().for_each(|(left, right)| {
                    *left = left.wrapping_sub(self.remote_isn);
                    *right = right.wrapping_sub(self.remote_isn);
                }),
                TcpOption::Timestamp { val, .. } => {
                    if let Some(expected) = expected {
                        self.stamps.insert(expected, *val);
                        self.first_stamp.get_or_insert((expected, *val));
                    }
                    if let Some((script, wire)) = self.first_stamp {
                        *val = val.wrapping_sub(wire).wrapping_add(script);
                    }
                }
                _ => {}
            }
        }
    }

    /// Learns our initial sequence number. A later SYN of ours may only carry another one if the peer
    /// has begun anew: with another number of its own, or after a reset.
    fn note_our_syn(&mut self, segment: &Segment, script_isn: u32) {
        let anew = self.reset || self.last_syn.is_some_and(|seq| seq != self.remote_isn);
        if self.local_isn.is_none() || anew {
            self.local_isn = Some((segment.seq, script_isn));
            self.reset = false;
            if let (true, Some(seq)) = (segment.flags.has(Flags::ACK), self.last_syn) {
                self.remote_isn = seq;
            }
        }
    }

    /// A copy of a segment of ours in script space, changing nothing: for messages.
    pub(super) fn peek_script(&self, segment: &Segment) -> Segment {
        let mut copy = segment.clone();
        let line = crate::ast::Tcp {
            flags: segment.flags,
            seq: 0,
            len: 0,
            ack: None,
            win: None,
            urg: None,
            options: None,
        };
        self.clone().map_outbound(&mut copy, &line);
        copy
    }

    /// The sequence number on the wire of what we sent last.
    pub(super) fn last_sent(&self) -> u32 {
        self.last_sent.unwrap_or_else(|| self.our_seq(1))
    }

    /// Our sequence number on the wire for one of the script's, as an ICMP error quotes it.
    pub(super) fn our_seq(&self, seq: u32) -> u32 {
        self.local_isn
            .map_or(seq, |(wire, _)| wire.wrapping_add(seq))
    }
}

/// The live ports of a packet that travels in `direction` with these header ports.
pub(super) fn live_ports(direction: Direction, source: u16, destination: u16) -> Ports {
    match direction {
        Direction::In => Ports {
            local: destination,
            remote: source,
        },
        Direction::Out => Ports {
            local: source,
            remote: destination,
        },
    }
}
