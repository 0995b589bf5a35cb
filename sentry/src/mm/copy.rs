//! Copies between guest memory and the Sentry.
//!
//! The read lock is held while bytes move, so that no page is freed or broken meanwhile. A page that
//! is not there yet, or must be broken first, is faulted in under the write lock, and the copy goes on.

use std::sync::Arc;

use sentry_abi::Errno;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::manager::{MemLimit, MemoryManager};
use super::state::{Back, State};
use super::{MapBacking, Mappable, PAGE_SIZE, sys};
use crate::platform::Access;

/// Bytes of a string read at once.
const STRING_STEP: usize = 256;

/// Where a guest address is, and how many bytes follow it there.
pub(super) enum Located<'a> {
    /// In the memory file.
    Memory { offset: u64, len: u64 },
    /// In a file of the host (or one that moved to memory after it was mapped).
    File {
        file: &'a Arc<dyn Mappable>,
        offset: u64,
        len: u64,
    },
    /// Nowhere yet, or not for this access.
    Absent,
}

impl State {
    /// Finds what backs `addr`, for reading or writing.
    #[inline]
    pub(super) fn locate(&self, addr: u64, write: bool) -> Located<'_> {
        let Some((range, seg)) = self.segs.find(addr) else {
            return Located::Absent;
        };
        let usable = if write {
            seg.writable()
        } else {
            seg.readable()
        };
        if !usable {
            return Located::Absent;
        }
        let len = range.end - addr;
        match &seg.back {
            Back::Memory(offset) => Located::Memory {
                offset: offset + (addr - range.start),
                len,
            },
            Back::File(file, offset) => Located::File {
                file,
                offset: offset + (addr - range.start),
                len,
            },
        }
    }
}

impl MemoryManager {
    /// Backs the page at `addr` for the Sentry (the stub is told only what it has to know).
    pub(super) fn fault_in(&self, addr: u64, write: bool) -> Result<(), Errno> {
        let access = if write { Access::Write } else { Access::Read };
        let stack_limit = self.limit(MemLimit::Stack);
        let mut state = self.state.write();
        let backed = state.back_page(addr, access, stack_limit);
        let committed = self.commit(&mut state);
        backed.map_err(|_| Errno::EFAULT)?;
        committed
    }

    /// Copies guest memory out.
    ///
    /// # Errors
    /// EFAULT if not all of it can be read.
    #[inline]
    pub fn read(&self, addr: u64, dst: &mut [u8]) -> Result<(), Errno> {
        match self.read_partial(addr, dst) == dst.len() {
            true => Ok(()),
            false => Err(Errno::EFAULT),
        }
    }

    /// Copies into guest memory.
    ///
    /// # Errors
    /// EFAULT if not all of it can be written (what comes before has been).
    #[inline]
    pub fn write(&self, addr: u64, src: &[u8]) -> Result<(), Errno> {
        match self.write_partial(addr, src) == src.len() {
            true => Ok(()),
            false => Err(Errno::EFAULT),
        }
    }

    /// As [`MemoryManager::read`]; how many bytes could be read.
    pub fn read_partial(&self, addr: u64, dst: &mut [u8]) -> usize {
        let mut done = 0;
        let mut state = self.state.read_recursive();
        while done < dst.len() {
            let Some(at) = addr.checked_add(done as u64) else {
                break;
            };
            let rest = &mut dst[done..];
            let (want, got) = match state.locate(at, false) {
                Located::Memory { offset, len } => {
                    let n = rest.len().min(len as usize);
                    (n, self.memory.read_at(offset, &mut rest[..n]))
                }
                Located::File { file, offset, len } => {
                    let n = rest.len().min(len as usize);
                    (n, self.read_file(file, offset, &mut rest[..n]))
                }
                Located::Absent => {
                    drop(state);
                    if self.fault_in(at, false).is_err() {
                        return done;
                    }
                    state = self.state.read_recursive();
                    continue;
                }
            };
            done += got;
            if got < want {
                break;
            }
        }
        done
    }

