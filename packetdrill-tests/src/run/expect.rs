//! Lines with `>`: packets that the target should send, compared field by field.

use super::flow::{FlowId, Ports, live_ports};
use super::target::Sent;
use super::times::{self, Due};
use super::wire::{Datagram, Segment, Transport, flags_text, options_text};
use super::{Config, Outcome, PATIENCE_REAL, PATIENCE_VIRTUAL, Runner, pattern};
use crate::ast::{Body, Direction, Flags, Micros, Packet, Pos, Tcp, TcpOption, Tos};
use crate::report::{Failure, Row};

impl Runner<'_> {
    pub(super) fn expect(&mut self, pos: Pos, packet: &Packet, due: Due) -> Outcome {
        super::inject::refuse_encapsulation(pos, packet)?;
        let tolerance = due.tolerance(self.config.tolerance, self.config.tolerance_percent);
        let sent = self.next_sent(pos, packet, due, tolerance)?;
        let mut datagram = Datagram::decode(&sent.bytes, sent.checksummed).map_err(|message| {
            Failure::mismatch(pos, format!("bad packet: {message}"), Vec::new())
        })?;
        if let Body::Tcp(line) = &packet.body {
            let deadline = sent.at + tolerance;
            self.aggregate(&mut datagram, usize::from(line.len), deadline)?;
        }
        if !self.target.is_virtual() {
            // Real time drifts: what follows counts from when this happened.
            self.clock.happened(sent.at);
        }
        let ts_tolerance = due.tolerance_from_start(tolerance, self.config.tolerance_percent);
        let mut rows = vec![time_row(due, tolerance, sent.at)];
        rows.extend(ip_rows(packet, &datagram));
        let shown = match (&packet.body, &datagram.transport) {
            (Body::Tcp(line), Transport::Tcp(_)) => {
                self.compare_tcp(packet, line, &datagram, ts_tolerance, &mut rows)
            }
            (Body::Udp(len), Transport::Udp(payload)) => {
                rows.push(self.flow_row(packet, &datagram));
                rows.push(Row::new(
                    "length",
                    len.to_string(),
                    payload.len().to_string(),
                ));
                datagram.to_string()
            }
            (Body::Icmp(icmp), Transport::Icmp { kind, code, .. }) => {
                rows.push(Row::new("type", icmp.kind.to_string(), kind.to_string()));
                rows.push(Row::new("code", icmp.code.to_string(), code.to_string()));
                datagram.to_string()
            }
            _ => {
                let seen = self.describe(&sent);
                rows.push(Row::new("packet", protocol(&packet.body), seen.clone()));
                seen
            }
        };
        if rows.iter().all(|row| row.agrees) {
            self.note(format!("> {shown}"));
            return Ok(());
        }
        let summary = "the packet differs from what this line expects";
        Err(Failure::mismatch(pos, summary, rows))
    }

    /// Waits for a packet as long as the line allows.
    fn next_sent(&mut self, pos: Pos, packet: &Packet, due: Due, tolerance: i64) -> Outcome<Sent> {
        let deadline = if due.any {
            let patience = if self.target.is_virtual() {
                PATIENCE_VIRTUAL
            } else {
                PATIENCE_REAL
            };
            due.start + patience
        } else {
            due.end + tolerance
        };
        loop {
            self.pump()?;
            if let Some(sent) = self.sent.pop_front() {
                if self.config.lenient && self.is_elsewhere(packet, &sent) {
                    continue;
                }
                return Ok(sent);
            }
            if self.target.now() >= deadline {
                let wanted = describe_line(packet);
                let rows = vec![
                    Row::new("packet", wanted, "none"),
                    Row::open("time", format!("none until {}", times::text(deadline))),
                ];
                let summary = "no packet was sent where this line expects one";
                return Err(Failure::mismatch(pos, summary, rows));
            }
            self.advance(deadline)?;
        }
    }

    /// True if `sent` belongs to another conversation than the one that the line is about: the classic
    /// tool looks at no other.
    fn is_elsewhere(&self, packet: &Packet, sent: &Sent) -> bool {
        let Ok(datagram) = Datagram::decode(&sent.bytes, false) else {
            return false;
        };
        let Transport::Tcp(segment) = &datagram.transport else {
            return false;
        };
        let opens = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        let (source, destination) = (datagram.source.port(), datagram.destination.port());
        let found = self
            .flows
            .find_live(live_ports(Direction::Out, source, destination));
        match self.flows.of_outbound(packet) {
            Some(current) => found != Some(current) && !(opens && found.is_none()),
            None => packet.ports.is_none() && found.is_some(),
        }
    }

    /// Adds the rows of a TCP segment; returns the segment as scripts write it.
    fn compare_tcp(
        &mut self,
        packet: &Packet,
        line: &Tcp,
        datagram: &Datagram,
        ts_tolerance: Micros,
        rows: &mut Vec<Row>,
    ) -> String {
        let Transport::Tcp(mut segment) = datagram.transport.clone() else {
            return datagram.to_string();
        };
        let live = live_ports(
            Direction::Out,
            datagram.source.port(),
            datagram.destination.port(),
        );
        let opens = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        let wanted = self.flows.of_outbound(packet);
        let found = self.flows.find_live(live);
        let flow = match (wanted, found) {
            (None, None) if opens => Some(self.flows.begin_outbound(packet, live)),
            (Some(wanted), found) if found != Some(wanted) && opens && packet.ports.is_none() => {
                // A connection that we open while an older one is the current flow.
                Some(found.unwrap_or_else(|| self.flows.begin_outbound(packet, live)))
            }
            (wanted, found) => {
                rows.push(self.flow_row(packet, datagram));
                if wanted == found { found } else { None }
            }
        };
        match flow {
            Some(id) => self.flows.get_mut(id).map_outbound(&mut segment, line),
            None => segment = self.peek(found, &segment),
        }
        let payload = self.payload_row(&segment, line);
        rows.extend(tcp_rows(line, &segment, ts_tolerance, &self.config));
        rows.push(payload);
        let mut shown = datagram.clone();
        shown.transport = Transport::Tcp(segment);
        shown.to_string()
    }

    fn flow_row(&self, packet: &Packet, datagram: &Datagram) -> Row {
        let live = live_ports(
            Direction::Out,
            datagram.source.port(),
            datagram.destination.port(),
        );
        let ports = |ports: Ports| format!("{} > {}", ports.local, ports.remote);
        let found = self.flows.find_live(live);
        let seen = found.map_or(live, |id| self.flows.get(id).script_ports());
        let expected = match (self.flows.of_outbound(packet), packet.ports) {
            (Some(id), _) => ports(self.flows.get(id).script_ports()),
            (None, Some((local, remote))) => ports(Ports { local, remote }),
            // Nothing was said or injected yet: the first packet decides.
            (None, None) => return Row::open("ports", ports(seen)),
        };
        Row::new("ports", expected, ports(seen))
    }

    fn payload_row(&self, segment: &Segment, line: &Tcp) -> Row {
        let len = |len: usize| format!("{len} bytes");
        let expected = len(usize::from(line.len));
        if segment.payload.len() != usize::from(line.len) || !self.verify_sent_data {
            return Row::new("data", expected, len(segment.payload.len()));
        }
        let offset = if segment.flags.has(Flags::SYN) {
            0
        } else {
            u64::from(segment.seq.wrapping_sub(1))
        };
        match pattern::first_difference(offset, &segment.payload) {
            // One byte before what is unacknowledged is a probe; its content does not matter.
            Some(at) if segment.payload.len() > 1 => {
                Row::new("data", expected, format!("other bytes from {at} on"))
            }
            _ => Row::new("data", expected.clone(), expected),
        }
    }

    fn peek(&self, flow: Option<FlowId>, segment: &Segment) -> Segment {
        match flow {
            Some(id) => self.flows.get(id).peek_script(segment),
            None => segment.clone(),
        }
    }

    /// A packet as scripts write it, as far as its flow is known.
    pub(super) fn describe(&self, sent: &Sent) -> String {
        let mut datagram = match Datagram::decode(&sent.bytes, false) {
            Ok(datagram) => datagram,
            Err(message) => return format!("not readable: {message}"),
        };
        if let Transport::Tcp(segment) = &datagram.transport {
            let live = live_ports(
                Direction::Out,
                datagram.source.port(),
                datagram.destination.port(),
            );
            let segment = self.peek(self.flows.find_live(live), segment);
            datagram.transport = Transport::Tcp(segment);
        }
        datagram.to_string()
    }
}

