//! Sources and destinations of file I/O: guest memory or a buffer of the Sentry, behind one type each.

use sentry_abi::Errno;

/// Where `read` puts its bytes. Bytes are appended; a short count is not an error.
pub trait IoDst {
    /// Bytes that still fit.
    fn remaining(&self) -> usize;

    /// Appends `bytes`, at most `remaining`; returns how many went in.
    ///
    /// # Errors
    /// EFAULT if nothing could be written because the memory is not there (partial progress is a count).
    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno>;

    /// Lets a host read fill up to `max` bytes directly: calls `fill` with host I/O vectors that
    /// alias the destination, and appends what it says it wrote.
    ///
    /// # Errors
    /// EFAULT as `put`; otherwise what `fill` returns.
    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno>;
}

/// Where `write` takes its bytes from.
pub trait IoSrc {
    /// Bytes that are left.
    fn remaining(&self) -> usize;

    /// Takes up to `buffer.len()` bytes.
    ///
    /// # Errors
    /// EFAULT if the first byte cannot be read.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// Lets a host write read up to `max` bytes directly; consumes what `drain` says it took.
    ///
    /// # Errors
    /// EFAULT as `take`; otherwise what `drain` returns.
    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno>;
}
