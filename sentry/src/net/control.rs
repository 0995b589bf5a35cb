//! Ancillary data: what goes beside the bytes of a message.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::vfs::OpenFile;

/// Files in one message (the kernel's SCM_MAX_FD).
pub const SCM_MAX_FD: usize = 253;

/// Bytes of a `struct cmsghdr`.
const HEADER: usize = 16;

/// Process, user and group of a sender (`struct ucred`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // self-explanatory
pub struct Ucred {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl Ucred {
    /// As `struct ucred` in bytes.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.uid.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.gid.to_ne_bytes());
        bytes
    }
}

/// What goes along with a message, in the Sentry's terms.
#[derive(Clone, Default)]
pub struct Control {
    /// SCM_RIGHTS
    pub files: Vec<Arc<OpenFile>>,
    /// SCM_CREDENTIALS
    pub creds: Option<Ucred>,
    /// Messages of the network providers (IP_PKTINFO, IP_TTL ...): level, type, data.
    pub other: Vec<(i32, i32, Vec<u8>)>,
}

impl Control {
    /// True if nothing goes along.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.creds.is_none() && self.other.is_empty()
    }
}

/// One control message as the guest wrote it.
#[derive(Debug, PartialEq, Eq)]
pub struct RawControl<'a> {
    /// cmsg_level
    pub level: i32,
    /// cmsg_type
    pub kind: i32,
    /// The data after the header.
    pub data: &'a [u8],
}

/// Splits a control buffer into its messages.
///
/// # Errors
/// EINVAL if a header does not fit or its length is nonsense (as Linux's `CMSG_OK`).
pub fn parse(mut buffer: &[u8]) -> Result<Vec<RawControl<'_>>, Errno> {
    let mut messages = Vec::new();
    while buffer.len() >= HEADER {
        let word = |at: usize| -> [u8; 4] { std::array::from_fn(|i| buffer[at + i]) };
        let len = u64::from_ne_bytes(std::array::from_fn(|i| buffer[i]));
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        if len < HEADER || len > buffer.len() {
            return Err(Errno::EINVAL);
        }
        messages.push(RawControl {
            level: i32::from_ne_bytes(word(8)),
            kind: i32::from_ne_bytes(word(12)),
            data: &buffer[HEADER..len],
        });
        buffer = &buffer[len.next_multiple_of(8).min(buffer.len())..];
    }
    Ok(messages)
}

/// Collects control messages for the guest within the space it gave.
pub struct Writer {
    bytes: Vec<u8>,
    space: usize,
    truncated: bool,
}

impl Writer {
    /// Room for `space` bytes.
    pub fn new(space: usize) -> Self {
        Self {
            bytes: Vec::new(),
            space,
            truncated: false,
        }
    }

    /// How many bytes of data a message that is put now can hold; `None` if not even its header fits.
    pub fn data_space(&self) -> Option<usize> {
        self.space.checked_sub(self.bytes.len() + HEADER)
    }

    /// Appends a message; one that does not fit is cut, and MSG_CTRUNC told (`put_cmsg`).
    pub fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let Some(space) = self.data_space() else {
            self.truncated = true;
            return;
        };
        let data = if data.len() > space {
            self.truncated = true;
            &data[..space]
        } else {
            data
        };
        self.bytes
            .extend_from_slice(&((HEADER + data.len()) as u64).to_ne_bytes());
        self.bytes.extend_from_slice(&level.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(data);
        let padded = self.bytes.len().next_multiple_of(8).min(self.space);
        self.bytes.resize(padded, 0);
    }

    /// Notes that something was left out.
    pub fn set_truncated(&mut self) {
        self.truncated = true;
    }

    /// The bytes, and whether something was cut (MSG_CTRUNC).
    pub fn finish(self) -> (Vec<u8>, bool) {
        (self.bytes, self.truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_parsed() {
        let mut writer = Writer::new(100);
        writer.put(1, 2, &[1, 2, 3]);
        writer.put(3, 4, &[9; 8]);
        let (bytes, truncated) = writer.finish();
        assert!(!truncated);
        let messages = parse(&bytes).unwrap();
        assert_eq!(
            messages[0],
            RawControl {
                level: 1,
                kind: 2,
                data: &[1, 2, 3]
            }
        );
        assert_eq!(
            messages[1],
            RawControl {
                level: 3,
                kind: 4,
                data: &[9; 8]
            }
        );
    }

    #[test]
    fn too_little_space_is_told() {
        let mut writer = Writer::new(20);
        writer.put(1, 2, &[1; 12]);
        let (bytes, truncated) = writer.finish();
        assert!(truncated);
        assert_eq!(bytes.len(), 20);
    }

    #[test]
    fn nonsense_lengths_are_refused() {
        let mut buffer = [0_u8; 32];
        buffer[0] = 8;
        assert!(parse(&buffer).is_err());
        buffer[0] = 200;
        assert!(parse(&buffer).is_err());
        assert_eq!(parse(&buffer[..15]), Ok(vec![]));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