fn time_row(due: Due, tolerance: i64, at: i64) -> Row {
    let seen = times::text(at);
    if due.any {
        return Row::open("time", seen);
    }
    let range = if due.start == due.end {
        times::text(due.start)
    } else {
        format!("{}~{}", times::text(due.start), times::text(due.end))
    };
    Row {
        name: "time",
        expected: format!("{range} (+-{})", times::text(tolerance)),
        seen,
        agrees: (due.start - tolerance..=due.end + tolerance).contains(&at),
    }
}

fn ip_rows(packet: &Packet, datagram: &Datagram) -> Vec<Row> {
    let ecn = datagram.tos & 3;
    let tos = match packet.ip.tos {
        None => None,
        Some(Tos::Ecn(bits)) => Some(Row::new("ecn", bits.to_string(), ecn.to_string())),
        Some(Tos::Byte(byte)) => Some(Row::new(
            "tos",
            format!("{byte:#x}"),
            format!("{:#x}", datagram.tos),
        )),
        Some(Tos::Ect01) => Some(Row {
            name: "ecn",
            expected: "1 or 2".to_owned(),
            seen: ecn.to_string(),
            agrees: ecn == 1 || ecn == 2,
        }),
    };
    let ttl = packet
        .ip
        .ttl
        .map(|ttl| Row::new("ttl", ttl.to_string(), datagram.ttl.to_string()));
    tos.into_iter().chain(ttl).collect()
}

