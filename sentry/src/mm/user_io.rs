//! Guest buffers as sources and destinations of file I/O, without a copy in between where the host
//! can read or write them directly.

use sentry_abi::Errno;
use smallvec::SmallVec;

use super::copy::Located;
use super::io::{IoDst, IoSrc};
use super::manager::MemoryManager;

/// Most elements of an I/O vector (IOV_MAX).
const IOV_MAX: usize = 1024;
/// Most bytes that one call moves (Linux's MAX_RW_COUNT).
const MAX_RW: u64 = 0x7fff_f000;
/// Addresses of user space end here (TASK_SIZE_MAX).
const USER_END: u64 = (1 << 47) - 4096;
/// Host vectors passed to one host call.
const HOST_VECTORS: usize = 64;
/// Buffer for memory that the host cannot reach directly.
const BOUNCE: usize = 64 << 10;

/// One guest buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoVec {
    /// Address.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
}

/// Guest buffers, in order.
pub type IoVecs = SmallVec<[IoVec; 4]>;

impl MemoryManager {
    /// Reads a `struct iovec` array. What goes beyond Linux's bound of one call is cut off.
    ///
    /// # Errors
    /// EINVAL (more than IOV_MAX, a negative length), EFAULT.
    pub fn read_iovecs(&self, addr: u64, count: usize) -> Result<IoVecs, Errno> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let mut vecs = IoVecs::with_capacity(count);
        let mut total = 0;
        for pair in self.read_array::<[u64; 2]>(addr, count)? {
            let [addr, len] = pair;
            if i64::try_from(len).is_err() {
                return Err(Errno::EINVAL);
            }
            let len = len.min(MAX_RW - total);
            total += len;
            vecs.push(checked(addr, len)?);
        }
        Ok(vecs)
    }

    /// One buffer, as read(2) and write(2) have it.
    ///
    /// # Errors
    /// EFAULT if it leaves user space.
    pub fn one_iovec(&self, addr: u64, len: u64) -> Result<IoVecs, Errno> {
        let whole = checked(addr, len)?;
        let len = whole.len.min(MAX_RW);
        Ok(SmallVec::from_iter([IoVec { len, ..whole }]))
    }

    /// One buffer, as sendto(2) and recvfrom(2) have it: cut before it is looked at where it ends.
    ///
    /// # Errors
    /// EFAULT if it leaves user space.
    pub fn message_iovec(&self, addr: u64, len: u64) -> Result<IoVecs, Errno> {
        self.one_iovec(addr, len.min(MAX_RW))
    }

    /// A destination over guest buffers.
    pub fn user_dst(&self, vecs: IoVecs) -> UserDst<'_> {
        UserDst(Cursor::new(self, vecs))
    }

    /// A source over guest buffers.
    pub fn user_src(&self, vecs: IoVecs) -> UserSrc<'_> {
        UserSrc(Cursor::new(self, vecs))
    }
}

fn checked(addr: u64, len: u64) -> Result<IoVec, Errno> {
    match addr.checked_add(len) {
        Some(end) if end <= USER_END => Ok(IoVec { addr, len }),
        _ => Err(Errno::EFAULT),
    }
}

/// Guest buffers that a read fills.
pub struct UserDst<'a>(Cursor<'a>);

/// Guest buffers that a write empties.
pub struct UserSrc<'a>(Cursor<'a>);

/// A position in guest buffers.
struct Cursor<'a> {
    mm: &'a MemoryManager,
    vecs: IoVecs,
    index: usize,
    left: u64,
}

impl<'a> Cursor<'a> {
    fn new(mm: &'a MemoryManager, vecs: IoVecs) -> Self {
        let left = vecs.iter().map(|vec| vec.len).sum();
        Self {
            mm,
            vecs,
            index: 0,
            left,
        }
    }

    /// The buffer at the position.
    fn now(&mut self) -> Option<IoVec> {
        while let Some(vec) = self.vecs.get(self.index) {
            if vec.len > 0 {
                return Some(*vec);
            }
            self.index += 1;
        }
        None
    }

    fn advance(&mut self, mut by: u64) {
        while by > 0 {
            let Some(vec) = self.vecs.get_mut(self.index) else {
                return;
            };
            let n = by.min(vec.len);
            vec.addr += n;
            vec.len -= n;
            self.left -= n;
            by -= n;
            if vec.len == 0 {
                self.index += 1;
            }
        }
    }

