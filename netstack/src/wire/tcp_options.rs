//! The TCP options (RFC 9293, RFC 7323, RFC 2018, RFC 7413).

use super::{be16, be32};
use arrayvec::ArrayVec;

/// Room for options.
pub const OPTIONS_LEN_MAX: usize = super::tcp::HEADER_LEN_MAX - super::tcp::HEADER_LEN;
/// The largest window shift (RFC 7323 section 2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;

/// SACK blocks that fit beside nothing else.
pub const SACK_BLOCKS_MAX: usize = 4;

/// Option kinds.
pub mod kind {
    /// End of the list.
    pub const END: u8 = 0;
    /// Padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const WINDOW_SCALE: u8 = 3;
    /// SACK permitted.
    pub const SACK_PERMITTED: u8 = 4;
    /// SACK blocks.
    pub const SACK: u8 = 5;
    /// Timestamps.
    pub const TIMESTAMPS: u8 = 8;
    /// MD5 signature (RFC 2385): skipped.
    pub const MD5: u8 = 19;
    /// Fast Open cookie.
    pub const FAST_OPEN: u8 = 34;
    /// Experiments, told apart by the number that follows (RFC 6994).
    pub const EXPERIMENT: u8 = 254;
}

/// The number of Fast Open among the experiments.
const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xf9, 0x89];

/// The timestamps option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval.
    pub val: u32,
    /// TSecr.
    pub ecr: u32,
}

/// A Fast Open cookie (RFC 7413): empty when one is requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOpenCookie {
    bytes: [u8; 16],
    len: u8,
    experimental: bool,
}

impl FastOpenCookie {
    /// A cookie of `bytes`: none, or an even number from 4 to 16.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let valid =
            bytes.is_empty() || ((4..=16).contains(&bytes.len()) && bytes.len().is_multiple_of(2));
        valid.then(|| {
            let mut cookie = Self {
                bytes: [0; 16],
                len: bytes.len() as u8,
                experimental: false,
            };
            cookie.bytes[..bytes.len()].copy_from_slice(bytes);
            cookie
        })
    }

    /// The cookie.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// True if the option asks for a cookie.
    pub fn is_request(&self) -> bool {
        self.len == 0
    }

    /// True if the cookie came, or is to go, in the experimental option that was there before
    /// Fast Open had a number of its own.
    pub fn is_experimental(&self) -> bool {
        self.experimental
    }

    /// The same cookie in the experimental option, or in the one of RFC 7413.
    #[must_use]
    pub fn with_form(self, experimental: bool) -> Self {
        Self {
            experimental,
            ..self
        }
    }

    /// Bytes of the option before the cookie.
    fn prefix_len(&self) -> usize {
        if self.experimental { 4 } else { 2 }
    }

    fn option_len(&self) -> usize {
        self.prefix_len() + usize::from(self.len)
    }
}

/// A SACK block: the left edge, and the sequence number after its last byte.
pub type SackBlock = (u32, u32);

/// The options of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size; only on SYN.
    pub mss: Option<u16>,
    /// Window shift, at most 14 (larger values read as 14, RFC 7323 section 2.3); only on SYN.
    pub window_scale: Option<u8>,
    /// SACK permitted; only on SYN.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks in the order of the option. When emitting, those without room are left out.
    pub sack: ArrayVec<SackBlock, SACK_BLOCKS_MAX>,
    /// Fast Open cookie or request; only on SYN.
    pub fast_open: Option<FastOpenCookie>,
    /// An option had an impossible length: what came before it counts, the rest was not read.
    pub malformed: bool,
}

