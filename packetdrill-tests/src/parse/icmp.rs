//! ICMP lines: `icmp unreachable frag_needed mtu 1200 [1:1001(1000)]`.

use super::{Cursor, Result};
use crate::ast::{Echoed, Icmp};
use crate::lex::Kind;

/// Names of the ICMPv4 types.
pub(crate) const TYPES: [(&str, u8); 10] = [
    ("echo_reply", 0),
    ("unreachable", 3),
    ("source_quench", 4),
    ("redirect", 5),
    ("echo_request", 8),
    ("time_exceeded", 11),
    ("parameter_problem", 12),
    ("timestamp_request", 13),
    ("timestamp_reply", 14),
    // ICMPv6's name for "fragmentation needed".
    ("packet_too_big", 3),
];

/// Codes of "unreachable" by their names in ICMPv6 (RFC 4443), as those of ICMP that mean the same.
const UNREACHABLE_CODES_V6: [(&str, u8); 4] = [
    ("no_route", 0),
    ("admin_prohibited", 13),
    ("addr_unreachable", 1),
    ("address_unreachable", 1),
];

/// Names of the codes of "unreachable" (RFC 792, RFC 1122, RFC 1812).
pub(crate) const UNREACHABLE_CODES: [(&str, u8); 16] = [
    ("net_unreachable", 0),
    ("host_unreachable", 1),
    ("protocol_unreachable", 2),
    ("port_unreachable", 3),
    ("frag_needed", 4),
    ("source_route_failed", 5),
    ("net_unknown", 6),
    ("host_unknown", 7),
    ("source_host_isolated", 8),
    ("net_prohibited", 9),
    ("host_prohibited", 10),
    ("net_unreachable_for_tos", 11),
    ("host_unreachable_for_tos", 12),
    ("packet_filtered", 13),
    ("precedence_violation", 14),
    ("precedence_cutoff", 15),
];

impl Cursor {
    /// What follows the word `icmp`.
    pub(super) fn icmp(&mut self) -> Result<Icmp> {
        let name = self.word("an ICMP type")?;
        let Some((_, kind)) = TYPES.iter().find(|(known, _)| *known == name) else {
            self.at -= 1;
            return self.error(format!("{name} is no ICMP type that is known here"));
        };
        let mut icmp = Icmp {
            kind: *kind,
            code: if name == "packet_too_big" { 4 } else { 0 },
            mtu: None,
            id: None,
            echoed: None,
        };
        if let Some(Kind::Word(word)) = self.peek() {
            let mut codes = UNREACHABLE_CODES.iter().chain(&UNREACHABLE_CODES_V6);
            let code = codes.find(|(known, _)| known == word);
            if let Some((_, code)) = code {
                icmp.code = *code;
                self.at += 1;
            }
        }
        if self.eat_word("mtu") {
            icmp.mtu = Some(self.int("an MTU")?);
        }
        if self.eat_word("id") {
            icmp.id = Some(self.int("an echo identifier")?);
        }
        if self.eat('[') {
            icmp.echoed = Some(self.echoed()?);
            self.expect(']')?;
        }
        Ok(icmp)
    }

    /// `1:1001(1000)`, `udp (1000)` or `raw (1000)`.
    fn echoed(&mut self) -> Result<Echoed> {
        let raw = self.eat_word("raw") || self.eat_word("RAW");
        if !raw && !self.eat_word("udp") && !self.eat_word("UDP") {
            let (seq, len) = self.sequence()?;
            return Ok(Echoed::Tcp(seq, len));
        }
        self.expect('(')?;
        let len = self.int("a payload length")?;
        self.expect(')')?;
        Ok(match raw {
            true => Echoed::Raw(len),
            false => Echoed::Udp(len),
        })
    }
}
