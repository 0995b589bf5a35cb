//! Entries by a key that never finds a later entry in the same place, and the tokens that epoll
//! gives back for them.

use slab::Slab;

/// Names one entry of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    index: u32,
    /// 24 bits of a count of all entries.
    serial: u32,
}

/// Entries by [`Key`].
#[derive(Debug)]
pub(super) struct Table<T> {
    slab: Slab<(u32, T)>,
    next: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slab: Slab::new(),
            next: 0,
        }
    }
}

impl<T> Table<T> {
    pub(super) fn insert(&mut self, entry: T) -> Key {
        self.next = (self.next + 1) & 0xff_ffff;
        let index = self.slab.insert((self.next, entry)) as u32;
        Key {
            index,
            serial: self.next,
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let (serial, entry) = self.slab.get(key.index as usize)?;
        (*serial == key.serial).then_some(entry)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (serial, entry) = self.slab.get_mut(key.index as usize)?;
        (*serial == key.serial).then_some(entry)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key.index as usize).1)
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slab.iter().map(|(index, (serial, entry))| {
            let key = Key {
                index: index as u32,
                serial: *serial,
            };
            (key, entry)
        })
    }
}

/// What a descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Tap,
    Exit,
    Signal,
    ApiListener,
    ApiClient(Key),
    Relay(Key),
    Flow(Key),
    Ping(Key),
    Forward(Key),
}

impl Token {
    /// As epoll keeps it: 8 bits of kind, 24 of serial number, 32 of index.
    pub(super) fn to_u64(self) -> u64 {
        let none = Key {
            index: 0,
            serial: 0,
        };
        let (kind, key) = match self {
            Self::Tap => (0, none),
            Self::Exit => (1, none),
            Self::Signal => (2, none),
            Self::ApiListener => (3, none),
            Self::ApiClient(key) => (4, key),
            Self::Relay(key) => (5, key),
            Self::Flow(key) => (6, key),
            Self::Ping(key) => (7, key),
            Self::Forward(key) => (8, key),
        };
        (kind << 56) | (u64::from(key.serial) << 32) | u64::from(key.index)
    }

    pub(super) fn from_u64(value: u64) -> Option<Self> {
        let key = Key {
            index: value as u32,
            serial: (value >> 32) as u32 & 0xff_ffff,
        };
        Some(match value >> 56 {
            0 => Self::Tap,
            1 => Self::Exit,
            2 => Self::Signal,
            3 => Self::ApiListener,
            4 => Self::ApiClient(key),
            5 => Self::Relay(key),
            6 => Self::Flow(key),
            7 => Self::Ping(key),
            8 => Self::Forward(key),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_only_its_own_entry() {
        let mut table = Table::default();
        let first = table.insert('a');
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('b');
        assert_eq!((first.index, table.get(first)), (second.index, None));
        assert_eq!(table.get(second), Some(&'b'));
        for token in [Token::Tap, Token::Relay(second), Token::Forward(second)] {
            assert_eq!(Token::from_u64(token.to_u64()), Some(token));
        }
        assert_eq!(Token::from_u64(u64::MAX), None);
    }
}