    /// As [`MemoryManager::write`]; how many bytes could be written.
    pub fn write_partial(&self, addr: u64, src: &[u8]) -> usize {
        let mut done = 0;
        let mut state = self.state.read_recursive();
        while done < src.len() {
            let Some(at) = addr.checked_add(done as u64) else {
                break;
            };
            let rest = &src[done..];
            let (want, got) = match state.locate(at, true) {
                Located::Memory { offset, len } => {
                    let n = rest.len().min(len as usize);
                    (n, self.memory.write_at(offset, &rest[..n]))
                }
                Located::File { file, offset, len } => {
                    let n = rest.len().min(len as usize);
                    (n, self.write_file(file, offset, &rest[..n]))
                }
                Located::Absent => {
                    drop(state);
                    if self.fault_in(at, true).is_err() {
                        return done;
                    }
                    state = self.state.read_recursive();
                    continue;
                }
            };
            done += got;
            if got < want {
                break;
            }
        }
        done
    }

    /// Reads a mapped file as the mapping would: zeros up to the end of the last page.
    fn read_file(&self, file: &Arc<dyn Mappable>, offset: u64, dst: &mut [u8]) -> usize {
        match file.backing(offset, dst.len() as u64) {
            Ok(MapBacking::Host { fd, offset }) => {
                let mut done = 0;
                while done < dst.len() {
                    let at = (offset + done as u64) as i64;
                    match nix::sys::uio::pread(fd, &mut dst[done..], at) {
                        Ok(0) | Err(_) => break,
                        Ok(n) => done += n,
                    }
                }
                if done < dst.len() {
                    let size = nix::sys::stat::fstat(fd).map_or(0, |stat| stat.st_size as u64);
                    let valid = size.next_multiple_of(PAGE_SIZE).saturating_sub(offset);
                    let end = dst.len().min(valid as usize).max(done);
                    dst[done..end].fill(0);
                    done = end;
                }
                done
            }
            Ok(MapBacking::Memory { offset, len }) => {
                let n = dst.len().min(len as usize);
                self.memory.read_at(offset, &mut dst[..n])
            }
            Err(_) => 0,
        }
    }

    /// Writes to a shared mapping of a file, through a mapping of our own (a write of the file could
    /// extend it).
    fn write_file(&self, file: &Arc<dyn Mappable>, offset: u64, src: &[u8]) -> usize {
        let start = offset / PAGE_SIZE * PAGE_SIZE;
        let within = offset - start;
        let len = within as usize + src.len();
        match file.backing(start, len as u64) {
            Ok(MapBacking::Host { fd, offset }) => sys::Mapping::new(fd, offset, len, true)
                .map_or(0, |map| super::guest_copy::write(&map, within, src)),
            Ok(MapBacking::Memory { offset, len }) => {
                let n = src.len().min(len.saturating_sub(within) as usize);
                self.memory.write_at(offset + within, &src[..n])
            }
            Err(_) => 0,
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// EFAULT
    #[inline]
    pub fn read_val<T: FromBytes + IntoBytes>(&self, addr: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a value.
    ///
    /// # Errors
    /// EFAULT
    #[inline]
    pub fn write_val<T: IntoBytes + Immutable>(&self, addr: u64, value: &T) -> Result<(), Errno> {
        self.write(addr, value.as_bytes())
    }

    /// Reads `count` values in a row.
    ///
    /// # Errors
    /// EFAULT; EINVAL if the size overflows. The caller bounds `count`.
    pub fn read_array<T>(&self, addr: u64, count: usize) -> Result<Vec<T>, Errno>
    where
        T: FromBytes + IntoBytes + Clone + FromZeros,
    {
        let mut values = vec![T::new_zeroed(); count];
        self.read(addr, values.as_mut_slice().as_mut_bytes())?;
        Ok(values)
    }

    /// Reads a string up to its NUL (which is left out).
    ///
    /// # Errors
    /// EFAULT; ENAMETOOLONG if there is no NUL within `max` bytes.
    pub fn read_cstr(&self, addr: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        let mut step = [0; STRING_STEP];
        let mut at = addr;
        while string.len() < max {
            // Never across a page: what follows the string may be unmapped.
            let to_page_end = (PAGE_SIZE - at % PAGE_SIZE) as usize;
            let n = to_page_end.min(STRING_STEP).min(max - string.len());
            self.read(at, &mut step[..n])?;
            if let Some(end) = step[..n].iter().position(|&b| b == 0) {
                string.extend_from_slice(&step[..end]);
                return Ok(string);
            }
            string.extend_from_slice(&step[..n]);
            at = at.checked_add(n as u64).ok_or(Errno::EFAULT)?;
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// EFAULT. The caller bounds `len`.
    pub fn read_vec(&self, addr: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; len];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }
}
