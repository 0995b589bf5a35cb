//! Mapping the segments of a program.

use std::ops::Range;
use std::sync::Arc;

use sentry_abi::Errno;

use super::elf::{Elf, Load};
use crate::mm::{Mappable, MemoryManager, MmapRequest, PAGE_SIZE, sys};
use crate::vfs::file::FileOps;

/// Pages of randomness in where a relocatable program is put (28 bits, as Linux).
const PROGRAM_PAGES: u64 = 1 << 28;
/// Pages of randomness between a program and its heap (32 MiB, as Linux).
const HEAP_PAGES: u64 = 1 << 13;

/// A program in memory.
#[derive(Debug)]
pub(super) struct Image {
    /// What was added to its addresses.
    pub(super) bias: u64,
    pub(super) entry: u64,
    /// Where its program headers are, 0 if nowhere.
    pub(super) headers: u64,
    pub(super) header_count: u16,
    /// Its executable segments, first to last.
    pub(super) code: Range<u64>,
}

/// Maps the main program, and puts the heap after it.
pub(super) fn map_program(
    mm: &MemoryManager,
    file: &Arc<dyn FileOps>,
    elf: &Elf,
    path: &[u8],
) -> Result<Image, Errno> {
    let span = elf.span();
    let bias = match elf.relocatable {
        true => {
            let base = mm.user_range().end / 3 * 2 + random_pages(PROGRAM_PAGES);
            (base / elf.align * elf.align).wrapping_sub(span.start)
        }
        false => 0,
    };
    let image = map_at(mm, file, elf, bias, path)?;
    let end = bias.wrapping_add(span.end);
    mm.set_heap_start(end + PAGE_SIZE + random_pages(HEAP_PAGES));
    Ok(image)
}

/// Maps a dynamic linker where there is room.
pub(super) fn map_linker(
    mm: &MemoryManager,
    file: &Arc<dyn FileOps>,
    elf: &Elf,
    path: &[u8],
) -> Result<Image, Errno> {
    let span = elf.span();
    let bias = match elf.relocatable {
        true => {
            let len = (span.end - span.start)
                .checked_add(elf.align)
                .ok_or(Errno::ENOMEM)?;
            let room = MmapRequest::anonymous(0, len, libc::PROT_NONE, libc::MAP_NORESERVE);
            let at = mm.mmap(&room)?;
            mm.munmap(at, len)?;
            at.next_multiple_of(elf.align).wrapping_sub(span.start)
        }
        false => 0,
    };
    map_at(mm, file, elf, bias, path).map_err(|error| match error {
        Errno::EEXIST => Errno::EINVAL,
        other => other,
    })
}

fn map_at(
    mm: &MemoryManager,
    file: &Arc<dyn FileOps>,
    elf: &Elf,
    bias: u64,
    path: &[u8],
) -> Result<Image, Errno> {
    let path: Arc<[u8]> = path.into();
    let mappable = file.mappable().ok_or(Errno::EACCES)?;
    let mut code: Option<Range<u64>> = None;
    for load in &elf.loads {
        let load = Load {
            vaddr: bias.wrapping_add(load.vaddr),
            ..*load
        };
        map_segment(mm, &mappable, &load, &path)?;
        if load.prot & libc::PROT_EXEC != 0 {
            let start = code.as_ref().map_or(load.vaddr, |code| code.start);
            code = Some(start..load.vaddr + load.file_size);
        }
    }
    Ok(Image {
        bias,
        entry: bias.wrapping_add(elf.entry),
        headers: match elf.headers {
            0 => 0,
            at => bias.wrapping_add(at),
        },
        header_count: elf.header_count,
        code: code.unwrap_or_default(),
    })
}

fn map_segment(
    mm: &MemoryManager,
    file: &Arc<dyn Mappable>,
    load: &Load,
    path: &Arc<[u8]>,
) -> Result<(), Errno> {
    let start = load.vaddr / PAGE_SIZE * PAGE_SIZE;
    let file_end = load.vaddr + load.file_size;
    let mem_end = load.vaddr + load.mem_size;
    let mut anonymous = start;
    if load.file_size > 0 {
        let request = MmapRequest {
            file: Some((Arc::clone(file), load.offset / PAGE_SIZE * PAGE_SIZE)),
            flags: libc::MAP_PRIVATE | libc::MAP_FIXED_NOREPLACE,
            path: Some(Arc::clone(path)),
            ..MmapRequest::anonymous(start, file_end - start, load.prot, 0)
        };
        mm.mmap(&request)?;
        anonymous = file_end.next_multiple_of(PAGE_SIZE);
        // The rest of the last page is bss, to the page's end: the dynamic linker allocates there.
        // Linux lets it be if it cannot be written.
        if mem_end > file_end && load.prot & libc::PROT_WRITE != 0 {
            let tail = anonymous - file_end;
            mm.write(file_end, &vec![0; tail as usize])?;
        }
    }
    if mem_end > anonymous {
        let flags = libc::MAP_FIXED_NOREPLACE;
        let len = mem_end - anonymous;
        mm.mmap(&MmapRequest::anonymous(anonymous, len, load.prot, flags))?;
    }
    Ok(())
}

/// A random whole number of pages below `pages`, in bytes.
fn random_pages(pages: u64) -> u64 {
    let mut random = [0; 8];
    sys::random(&mut random);
    u64::from_le_bytes(random) % pages * PAGE_SIZE
}
