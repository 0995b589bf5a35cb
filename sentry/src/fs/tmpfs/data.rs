//! The contents of one file: runs of pages in the storage, holes between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sentry_abi::Errno;

use super::storage::Storage;
use crate::mm::PAGE_SIZE;

/// Pages of the largest run that is allocated ahead of a growing file.
const MAX_RUN: u64 = 256;

/// Contiguous pages: `pages` from `offset` in the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    offset: u64,
    pages: u64,
}

/// Contents of a file. Bytes past `size` in the last page are zero.
pub struct FileData {
    storage: Arc<dyn Storage>,
    size: u64,
    /// By first page within the file; never overlapping.
    runs: BTreeMap<u64, Run>,
    pages: u64,
}

impl FileData {
    /// An empty file.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            size: 0,
            runs: BTreeMap::new(),
            pages: 0,
        }
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Pages that are allocated.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The run that holds `page`: its first page and it.
    fn run_at(&self, page: u64) -> Option<(u64, Run)> {
        let (&first, &run) = self.runs.range(..=page).next_back()?;
        (page < first + run.pages).then_some((first, run))
    }

    /// Where byte `at` is stored, and how many bytes are contiguous from there; for a hole, `None` and how
    /// long it is.
    fn span(&self, at: u64) -> (Option<u64>, u64) {
        let page = at / PAGE_SIZE;
        if let Some((first, run)) = self.run_at(page) {
            let start = at - first * PAGE_SIZE;
            return (Some(run.offset + start), run.pages * PAGE_SIZE - start);
        }
        let next = self.runs.range(page..).next();
        let end = next.map_or(u64::MAX, |(&first, _)| first * PAGE_SIZE);
        (None, end - at)
    }

    /// Reads from `at` on, up to the end of the file; how many bytes there were.
    ///
    /// # Errors
    /// EIO.
    pub fn read_bytes(&self, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let from = at.saturating_add(done as u64);
            if from >= self.size {
                break;
            }
            let (stored, span) = self.span(from);
            let len = (self.size - from)
                .min(span)
                .min((buffer.len() - done) as u64) as usize;
            let chunk = &mut buffer[done..done + len];
            match stored {
                Some(offset) => self.storage.read(offset, chunk)?,
                None => chunk.fill(0),
            }
            done += len;
        }
        Ok(done)
    }

    /// Writes `bytes` at `at`, growing the file.
    ///
    /// # Errors
    /// ENOSPC, EFBIG.
    pub fn write_bytes(&mut self, bytes: &[u8], at: u64) -> Result<(), Errno> {
        let end = at.checked_add(bytes.len() as u64);
        let end = end
            .filter(|&end| end <= i64::MAX as u64)
            .ok_or(Errno::EFBIG)?;
        self.populate(at, bytes.len() as u64)?;
        let (mut from, mut left) = (at, bytes);
        while !left.is_empty() {
            let (Some(offset), span) = self.span(from) else {
                return Err(Errno::EIO);
            };
            let count = left.len().min(usize::try_from(span).unwrap_or(usize::MAX));
            self.storage.write(offset, &left[..count])?;
            from += count as u64;
            left = &left[count..];
        }
        self.size = self.size.max(end);
        Ok(())
    }

    /// Allocates the pages of `at..at + len` that are holes.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn populate(&mut self, at: u64, len: u64) -> Result<(), Errno> {
        let mut page = at / PAGE_SIZE;
        let end = at.saturating_add(len).div_ceil(PAGE_SIZE);
        while page < end {
            if let Some((first, run)) = self.run_at(page) {
                page = first + run.pages;
                continue;
            }
            let next = self.runs.range(page..).next();
            let limit = next.map_or(u64::MAX, |(&first, _)| first);
            let want = (end - page).max(self.ahead(page)).min(limit - page);
            let pages = self.add_run(page, want)?;
            page += pages;
        }
        Ok(())
    }

    /// Pages to allocate at `page` if it continues the file: files that grow get runs that grow.
    fn ahead(&self, page: u64) -> u64 {
        let appending =
            page * PAGE_SIZE >= self.size && page > 0 && self.run_at(page - 1).is_some();
        if appending { page.min(MAX_RUN) } else { 1 }
    }

    fn add_run(&mut self, page: u64, pages: u64) -> Result<u64, Errno> {
        // With less room than would be good, page by page.
        let (offset, pages) = match self.storage.allocate(pages * PAGE_SIZE) {
            Ok(offset) => (offset, pages),
            Err(_) => {
                let one = self.storage.allocate(PAGE_SIZE);
                (one.map_err(|_| Errno::ENOSPC)?, 1)
            }
        };
        self.pages += pages;
        // Runs that continue each other in the storage are one: mappings then merge on the host.
        let before = page.checked_sub(1).and_then(|before| self.run_at(before));
        if let Some((first, run)) = before
            && run.offset + run.pages * PAGE_SIZE == offset
        {
            let pages = run.pages + pages;
            let offset = run.offset;
            self.runs.insert(first, Run { offset, pages });
        } else {
            self.runs.insert(page, Run { offset, pages });
        }
        Ok(pages)
    }

    /// Sets the size; what is cut off is freed, what is added reads as zero.
    ///
    /// # Errors
    /// EFBIG, EIO.
    pub fn resize(&mut self, size: u64) -> Result<(), Errno> {
        if size > i64::MAX as u64 {
            return Err(Errno::EFBIG);
        }
        if size < self.size || self.pages > size.div_ceil(PAGE_SIZE) {
            self.free_pages(size.div_ceil(PAGE_SIZE), u64::MAX);
            self.zero_within(size, size.next_multiple_of(PAGE_SIZE))?;
        }
        self.size = size;
        Ok(())
    }

    /// Makes `at..at + len` a hole.
    ///
    /// # Errors
    /// EIO.
    pub fn punch(&mut self, at: u64, len: u64) -> Result<(), Errno> {
        let end = at.saturating_add(len);
        let (first, last) = (at.div_ceil(PAGE_SIZE), end / PAGE_SIZE);
        if first > last {
            return self.zero_within(at, end);
        }
        self.zero_within(at, first * PAGE_SIZE)?;
        self.zero_within(last * PAGE_SIZE, end)?;
        self.free_pages(first, last);
        Ok(())
    }

    /// Zeroes bytes of one page, if it is allocated.
    fn zero_within(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        if from >= to {
            return Ok(());
        }
        let (Some(offset), _) = self.span(from) else {
            return Ok(());
        };
        let zeros = [0u8; PAGE_SIZE as usize];
        self.storage.write(offset, &zeros[..(to - from) as usize])
    }

    /// Frees pages `from..to`.
    fn free_pages(&mut self, from: u64, to: u64) {
        if let Some((first, run)) = self.run_at(from).filter(|(first, _)| *first < from) {
            self.split(first, run, from);
        }
        if let Some((first, run)) = self.run_at(to).filter(|(first, _)| *first < to) {
            self.split(first, run, to);
        }
        let gone: Vec<(u64, Run)> = self.runs.range(from..to).map(|(&f, &r)| (f, r)).collect();
        for (first, run) in gone {
            self.runs.remove(&first);
            self.pages -= run.pages;
            self.storage.release(run.offset, run.pages * PAGE_SIZE);
        }
    }

    fn split(&mut self, first: u64, run: Run, at: u64) {
        let head = at - first;
        self.runs.insert(
            first,
            Run {
                offset: run.offset,
                pages: head,
            },
        );
        self.runs.insert(
            at,
            Run {
                offset: run.offset + head * PAGE_SIZE,
                pages: run.pages - head,
            },
        );
    }

    /// Where `at` (page-aligned) is stored, for a mapping: holes are filled. With how many bytes, at most
    /// `len`, are contiguous up to the end of the file's last page.
    ///
    /// # Errors
    /// ENXIO past the end, ENOSPC.
    pub fn mapping(&mut self, at: u64, len: u64) -> Result<(u64, u64), Errno> {
        let end = self.size.next_multiple_of(PAGE_SIZE);
        if at >= end {
            return Err(Errno::ENXIO);
        }
        let len = len.min(end - at);
        self.populate(at, len.clamp(1, 1 << 20))?;
        match self.span(at) {
            (Some(offset), span) => Ok((offset, span.min(len))),
            (None, _) => Err(Errno::EIO),
        }
    }

    /// The next byte of data (or of a hole) at or after `at`.
    ///
    /// # Errors
    /// ENXIO past the end.
    pub fn seek(&self, at: u64, hole: bool) -> Result<u64, Errno> {
        let mut at = at;
        while at < self.size {
            let (stored, span) = self.span(at);
            if stored.is_none() == hole {
                return Ok(at);
            }
            at = at.saturating_add(span);
        }
        // The end of the file counts as a hole.
        if hole && at >= self.size && self.size > 0 {
            return Ok(self.size);
        }
        Err(Errno::ENXIO)
    }
}

impl Drop for FileData {
    fn drop(&mut self) {
        self.free_pages(0, u64::MAX);
    }
}
