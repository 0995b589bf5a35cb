//! The choice of a source address for IPv6 (RFC 6724 section 5).

use std::net::Ipv6Addr;

/// An address that could be the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) addr: Ipv6Addr,
    pub(crate) prefix_len: u8,
    /// Its preferred lifetime is over.
    pub(crate) deprecated: bool,
    /// It is a temporary address (RFC 8981).
    pub(crate) temporary: bool,
    /// It is on the interface that the packet leaves by.
    pub(crate) outgoing: bool,
}

/// Scopes by their multicast numbers (RFC 4291 section 2.7).
pub(crate) fn scope(addr: Ipv6Addr) -> u8 {
    let octets = addr.octets();
    match octets {
        [0xff, flags_scope, ..] => flags_scope & 15,
        _ if addr.is_loopback() || is_link_local(addr) => 2,
        [0xfe, second, ..] if second & 0xc0 == 0xc0 => 5,
        _ => 14,
    }
}

/// True for fe80::/10.
pub(crate) fn is_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}

/// The label of the default policy table (RFC 6724 section 2.1).
fn label(addr: Ipv6Addr) -> u8 {
    let [a, b, ..] = addr.segments();
    match a {
        _ if addr.is_loopback() => 0,
        _ if addr.to_ipv4_mapped().is_some() => 4,
        _ if addr.to_bits() >> 32 == 0 => 3,
        0x2002 => 2,
        0x2001 if b == 0 => 5,
        0x3ffe => 12,
        _ if a & 0xfe00 == 0xfc00 => 13,
        _ if a & 0xffc0 == 0xfec0 => 11,
        _ => 1,
    }
}

/// The best source for packets to `dst`.
pub(crate) fn select(
    dst: Ipv6Addr,
    candidates: impl Iterator<Item = Candidate>,
) -> Option<Candidate> {
    candidates.reduce(|best, other| match better(dst, &other, &best) {
        true => other,
        false => best,
    })
}

/// True if `one` is to be preferred to `two`, by the first rule that tells them apart.
fn better(dst: Ipv6Addr, one: &Candidate, two: &Candidate) -> bool {
    let key = |candidate: &Candidate| {
        let (scope_of, needed) = (scope(candidate.addr), scope(dst));
        // Rule 2: the smallest scope that reaches, else the largest that does not.
        let reach = match scope_of < needed {
            true => (false, i16::from(scope_of)),
            false => (true, -i16::from(scope_of)),
        };
        let common = (candidate.addr.to_bits() ^ dst.to_bits()).leading_zeros() as u8;
        (
            candidate.addr == dst,
            reach,
            !candidate.deprecated,
            candidate.outgoing,
            label(candidate.addr) == label(dst),
            candidate.temporary,
            common.min(candidate.prefix_len),
        )
    };
    key(one) > key(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(text: &str) -> Candidate {
        Candidate {
            addr: text.parse().unwrap(),
            prefix_len: 64,
            deprecated: false,
            temporary: false,
            outgoing: true,
        }
    }

    fn chosen(dst: &str, all: &[Candidate]) -> Option<String> {
        let found = select(dst.parse().unwrap(), all.iter().copied());
        found.map(|found| found.addr.to_string())
    }

    /// The examples of RFC 6724 section 10.1.
    #[test]
    fn examples_of_the_rfc() {
        let cases: [(&str, &[&str], &str); 7] = [
            (
                "2001:db8:1::1",
                &["2001:db8:3::1", "fe80::1"],
                "2001:db8:3::1",
            ),
            ("ff05::1", &["2001:db8:3::1", "fe80::1"], "2001:db8:3::1"),
            (
                "2001:db8:1::1",
                &["2001:db8:1::1", "2001:db8:2::1"],
                "2001:db8:1::1",
            ),
            ("fe80::1", &["fe80::2", "2001:db8:1::1"], "fe80::2"),
            (
                "2001:db8:1::1",
                &["2001:db8:1::2", "2001:db8:3::2"],
                "2001:db8:1::2",
            ),
            (
                "2002:c633:6401::1",
                &["2002:c633:6401:0:d5e3:7953:13eb:22e8", "2001:db8:1::2"],
                "2002:c633:6401:0:d5e3:7953:13eb:22e8",
            ),
            ("fd00::9", &["2001:db8::1", "fd11::1"], "fd11::1"),
        ];
        for (dst, sources, expected) in cases {
            let mut all: Vec<Candidate> = sources.iter().map(|text| candidate(text)).collect();
            assert_eq!(chosen(dst, &all).as_deref(), Some(expected), "{dst}");
            all.reverse();
            assert_eq!(chosen(dst, &all).as_deref(), Some(expected), "{dst}");
        }
        assert_eq!(chosen("2001:db8::1", &[]), None);
    }

    #[test]
    fn deprecated_comes_last_and_temporary_first() {
        let old = Candidate {
            deprecated: true,
            ..candidate("2001:db8:1::1")
        };
        let temporary = Candidate {
            temporary: true,
            ..candidate("2001:db8:3::2")
        };
        let all = [old, temporary, candidate("2001:db8:3::3")];
        assert_eq!(
            chosen("2001:db8:1::9", &all).as_deref(),
            Some("2001:db8:3::2")
        );
        assert_eq!(
            chosen("2001:db8:1::9", &[old]).as_deref(),
            Some("2001:db8:1::1")
        );
    }

    #[test]
    fn a_prefix_ends_the_comparison() {
        // Bits beyond the prefix do not count: the first of two equals stays.
        let all = [candidate("2001:db8::1"), candidate("2001:db8::8:1")];
        assert_eq!(
            chosen("2001:db8::8:2", &all).as_deref(),
            Some("2001:db8::1")
        );
    }
}
