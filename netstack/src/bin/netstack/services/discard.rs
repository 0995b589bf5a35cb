//! RFC 863: everything is thrown away.

use std::io::{self, Read};

use netstack::host::TcpStream;

/// Reads until the peer ends.
pub(crate) fn discard(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}