    /// Moves up to `len` bytes with `copy(mm, address, range of the buffer)`.
    fn each(
        &mut self,
        len: usize,
        mut copy: impl FnMut(&MemoryManager, u64, std::ops::Range<usize>) -> usize,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < len {
            let Some(vec) = self.now() else { break };
            let n = (vec.len as usize).min(len - done);
            let got = copy(self.mm, vec.addr, done..done + n);
            self.advance(got as u64);
            done += got;
            if got < n {
                break;
            }
        }
        if done == 0 && len > 0 && self.left > 0 {
            return Err(Errno::EFAULT);
        }
        Ok(done)
    }

    /// Calls `io` with host vectors over the next `max` bytes, and advances by what it says. `None` if
    /// the next byte is in no memory that the host can reach directly.
    fn direct(
        &mut self,
        max: usize,
        write: bool,
        io: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<Option<usize>, Errno> {
        let max = (max as u64).min(self.left);
        loop {
            let state = self.mm.state.read_recursive();
            let mut host: SmallVec<[libc::iovec; 8]> = SmallVec::new();
            let mut sum = 0;
            let mut absent = None;
            'vecs: for vec in &self.vecs[self.index.min(self.vecs.len())..] {
                let mut at = vec.addr;
                let end = vec.addr + vec.len.min(max - sum);
                while at < end && host.len() < HOST_VECTORS {
                    match state.locate(at, write) {
                        Located::Memory { offset, len } => {
                            let n = len.min(end - at);
                            let Some(base) = self.mm.memory.host_address(offset, n as usize) else {
                                break 'vecs;
                            };
                            host.push(libc::iovec {
                                iov_base: base.cast(),
                                iov_len: n as usize,
                            });
                            at += n;
                            sum += n;
                        }
                        Located::File { .. } => break 'vecs,
                        Located::Absent => {
                            absent = Some(at);
                            break 'vecs;
                        }
                    }
                }
            }
            // Fault in what is missing and collect again; what cannot be had ends the vectors.
            if let Some(at) = absent {
                drop(state);
                match self.mm.fault_in(at, write) {
                    Ok(()) => continue,
                    Err(error) if sum == 0 => return Err(error),
                    Err(_) => {
                        return self.direct(sum as usize, write, io);
                    }
                }
            }
            if host.is_empty() {
                return Ok(None);
            }
            let done = io(&host)?.min(sum as usize);
            drop(state);
            self.advance(done as u64);
            return Ok(Some(done));
        }
    }
}

impl IoDst for UserDst<'_> {
    fn remaining(&self) -> usize {
        self.0.left as usize
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.0.each(bytes.len(), |mm, addr, part| {
            mm.write_partial(addr, &bytes[part])
        })
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if max == 0 || self.0.left == 0 {
            return fill(&[]).map(|_| 0);
        }
        if let Some(done) = self.0.direct(max, true, fill)? {
            return Ok(done);
        }
        let mut bounce = vec![0u8; max.min(self.remaining()).min(BOUNCE)];
        let n = fill(&[libc::iovec {
            iov_base: bounce.as_mut_ptr().cast(),
            iov_len: bounce.len(),
        }])?;
        self.put(&bounce[..n.min(bounce.len())])
    }
}

impl IoSrc for UserSrc<'_> {
    fn remaining(&self) -> usize {
        self.0.left as usize
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.0.each(buffer.len(), |mm, addr, part| {
            mm.read_partial(addr, &mut buffer[part])
        })
    }

    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if max == 0 || self.0.left == 0 {
            return drain(&[]).map(|_| 0);
        }
        if let Some(done) = self.0.direct(max, false, drain)? {
            return Ok(done);
        }
        let mut bounce = vec![0u8; max.min(self.remaining()).min(BOUNCE)];
        let mut peek = Cursor {
            mm: self.0.mm,
            vecs: self.0.vecs.clone(),
            index: self.0.index,
            left: self.0.left,
        };
        let have = peek.each(bounce.len(), |mm, addr, part| {
            mm.read_partial(addr, &mut bounce[part])
        })?;
        let n = drain(&[libc::iovec {
            iov_base: bounce.as_mut_ptr().cast(),
            iov_len: have,
        }])?;
        self.0.advance(n.min(have) as u64);
        Ok(n.min(have))
    }
}