impl TcpOptions {
    /// Reads an option list. Options that belong on SYN only are ignored elsewhere, unknown ones
    /// always, and those with a length that their kind does not have are skipped, all as Linux does
    /// (`tcp_parse_options`).
    pub fn parse(mut list: &[u8], syn: bool) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = list {
            match *kind {
                kind::END => break,
                kind::NOP => list = rest,
                kind => {
                    let Some(len) = rest.first().map(|len| usize::from(*len)) else {
                        options.malformed = true;
                        break;
                    };
                    if len < 2 || len > list.len() {
                        options.malformed = true;
                        break;
                    }
                    options.read(kind, &list[2..len], syn);
                    list = &list[len..];
                }
            }
        }
        options
    }

    fn read(&mut self, kind: u8, value: &[u8], syn: bool) {
        match (kind, value.len()) {
            (kind::MSS, 2) if syn => self.mss = Some(be16(value, 0)),
            (kind::WINDOW_SCALE, 1) if syn => {
                self.window_scale = Some(value[0].min(WINDOW_SCALE_MAX));
            }
            (kind::SACK_PERMITTED, 0) if syn => self.sack_permitted = true,
            (kind::TIMESTAMPS, 8) => {
                self.timestamps = Some(Timestamps {
                    val: be32(value, 0),
                    ecr: be32(value, 4),
                });
            }
            (kind::SACK, len) if len >= 8 && len.is_multiple_of(8) => {
                self.sack = value
                    .chunks_exact(8)
                    .take(SACK_BLOCKS_MAX)
                    .map(|block| (be32(block, 0), be32(block, 4)))
                    .collect();
            }
            (kind::FAST_OPEN, _) if syn => {
                if let Some(cookie) = FastOpenCookie::new(value) {
                    self.fast_open = Some(cookie);
                }
            }
            (kind::EXPERIMENT, 2..) if syn && value[..2] == FAST_OPEN_EXPERIMENT => {
                if let Some(cookie) = FastOpenCookie::new(&value[2..]) {
                    self.fast_open = Some(cookie.with_form(true));
                }
            }
            _ => {}
        }
    }

    /// SACK blocks that fit beside the other options.
    fn sack_room(&self) -> usize {
        let free = OPTIONS_LEN_MAX - self.len_without_sack();
        (free.saturating_sub(4) / 8).min(self.sack.len())
    }

    fn len_without_sack(&self) -> usize {
        let mut len = 0;
        len += if self.mss.is_some() { 4 } else { 0 };
        // SACK permitted sits in the padding before the timestamps if both are there.
        len += match (self.timestamps.is_some(), self.sack_permitted) {
            (true, _) => 12,
            (false, true) => 4,
            (false, false) => 0,
        };
        len += if self.window_scale.is_some() { 4 } else { 0 };
        match &self.fast_open {
            Some(cookie) => len + cookie.option_len().next_multiple_of(4),
            None => len,
        }
    }

    /// Bytes that the options take, padding included: a multiple of 4, at most 40.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a length on the wire, not a count"
    )]
    pub fn len(&self) -> usize {
        let blocks = self.sack_room();
        self.len_without_sack() + if blocks == 0 { 0 } else { 4 + 8 * blocks }
    }

    /// Writes the options in the order that Linux uses: MSS, SACK permitted, timestamps, window
    /// scale, SACK blocks, Fast Open.
    pub(super) fn emit(&self, out: &mut [u8]) {
        let mut at = Cursor { out, at: 0 };
        if let Some(mss) = self.mss {
            at.put(&[kind::MSS, 4]);
            at.put(&mss.to_be_bytes());
        }
        if self.sack_permitted {
            if self.timestamps.is_none() {
                at.put(&[kind::NOP, kind::NOP]);
            }
            at.put(&[kind::SACK_PERMITTED, 2]);
        } else if self.timestamps.is_some() {
            at.put(&[kind::NOP, kind::NOP]);
        }
        if let Some(Timestamps { val, ecr }) = self.timestamps {
            at.put(&[kind::TIMESTAMPS, 10]);
            at.put(&val.to_be_bytes());
            at.put(&ecr.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            at.put(&[kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_room();
        if blocks > 0 {
            at.put(&[kind::NOP, kind::NOP, kind::SACK, 2 + 8 * blocks as u8]);
            for (left, right) in &self.sack[..blocks] {
                at.put(&left.to_be_bytes());
                at.put(&right.to_be_bytes());
            }
        }
        if let Some(cookie) = &self.fast_open {
            let len = cookie.option_len() as u8;
            if cookie.experimental {
                at.put(&[kind::EXPERIMENT, len]);
                at.put(&FAST_OPEN_EXPERIMENT);
            } else {
                at.put(&[kind::FAST_OPEN, len]);
            }
            at.put(cookie.as_slice());
        }
        let end = at.at;
        out[end..].fill(kind::NOP);
    }
}

struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}
