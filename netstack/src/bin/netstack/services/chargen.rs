//! RFC 864: lines of characters without end.

use std::io::{self, Write};

use netstack::host::TcpStream;

const LINE: usize = 72;
const FIRST: u8 = b' ';
const LAST: u8 = b'~';

/// Sends until the peer has enough and closes.
pub(crate) fn chargen(mut stream: TcpStream) -> io::Result<()> {
    let period = pattern();
    loop {
        stream.write_all(&period)?;
    }
}

/// One period of the pattern: each line starts one character later than the one before.
fn pattern() -> Vec<u8> {
    let count = LAST - FIRST + 1;
    let line = |first: u8| {
        (0..LINE)
            .map(move |i| FIRST + ((usize::from(first) + i) % usize::from(count)) as u8)
            .chain(*b"\r\n")
    };
    (0..count).flat_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_rotate_through_the_printable_characters() {
        let all = pattern();
        let lines: Vec<&[u8]> = all.chunks(LINE + 2).collect();
        assert_eq!(lines.len(), 95);
        assert!(lines[0].starts_with(b" !\"#"));
        assert!(lines[1].starts_with(b"!\"#$"));
        assert!(lines.iter().all(|line| line.ends_with(b"\r\n")));
    }
}
