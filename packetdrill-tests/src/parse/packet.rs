//! Packet lines.

use super::{Cursor, Result};
use crate::ast::{Body, Direction, Flags, IpInfo, Packet, Tcp, Tos};
use crate::lex::Kind;

impl Cursor {
    pub(super) fn packet(&mut self) -> Result<Packet> {
        let direction = if self.eat('<') {
            Direction::In
        } else {
            self.expect('>')?;
            Direction::Out
        };
        let mut ip = self.ip_info()?;
        let mut encapsulation = Vec::new();
        while let Some(header) = self.encapsulation()? {
            encapsulation.push(header);
            // What stands before a header belongs to that header.
            ip = self.ip_info()?;
        }
        let mut ports = self.ports()?;
        let body = if self.eat_word("udp") {
            if ports.is_none() {
                ports = self.ports()?;
            }
            self.expect('(')?;
            let len = self.int("the payload length")?;
            self.expect(')')?;
            Body::Udp(len)
        } else if self.eat_word("icmp") {
            Body::Icmp(self.icmp()?)
        } else {
            Body::Tcp(self.tcp()?)
        };
        Ok(Packet {
            direction,
            ip,
            encapsulation,
            ports,
            body,
        })
    }

    /// `[ect0]`, `(tos 0x4)`, `[ttl 5]`, or several with commas.
    pub(super) fn ip_info(&mut self) -> Result<IpInfo> {
        let mut info = IpInfo::default();
        let close = if self.eat('[') {
            ']'
        } else if self.eat('(') {
            ')'
        } else {
            return Ok(info);
        };
        loop {
            match self.word("an IP field such as ect0, tos or ttl")?.as_str() {
                "noecn" => info.tos = Some(Tos::Ecn(0)),
                "ect1" => info.tos = Some(Tos::Ecn(1)),
                "ect0" => info.tos = Some(Tos::Ecn(2)),
                "ce" => info.tos = Some(Tos::Ecn(3)),
                "ect01" => info.tos = Some(Tos::Ect01),
                "tos" => info.tos = Some(Tos::Byte(self.int("a TOS byte")?)),
                "ttl" => info.ttl = Some(self.int("a TTL")?),
                other => {
                    return self.error(format!("the IP field {other} is not supported"));
                }
            }
            if self.eat(close) {
                return Ok(info);
            }
            self.expect(',')?;
        }
    }

    /// `1001 > 8080`, which no flags can look like.
    fn ports(&mut self) -> Result<Option<(u16, u16)>> {
        let named = matches!(self.peek(), Some(Kind::Int(..)))
            && self.peek_at(1) == Some(&Kind::Punct('>'));
        if !named {
            return Ok(None);
        }
        let source = self.int("a source port")?;
        self.expect('>')?;
        let destination = self.int("a destination port")?;
        Ok(Some((source, destination)))
    }

    fn tcp(&mut self) -> Result<Tcp> {
        let flags = self.flags()?;
        let (seq, len) = self.sequence()?;
        let mut tcp = Tcp {
            flags,
            seq,
            len,
            ack: None,
            win: None,
            urg: None,
            options: Some(Vec::new()),
        };
        if self.eat_word("ack") {
            tcp.ack = Some(self.int("an acknowledgement number")?);
        }
        if self.eat_word("win") {
            tcp.win = Some(self.int("a window")?);
        }
        if self.eat_word("urg") {
            tcp.urg = Some(self.int("an urgent pointer")?);
        }
        if self.eat('<') {
            tcp.options = self.tcp_options()?;
        }
        Ok(tcp)
    }

    fn flags(&mut self) -> Result<Flags> {
        if self.eat('-') {
            return Ok(Flags(0));
        }
        let mut flags = 0;
        let mut any = false;
        if let Some(Kind::Word(word)) = self.peek() {
            let word = word.clone();
            for letter in word.chars() {
                let known = Flags::LETTERS.iter().find(|(c, _)| *c == letter);
                match known.map(|(_, bit)| *bit).or_else(|| ace(letter)) {
                    Some(bits) => flags |= bits,
                    None => {
                        return self.error(format!("'{letter}' in {word} is no TCP flag here"));
                    }
                }
            }
            any = true;
            self.at += 1;
        }
        if self.eat('.') {
            flags |= Flags::ACK;
            any = true;
        } else if let Some(Kind::Fraction(_, text)) = self.peek() {
            // `.5`: the acknowledgement, and the counter of accurate ECN.
            match text.strip_prefix('.').and_then(|digit| {
                let mut digits = digit.chars();
                digits.next().filter(|_| digits.next().is_none())
            }) {
                Some(digit) if ace(digit).is_some() => {
                    flags |= Flags::ACK | ace(digit).unwrap_or(0);
                    any = true;
                    self.at += 1;
                }
                _ => return self.fail("TCP flags"),
            }
        }
        if any {
            Ok(Flags(flags))
        } else {
            self.fail("TCP flags, udp or icmp")
        }
    }

    /// `first:last(length)`, as first and length.
    pub(super) fn sequence(&mut self) -> Result<(u32, u16)> {
        let first: u32 = self.int("a sequence number")?;
        self.expect(':')?;
        let last: u32 = self.int("a sequence number")?;
        self.expect('(')?;
        let len: u16 = self.int("a payload length")?;
        if last.wrapping_sub(first) != u32::from(len) {
            return self.error(format!("{first}:{last} is not {len} bytes long"));
        }
        self.expect(')')?;
        Ok((first, len))
    }
}

/// The bits of a count of accurate ECN, 0 to 7 (RFC 9768, 3.2.2: AE, CWR and ECE).
fn ace(digit: char) -> Option<u16> {
    let count = digit.to_digit(8)?;
    let bits = [(4, Flags::AE), (2, Flags::CWR), (1, Flags::ECE)];
    Some(
        bits.iter()
            .filter(|(value, _)| count & value != 0)
            .fold(0, |flags, (_, bit)| flags | bit),
    )
}