fn tcp_rows(line: &Tcp, segment: &Segment, ts_tolerance: Micros, config: &Config) -> Vec<Row> {
    let acks = line.flags.has(Flags::ACK);
    let ack = match line.ack {
        None if acks => Row::open("ack", segment.ack.to_string()),
        ack => Row::new("ack", ack.unwrap_or(0).to_string(), segment.ack.to_string()),
    };
    let win = match line.win {
        None => Row::open("win", segment.win.to_string()),
        Some(win) => Row::new("win", win.to_string(), segment.win.to_string()),
    };
    let mut rows = vec![
        Row::new("flags", flags_text(line.flags), flags_text(segment.flags)),
        Row::new("seq", line.seq.to_string(), segment.seq.to_string()),
        ack,
        win,
    ];
    if line.urg.is_some() || segment.urg != 0 {
        let expected = line.urg.unwrap_or(0).to_string();
        rows.push(Row::new("urg", expected, segment.urg.to_string()));
    }
    rows.push(match &line.options {
        None => Row::open("options", options_text(&segment.options)),
        Some(options) => options_row(options, &segment.options, ts_tolerance, config),
    });
    rows
}

fn options_row(
    expected: &[TcpOption],
    seen: &[TcpOption],
    ts_tolerance: Micros,
    config: &Config,
) -> Row {
    // End-of-list bytes are padding on the wire.
    let expected: Vec<TcpOption> = expected
        .iter()
        .filter(|option| **option != TcpOption::Eol)
        .cloned()
        .collect();
    let agree = |pair: (&TcpOption, &TcpOption)| match pair {
        (
            TcpOption::Timestamp { val, ecr },
            TcpOption::Timestamp {
                val: seen_val,
                ecr: seen_ecr,
            },
        ) => {
            let off = i64::from(val.wrapping_sub(*seen_val).cast_signed()).abs();
            (off * config.ts_tick <= ts_tolerance) && (config.ignore_ecr || ecr == seen_ecr)
        }
        (one, other) => one == other,
    };
    Row {
        name: "options",
        expected: options_text(&expected),
        seen: options_text(seen),
        agrees: expected.len() == seen.len() && expected.iter().zip(seen).all(agree),
    }
}

fn protocol(body: &Body) -> &'static str {
    match body {
        Body::Tcp(_) => "TCP",
        Body::Udp(_) => "UDP",
        Body::Icmp(_) => "ICMP",
    }
}

/// What a line expects, in short.
fn describe_line(packet: &Packet) -> String {
    let ports = packet
        .ports
        .map_or(String::new(), |(from, to)| format!("{from} > {to} "));
    match &packet.body {
        Body::Tcp(tcp) => format!(
            "{ports}{} {}:{}({})",
            flags_text(tcp.flags),
            tcp.seq,
            tcp.seq.wrapping_add(u32::from(tcp.len)),
            tcp.len
        ),
        Body::Udp(len) => format!("udp {ports}({len})"),
        Body::Icmp(icmp) => format!("icmp type {} code {}", icmp.kind, icmp.code),
    }
}
