//! The keys of a server, and the cookies that they make. A cookie is a keyed hash of both addresses,
//! as in Linux, so that servers that share a key (and a kernel among them) accept each other's.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::rng::Rng;
use crate::transport::tcp::flow::FlowKey;
use crate::wire::tcp::FastOpenCookie;

const KEY_LEN: usize = 16;

/// One or two keys: cookies are made with the first, and those of the second are still taken, so
/// that keys can be changed while clients hold cookies.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FastOpenKeys {
    primary: [u8; KEY_LEN],
    backup: Option<[u8; KEY_LEN]>,
}

impl fmt::Debug for FastOpenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastOpenKeys").finish_non_exhaustive()
    }
}

/// What a cookie is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport::tcp) enum Worth {
    /// Made with the first key.
    Good,
    /// Made with the second: good, and to be replaced.
    Old,
    Nothing,
}

impl FastOpenKeys {
    /// Keys from the bytes of TCP_FASTOPEN_KEY: 16 for one, 32 for two.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk::<KEY_LEN>()?;
        let backup = match rest.len() {
            0 => None,
            _ => Some(rest.try_into().ok()?),
        };
        Some(Self {
            primary: *first,
            backup,
        })
    }

    /// The same bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.primary.to_vec();
        bytes.extend(self.backup.iter().flatten());
        bytes
    }

    /// Keys from the text of the sysctl: `a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4`, a comma before a
    /// second one.
    pub(in crate::transport::tcp) fn from_text(text: &str) -> Option<Self> {
        let mut keys = text.trim().split(',');
        let primary = key_from_text(keys.next()?)?;
        let backup = match keys.next() {
            Some(text) => Some(key_from_text(text)?),
            None => None,
        };
        keys.next().is_none().then_some(Self { primary, backup })
    }

    /// The text of the sysctl.
    pub(in crate::transport::tcp) fn to_text(self) -> String {
        let keys = [Some(self.primary), self.backup];
        let texts: Vec<String> = keys.iter().flatten().map(key_to_text).collect();
        texts.join(",")
    }

    pub(in crate::transport::tcp) fn random(rng: &mut Rng) -> Self {
        let mut primary = [0; KEY_LEN];
        let (low, high) = primary.split_at_mut(KEY_LEN / 2);
        low.copy_from_slice(&rng.next_u64().to_le_bytes());
        high.copy_from_slice(&rng.next_u64().to_le_bytes());
        Self {
            primary,
            backup: None,
        }
    }

    /// The cookie of the peer of `flow`.
    pub(in crate::transport::tcp) fn cookie(&self, flow: &FlowKey) -> FastOpenCookie {
        make(&self.primary, flow)
    }

    /// Looks at a cookie that the peer of `flow` shows.
    pub(in crate::transport::tcp) fn check(
        &self,
        flow: &FlowKey,
        cookie: &FastOpenCookie,
    ) -> Worth {
        let made_with = |key| make(key, flow).as_slice() == cookie.as_slice();
        if made_with(&self.primary) {
            Worth::Good
        } else if self.backup.as_ref().is_some_and(made_with) {
            Worth::Old
        } else {
            Worth::Nothing
        }
    }
}

fn make(key: &[u8; KEY_LEN], flow: &FlowKey) -> FastOpenCookie {
    let mut hasher = SipHasher24::new_with_key(key);
    for address in [flow.remote.ip(), flow.local.ip()] {
        match address {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
    }
    FastOpenCookie::new(&hasher.finish().to_le_bytes()).unwrap_or_default()
}

fn key_from_text(text: &str) -> Option<[u8; KEY_LEN]> {
    let mut key = [0; KEY_LEN];
    let mut words = text.split('-');
    for chunk in key.chunks_exact_mut(4) {
        let word = words.next().filter(|word| word.len() <= 8)?;
        let word = u32::from_str_radix(word, 16).ok()?;
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    words.next().is_none().then_some(key)
}

fn key_to_text(key: &[u8; KEY_LEN]) -> String {
    let words = key.chunks_exact(4).map(|chunk| {
        let word = chunk.iter().rev();
        word.map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(local: &str, remote: &str) -> FlowKey {
        FlowKey {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    /// The values that a Linux kernel with this key and these addresses gives.
    #[test]
    fn cookies_are_those_of_linux() {
        let keys = FastOpenKeys::from_text("a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4").unwrap();
        let v4 = flow("192.168.0.1:80", "192.0.2.1:1000");
        let v6 = flow("[fd3d:a0b:17d6::1]:80", "[fd3d:fa7b:d17d::1]:1000");
        assert_eq!(
            keys.cookie(&v4).as_slice(),
            [0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb]
        );
        assert_eq!(
            keys.cookie(&v6).as_slice(),
            [0xc1, 0xd1, 0xe9, 0x74, 0x2a, 0x47, 0xa9, 0xbc]
        );
    }

    #[test]
    fn a_second_key_is_good_for_old_cookies() {
        let old = FastOpenKeys::from_text("1-2-3-4").unwrap();
        let both = FastOpenKeys::from_text("5-6-7-8,1-2-3-4").unwrap();
        let flow = flow("10.0.0.1:80", "10.0.0.2:1");
        assert_eq!(both.check(&flow, &old.cookie(&flow)), Worth::Old);
        assert_eq!(both.check(&flow, &both.cookie(&flow)), Worth::Good);
        assert_eq!(old.check(&flow, &both.cookie(&flow)), Worth::Nothing);
    }

    #[test]
    fn keys_in_both_forms() {
        let text = "00000001-00000002-00000003-00000004,a1b2c3d4-00000000-00000000-00000000";
        let keys = FastOpenKeys::from_text(text).unwrap();
        assert_eq!(keys.to_text(), text);
        assert_eq!(FastOpenKeys::from_bytes(&keys.to_bytes()), Some(keys));
        for bad in [
            "",
            "1-2-3",
            "1-2-3-4-5",
            "1-2-3-x",
            "1-2-3-4,",
            "1-2-3-4,5-6-7-8,1-2-3-4",
        ] {
            assert_eq!(FastOpenKeys::from_text(bad), None, "{bad}");
        }
        assert_eq!(FastOpenKeys::from_bytes(&[0; 17]), None);
    }
}
