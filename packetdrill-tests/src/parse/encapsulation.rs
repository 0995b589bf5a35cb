//! Headers around a packet: `ipv4 1.2.3.4 > 5.6.7.8: gre flags [none],...: mpls (label 1,tc 0,[S],ttl 64):`.

use std::net::IpAddr;

use super::{Cursor, Result};
use crate::ast::{Encapsulation, MplsEntry};
use crate::lex::Kind;

/// Bits of the first word of a GRE header (RFC 2890).
const GRE_FLAGS: [(&str, u16); 4] = [
    ("none", 0),
    ("checksum", 0x8000),
    ("key", 0x2000),
    ("sequence", 0x1000),
];

/// Entries of a label stack, at most.
const MPLS_MAX: usize = 16;

impl Cursor {
    /// The next header and its colon, if one comes.
    pub(super) fn encapsulation(&mut self) -> Result<Option<Encapsulation>> {
        let word = match self.peek() {
            Some(Kind::Word(word)) => word.clone(),
            _ => return Ok(None),
        };
        let header = match word.as_str() {
            "ipv4" | "ipv6" => {
                self.at += 1;
                let _ = self.ip_info()?;
                let source = self.address()?;
                self.expect('>')?;
                let destination = self.address()?;
                if source.is_ipv4() != (word == "ipv4") || source.is_ipv4() != destination.is_ipv4()
                {
                    return self.error(format!("these are not two addresses of {word}"));
                }
                Encapsulation::Ip {
                    source,
                    destination,
                }
            }
            "gre" => {
                self.at += 1;
                self.eat(',');
                self.gre()?
            }
            "mpls" => {
                self.at += 1;
                Encapsulation::Mpls(self.mpls()?)
            }
            "encap" | "psp" => return self.error("PSP is not supported"),
            _ => return Ok(None),
        };
        self.expect(':')?;
        Ok(Some(header))
    }

    /// An IP address, which no token of the language is: the text of what stands without a blank.
    fn address(&mut self) -> Result<IpAddr> {
        let start = self.at;
        let mut text = String::new();
        let mut end = None;
        while let Some(token) = self.tokens.get(self.at) {
            let piece = match &token.kind {
                Kind::Int(_, piece) | Kind::Fraction(_, piece) | Kind::Word(piece) => piece.clone(),
                Kind::Punct(c @ (':' | '.')) => c.to_string(),
                _ => break,
            };
            if end.is_some_and(|end| end != token.pos) {
                break;
            }
            let mut after = token.pos;
            after.column += piece.len() as u32;
            end = Some(after);
            text.push_str(&piece);
            self.at += 1;
        }
        // The colon behind the second address ends the header.
        if text.ends_with(':') && !text.ends_with("::") || text.ends_with(":::") {
            text.pop();
            self.at -= 1;
        }
        match text.parse() {
            Ok(address) => Ok(address),
            Err(_) => {
                self.at = start;
                self.fail("an IP address")
            }
        }
    }

    /// `flags [key present], sum 0, off 0, key = 1, seq 0`, with or without commas; all may be left out.
    fn gre(&mut self) -> Result<Encapsulation> {
        let (mut flags, mut sum, mut offset, mut key, mut sequence) = (0, 0, 0, 0, 0);
        loop {
            if self.eat_word("flags") {
                flags = self.gre_flags()?;
            } else if self.eat_word("sum") {
                sum = self.int("a checksum")?;
            } else if self.eat_word("off") {
                offset = self.int("an offset")?;
            } else if self.eat_word("key") {
                self.eat('=');
                key = self.int("a key")?;
            } else if self.eat_word("seq") {
                sequence = self.int("a sequence number")?;
            } else {
                break;
            }
            self.eat(',');
        }
        Ok(Encapsulation::Gre {
            flags,
            sum,
            offset,
            key,
            sequence,
        })
    }

    fn gre_flags(&mut self) -> Result<u16> {
        if !self.eat('[') {
            return self.int("GRE flags");
        }
        let mut flags = 0;
        loop {
            let name = self.word("a GRE flag")?;
            let Some((_, bit)) = GRE_FLAGS.iter().find(|(known, _)| *known == name) else {
                return self.error(format!("{name} is no GRE flag"));
            };
            flags |= bit;
            self.eat_word("present");
            if self.eat(']') {
                return Ok(flags);
            }
            self.expect(',')?;
        }
    }

    fn mpls(&mut self) -> Result<Vec<MplsEntry>> {
        let mut stack = Vec::new();
        while self.eat('(') {
            stack.push(self.mpls_entry()?);
            if stack.len() > MPLS_MAX {
                return self.error("this label stack is too long");
            }
            self.eat(',');
        }
        match stack.is_empty() {
            true => self.fail("a label such as (label 1,tc 0,[S],ttl 64)"),
            false => Ok(stack),
        }
    }

    fn mpls_entry(&mut self) -> Result<MplsEntry> {
        const LABEL_MAX: u32 = 0xf_ffff;
        const CLASS_MAX: u8 = 7;
        self.keyword("label")?;
        let label = self.int("a label")?;
        self.expect(',')?;
        self.keyword("tc")?;
        let class = self.int("a traffic class")?;
        self.expect(',')?;
        let bottom = self.eat('[');
        if bottom {
            self.keyword("S")?;
            self.expect(']')?;
            self.expect(',')?;
        }
        self.keyword("ttl")?;
        let ttl = self.int("a TTL")?;
        self.expect(')')?;
        if label > LABEL_MAX || class > CLASS_MAX {
            return self.error("a label has 20 bits, a traffic class 3");
        }
        Ok(MplsEntry {
            label,
            class,
            bottom,
            ttl,
        })
    }

    fn keyword(&mut self, word: &str) -> Result<()> {
        match self.eat_word(word) {
            true => Ok(()),
            false => self.fail(&format!("'{word}'")),
        }
    }
}
