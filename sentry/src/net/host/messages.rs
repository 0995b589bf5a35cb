//! Control messages between guest and host: only plain values, never descriptors.

use sentry_abi::Errno;

use crate::net::control::{Control, Writer, parse};

/// What a guest may send along: level, type, most bytes.
const SENT: &[(i32, i32, usize)] = &[
    (libc::IPPROTO_IP, libc::IP_TOS, 4),
    (libc::IPPROTO_IP, libc::IP_TTL, 4),
    (libc::IPPROTO_IP, libc::IP_PKTINFO, 12),
    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20),
    (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 4),
    (libc::SOL_UDP, libc::UDP_SEGMENT, 2),
];

/// Most bytes of all messages of one call.
const SENT_MAX: usize = 256;

/// The control buffer for the host. Files and credentials mean nothing to these families
/// (`__sock_cmsg_send` passes over them).
///
/// # Errors
/// EINVAL for a message that is not on the list.
pub(super) fn outgoing(control: &Control) -> Result<Vec<u8>, Errno> {
    let mut writer = Writer::new(SENT_MAX);
    for (level, kind, data) in &control.other {
        let known = SENT
            .iter()
            .any(|&(l, k, max)| (l, k) == (*level, *kind) && data.len() <= max);
        if !known {
            return Err(Errno::EINVAL);
        }
        writer.put(*level, *kind, data);
    }
    match writer.finish() {
        (bytes, false) => Ok(bytes),
        _ => Err(Errno::ENOBUFS),
    }
}

/// What the host reported, for the guest.
pub(super) fn incoming(buffer: &[u8]) -> Control {
    let mut control = Control::default();
    for message in parse(buffer).unwrap_or_default() {
        let descriptors = (message.level, message.kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        if !descriptors {
            control
                .other
                .push((message.level, message.kind, message.data.to_vec()));
        }
    }
    control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_messages_go_out() {
        let with = |other| Control {
            other,
            ..Control::default()
        };
        let ttl = vec![(libc::IPPROTO_IP, libc::IP_TTL, vec![9, 0, 0, 0])];
        let bytes = outgoing(&with(ttl.clone())).unwrap();
        assert_eq!(incoming(&bytes).other, ttl);
        let unknown = vec![(libc::SOL_SOCKET, libc::SO_MARK, vec![1, 0, 0, 0])];
        assert_eq!(outgoing(&with(unknown)), Err(Errno::EINVAL));
        let too_long = vec![(libc::IPPROTO_IP, libc::IP_TTL, vec![0; 5])];
        assert_eq!(outgoing(&with(too_long)), Err(Errno::EINVAL));
    }
}
