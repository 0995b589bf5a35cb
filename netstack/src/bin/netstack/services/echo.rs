//! RFC 862: everything comes back.

use std::io::{self, Read, Write};

use netstack::host::TcpStream;

/// Returns everything until the peer ends.
pub(crate) fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..got])?;
    }
}
