//! The filter of a socket (SO_ATTACH_FILTER).

use thiserror::Error;

use crate::bpf::{BadProgram, Packet, Program};

/// Why a filter was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// EINVAL: not a program, or no such socket.
    #[error("not a filter program")]
    BadProgram,
    /// EPERM: it is locked (SO_LOCK_FILTER).
    #[error("the filter is locked")]
    Locked,
    /// ENOENT: there is none.
    #[error("the socket has no filter")]
    Missing,
    /// ENOPROTOOPT: sockets of this kind have none.
    #[error("not a socket with a filter")]
    NotSupported,
}

impl From<BadProgram> for FilterError {
    fn from(_: BadProgram) -> Self {
        Self::BadProgram
    }
}

/// A program, and whether it may be changed.
#[derive(Debug, Default)]
pub struct SocketFilter {
    program: Option<Program>,
    locked: bool,
}

impl SocketFilter {
    /// Sets the program from the bytes of an array of `struct sock_filter`.
    ///
    /// # Errors
    /// `Locked`, `BadProgram`.
    pub fn attach(&mut self, program: &[u8]) -> Result<(), FilterError> {
        if self.locked {
            return Err(FilterError::Locked);
        }
        self.program = Some(Program::from_bytes(program)?);
        Ok(())
    }

    /// Takes the program away.
    ///
    /// # Errors
    /// `Locked`, `Missing`.
    pub fn detach(&mut self) -> Result<(), FilterError> {
        if self.locked {
            return Err(FilterError::Locked);
        }
        self.program.take().map(drop).ok_or(FilterError::Missing)
    }

    /// Forbids changes; this is not undone.
    ///
    /// # Errors
    /// `Locked` if it is to be undone.
    pub fn lock(&mut self, on: bool) -> Result<(), FilterError> {
        if self.locked && !on {
            return Err(FilterError::Locked);
        }
        self.locked |= on;
        Ok(())
    }

    /// True if it may not be changed.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// How much of a packet is wanted; `None` drops it.
    pub(crate) fn keep(&self, packet: &Packet<'_>, len: usize) -> Option<usize> {
        match &self.program {
            None => Some(len),
            Some(program) => program.keep(packet),
        }
    }

    /// True if there is a program.
    pub(crate) fn is_some(&self) -> bool {
        self.program.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_filter_stays() {
        let mut filter = SocketFilter::default();
        let drops_all = [6, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(filter.detach(), Err(FilterError::Missing));
        assert_eq!(filter.attach(&drops_all[..4]), Err(FilterError::BadProgram));
        filter.attach(&drops_all).unwrap();
        assert_eq!(filter.keep(&Packet::default(), 5), None);
        filter.lock(true).unwrap();
        assert_eq!(filter.lock(false), Err(FilterError::Locked));
        assert_eq!(filter.attach(&drops_all), Err(FilterError::Locked));
        assert_eq!(filter.detach(), Err(FilterError::Locked));
    }
}
