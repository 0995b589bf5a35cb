//! Socket addresses between `struct sockaddr` bytes and their meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use sentry_abi::Errno;

/// Bytes of `struct sockaddr_un`.
const UNIX_MAX: usize = 110;

/// The family of an address.
///
/// # Errors
/// EINVAL if it is too short to have one.
pub fn family(addr: &[u8]) -> Result<i32, Errno> {
    match addr.first_chunk() {
        Some(bytes) => Ok(i32::from(u16::from_ne_bytes(*bytes))),
        None => Err(Errno::EINVAL),
    }
}

/// An AF_INET or AF_INET6 address.
///
/// # Errors
/// EINVAL if it is too short, EAFNOSUPPORT for another family.
pub fn parse_inet(addr: &[u8]) -> Result<SocketAddr, Errno> {
    let port = |at: usize| u16::from_be_bytes([addr[at], addr[at + 1]]);
    match family(addr)? {
        libc::AF_INET if addr.len() >= 16 => {
            let ip = Ipv4Addr::new(addr[4], addr[5], addr[6], addr[7]);
            Ok(SocketAddr::from((ip, port(2))))
        }
        libc::AF_INET6 if addr.len() >= 24 => {
            let octets: [u8; 16] = std::array::from_fn(|i| addr[8 + i]);
            let scope = addr
                .get(24..28)
                .and_then(|b| b.first_chunk())
                .map_or(0, |b| u32::from_ne_bytes(*b));
            Ok(SocketAddrV6::new(Ipv6Addr::from(octets), port(2), 0, scope).into())
        }
        libc::AF_INET | libc::AF_INET6 => Err(Errno::EINVAL),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// The `struct sockaddr_in` (16 bytes) or `sockaddr_in6` (28) of an address.
pub fn emit_inet(addr: SocketAddr) -> Vec<u8> {
    let family = if addr.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut bytes = Vec::with_capacity(28);
    bytes.extend_from_slice(&(family as u16).to_ne_bytes());
    bytes.extend_from_slice(&addr.port().to_be_bytes());
    match addr.ip() {
        IpAddr::V4(ip) => {
            bytes.extend_from_slice(&ip.octets());
            bytes.resize(16, 0);
        }
        IpAddr::V6(ip) => {
            let scope = match addr {
                SocketAddr::V6(v6) => v6.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&scope.to_ne_bytes());
        }
    }
    bytes
}

/// What an AF_UNIX address names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// No name given: bind chooses an abstract one.
    Auto,
    /// A path in the file system.
    Path(Vec<u8>),
    /// A name that is in no file system.
    Abstract(Vec<u8>),
}

/// An AF_UNIX address (`unix_mkname`, `unix_validate_addr`).
///
/// # Errors
/// EINVAL for another family or a length that cannot be.
pub fn parse_unix(addr: &[u8]) -> Result<UnixName, Errno> {
    if addr.len() > UNIX_MAX || family(addr)? != libc::AF_UNIX {
        return Err(Errno::EINVAL);
    }
    Ok(match &addr[2..] {
        [] => UnixName::Auto,
        [0, name @ ..] => UnixName::Abstract(name.to_vec()),
        path => UnixName::Path(path.split(|&b| b == 0).next().unwrap_or_default().to_vec()),
    })
}

/// The `struct sockaddr_un` of a name, as long as it has to be.
pub fn emit_unix(name: Option<&UnixName>) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    match name {
        None | Some(UnixName::Auto) => {}
        Some(UnixName::Path(path)) => {
            bytes.extend_from_slice(path);
            bytes.push(0);
        }
        Some(UnixName::Abstract(name)) => {
            bytes.push(0);
            bytes.extend_from_slice(name);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inet_addresses_there_and_back() {
        for text in ["1.2.3.4:80", "[::1]:443", "[fe80::1%3]:443"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(parse_inet(&emit_inet(addr)), Ok(addr));
        }
        assert_eq!(parse_inet(&[2, 0, 0, 80]), Err(Errno::EINVAL));
        assert_eq!(parse_inet(&[77, 0]), Err(Errno::EAFNOSUPPORT));
        assert_eq!(parse_inet(&[2]), Err(Errno::EINVAL));
    }

    #[test]
    fn unix_names_there_and_back() {
        for name in [
            UnixName::Path(b"/tmp/x".to_vec()),
            UnixName::Abstract(b"a\0b".to_vec()),
        ] {
            assert_eq!(parse_unix(&emit_unix(Some(&name))), Ok(name));
        }
        assert_eq!(parse_unix(&[1, 0]), Ok(UnixName::Auto));
        assert_eq!(
            parse_unix(&[1, 0, b'p', 0, b'q']),
            Ok(UnixName::Path(b"p".to_vec()))
        );
        assert_eq!(parse_unix(&[1; 111]), Err(Errno::EINVAL));
    }
}
