//! ICMP lines speak of the messages of IPv4; over IPv6 they stand for those that mean the same.

/// Type, code and bytes 4 to 8 of the message in ICMPv6 that a message of ICMP stands for.
pub(super) fn to_v6(kind: u8, code: u8, rest: [u8; 4]) -> (u8, u8, [u8; 4]) {
    match (kind, code) {
        (8, 0) => (128, 0, rest),
        (0, 0) => (129, 0, rest),
        // The MTU has four bytes here.
        (3, 4) => (2, 0, rest),
        (3, code) => (1, unreachable(code), [0; 4]),
        (11, code) => (3, code, [0; 4]),
        (12, 2) => (4, 1, [0; 4]),
        (12, _) => (4, 0, [0; 4]),
        other => (other.0, other.1, rest),
    }
}

/// Codes of "unreachable": no route, prohibited, address, port.
fn unreachable(code: u8) -> u8 {
    match code {
        0 | 5 | 6 | 11 => 0,
        9 | 10 | 13.. => 1,
        3 => 4,
        _ => 3,
    }
}

/// The message of ICMP that one of ICMPv6 is shown as.
pub(super) fn to_v4(kind: u8, code: u8) -> (u8, u8) {
    match (kind, code) {
        (128, 0) => (8, 0),
        (129, 0) => (0, 0),
        (2, 0) => (3, 4),
        (1, 0) => (3, 0),
        (1, 1) => (3, 13),
        (1, 4) => (3, 3),
        (1, _) => (3, 1),
        (3, code) => (11, code),
        // An unknown protocol is a parameter problem there.
        (4, 1) => (3, 2),
        (4, _) => (12, 0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_comes_back() {
        for (kind, code) in [
            (8, 0),
            (0, 0),
            (3, 0),
            (3, 1),
            (3, 3),
            (3, 4),
            (11, 1),
            (12, 0),
        ] {
            let (v6, code6, _) = to_v6(kind, code, [0; 4]);
            assert_eq!(to_v4(v6, code6), (kind, code));
        }
    }
}
