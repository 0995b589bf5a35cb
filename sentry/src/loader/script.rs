//! `#!` lines.

use sentry_abi::Errno;

/// How much of a file is looked at (Linux's BINPRM_BUF_SIZE).
pub(super) const HEAD: usize = 256;

/// What a `#!` line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) interpreter: Vec<u8>,
    /// The rest of the line, as one argument.
    pub(super) argument: Option<Vec<u8>>,
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Parses the beginning of a file; `None` if it is no script.
///
/// # Errors
/// ENOEXEC if no interpreter is named, or its name does not end within [`HEAD`] bytes.
pub(super) fn parse(head: &[u8]) -> Result<Option<Script>, Errno> {
    let Some(rest) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let end = rest.iter().position(|&b| b == b'\n' || b == 0);
    let line = &rest[..end.unwrap_or(rest.len())];
    let start = line
        .iter()
        .position(|b| !is_blank(b))
        .ok_or(Errno::ENOEXEC)?;
    let line = &line[start..];
    let name_end = line.iter().position(is_blank);
    // A name that may go on past what was read would be another file.
    if name_end.is_none() && end.is_none() && head.len() == HEAD {
        return Err(Errno::ENOEXEC);
    }
    let (name, rest) = line.split_at(name_end.unwrap_or(line.len()));
    let argument = rest.trim_ascii();
    Ok(Some(Script {
        interpreter: name.to_vec(),
        argument: (!argument.is_empty()).then(|| argument.to_vec()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_linux_splits_them() {
        let script = |head: &[u8]| parse(head).unwrap().unwrap();
        assert_eq!(parse(b"\x7fELF"), Ok(None));
        let plain = script(b"#!/bin/sh\necho");
        assert_eq!(plain.interpreter, b"/bin/sh");
        assert_eq!(plain.argument, None);
        let spaced = script(b"#!  /usr/bin/env \t python3 -u \nrest");
        assert_eq!(spaced.interpreter, b"/usr/bin/env");
        assert_eq!(spaced.argument.unwrap(), b"python3 -u");
        assert_eq!(script(b"#!/bin/sh").interpreter, b"/bin/sh");
        assert_eq!(parse(b"#!  \nfoo"), Err(Errno::ENOEXEC));
        let mut long = b"#!/".to_vec();
        long.resize(HEAD, b'x');
        assert_eq!(parse(&long), Err(Errno::ENOEXEC));
    }
}
