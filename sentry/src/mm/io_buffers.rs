//! I/O to and from buffers of the Sentry.

use sentry_abi::Errno;

use super::io::{IoDst, IoSrc};

/// A destination in the Sentry: fills a slice.
pub struct BufDst<'a> {
    buffer: &'a mut [u8],
    filled: usize,
}

impl<'a> BufDst<'a> {
    /// Fills `buffer` from its start.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, filled: 0 }
    }

    /// How many bytes have been put.
    pub fn filled(&self) -> usize {
        self.filled
    }
}

impl IoDst for BufDst<'_> {
    fn remaining(&self) -> usize {
        self.buffer.len() - self.filled
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let n = bytes.len().min(self.remaining());
        self.buffer[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        Ok(n)
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let n = max.min(self.remaining());
        let rest = &mut self.buffer[self.filled..self.filled + n];
        let done = fill(&[libc::iovec {
            iov_base: rest.as_mut_ptr().cast(),
            iov_len: n,
        }])?;
        self.filled += done.min(n);
        Ok(done.min(n))
    }
}

/// A source in the Sentry: a slice.
pub struct BufSrc<'a> {
    rest: &'a [u8],
}

impl<'a> BufSrc<'a> {
    /// Gives the bytes of `bytes`, in order.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl IoSrc for BufSrc<'_> {
    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let n = buffer.len().min(self.rest.len());
        let (now, later) = self.rest.split_at(n);
        buffer[..n].copy_from_slice(now);
        self.rest = later;
        Ok(n)
    }

    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let n = max.min(self.rest.len());
        let done = drain(&[libc::iovec {
            iov_base: self.rest.as_ptr().cast_mut().cast(),
            iov_len: n,
        }])?;
        self.rest = &self.rest[done.min(n)..];
        Ok(done.min(n))
    }
}
