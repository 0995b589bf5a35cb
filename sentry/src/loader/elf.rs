//! The headers of an ELF file, checked.

use object::LittleEndian;
use object::elf;
use object::pod;
use object::read::elf::ProgramHeader;
use sentry_abi::Errno;

use super::read_at;
use crate::mm::PAGE_SIZE;
use crate::vfs::file::FileOps;

type Header = elf::FileHeader64<LittleEndian>;
type Segment = elf::ProgramHeader64<LittleEndian>;

const HEADER_LEN: usize = size_of::<Header>();
const SEGMENT_LEN: usize = size_of::<Segment>();
/// Most bytes of program headers (Linux's bound).
const MAX_SEGMENT_BYTES: usize = 64 << 10;
/// Longest interpreter path, with its NUL.
const MAX_PATH: u64 = 4096;
/// Addresses of user space end here.
const USER_END: u64 = 1 << 47;
/// Largest alignment of a segment that is honoured.
const MAX_ALIGN: u64 = 1 << 30;

/// A PT_LOAD segment, checked: page offsets agree, and it lies in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) vaddr: u64,
    pub(super) offset: u64,
    pub(super) file_size: u64,
    pub(super) mem_size: u64,
    pub(super) prot: i32,
}

/// What a program asks for.
#[derive(Debug)]
pub(super) struct Elf {
    /// ET_DYN: it can be anywhere.
    pub(super) relocatable: bool,
    pub(super) entry: u64,
    /// Not empty, ascending.
    pub(super) loads: Vec<Load>,
    /// Alignment of the whole (a power of two, at least a page).
    pub(super) align: u64,
    pub(super) interpreter: Option<Vec<u8>>,
    pub(super) exec_stack: bool,
    /// Where the program headers are in memory (without bias; 0 if nowhere), and how many.
    pub(super) headers: u64,
    pub(super) header_count: u16,
}

impl Elf {
    /// Reads and checks the headers of a file.
    ///
    /// # Errors
    /// ENOEXEC (no ELF for this machine, or malformed), EINVAL (a segment that cannot be mapped), EIO.
    pub(super) fn read(file: &dyn FileOps) -> Result<Self, Errno> {
        let head = read_at(file, 0, HEADER_LEN)?;
        let (header, _) = pod::from_bytes::<Header>(&head).map_err(|()| Errno::ENOEXEC)?;
        let relocatable = check_header(header)?;
        let count = header.e_phnum.get(LittleEndian);
        let table_at = header.e_phoff.get(LittleEndian);
        let table_len = usize::from(count) * SEGMENT_LEN;
        if count == 0 || table_len > MAX_SEGMENT_BYTES || table_at > i64::MAX as u64 {
            return Err(Errno::ENOEXEC);
        }
        let table = read_at(file, table_at, table_len)?;
        let (segments, _) = pod::slice_from_bytes::<Segment>(&table, usize::from(count))
            .map_err(|()| Errno::ENOEXEC)?;
        let mut program = Self {
            relocatable,
            entry: header.e_entry.get(LittleEndian),
            loads: Vec::new(),
            align: PAGE_SIZE,
            interpreter: None,
            exec_stack: false,
            headers: 0,
            header_count: count,
        };
        for segment in segments {
            program.add(file, segment)?;
        }
        program.finish(table_at, table_len as u64)
    }

    fn add(&mut self, file: &dyn FileOps, segment: &Segment) -> Result<(), Errno> {
        let e = LittleEndian;
        match segment.p_type(e) {
            elf::PT_LOAD => {
                let load = checked_load(segment)?;
                let align = segment.p_align(e);
                if align.is_power_of_two() && align <= MAX_ALIGN {
                    self.align = self.align.max(align);
                }
                if load.mem_size > 0 {
                    self.loads.push(load);
                }
            }
            elf::PT_INTERP if self.interpreter.is_none() => {
                self.interpreter = Some(read_interpreter(file, segment)?);
            }
            elf::PT_GNU_STACK => self.exec_stack = flag(segment, elf::PF_X),
            _ => {}
        }
        Ok(())
    }

    /// Checks what only the whole shows.
    fn finish(mut self, table_at: u64, table_len: u64) -> Result<Self, Errno> {
        if self.loads.is_empty() {
            return Err(Errno::ENOEXEC);
        }
        if self.loads.is_sorted_by_key(|load| load.vaddr) {
            let holder = self.loads.iter().find(|load| {
                load.offset <= table_at && table_at + table_len <= load.offset + load.file_size
            });
            self.headers = holder.map_or(0, |load| load.vaddr + (table_at - load.offset));
            Ok(self)
        } else {
            Err(Errno::ENOEXEC)
        }
    }

    /// First page and end (page-aligned) of the segments.
    pub(super) fn span(&self) -> std::ops::Range<u64> {
        let start = self.loads.first().map_or(0, |load| load.vaddr);
        let end = self
            .loads
            .iter()
            .map(|load| load.vaddr + load.mem_size)
            .max();
        start / PAGE_SIZE * PAGE_SIZE..end.unwrap_or(start).next_multiple_of(PAGE_SIZE)
    }
}

fn flag(segment: &Segment, flag: u32) -> bool {
    segment.p_flags(LittleEndian) & flag != 0
}

/// True if the program is relocatable.
fn check_header(header: &Header) -> Result<bool, Errno> {
    let e = LittleEndian;
    let ident = &header.e_ident;
    let ours = ident.magic == elf::ELFMAG
        && ident.class == elf::ELFCLASS64
        && ident.data == elf::ELFDATA2LSB
        && header.e_machine.get(e) == elf::EM_X86_64
        && usize::from(header.e_phentsize.get(e)) == SEGMENT_LEN;
    match header.e_type.get(e) {
        elf::ET_EXEC if ours => Ok(false),
        elf::ET_DYN if ours => Ok(true),
        _ => Err(Errno::ENOEXEC),
    }
}

fn checked_load(segment: &Segment) -> Result<Load, Errno> {
    let e = LittleEndian;
    let mut prot = 0;
    for (bit, access) in [
        (elf::PF_R, libc::PROT_READ),
        (elf::PF_W, libc::PROT_WRITE),
        (elf::PF_X, libc::PROT_EXEC),
    ] {
        if flag(segment, bit) {
            prot |= access;
        }
    }
    let load = Load {
        vaddr: segment.p_vaddr(e),
        offset: segment.p_offset(e),
        file_size: segment.p_filesz(e),
        mem_size: segment.p_memsz(e),
        prot,
    };
    let fits = |start: u64, len: u64, end: u64| start <= end && len <= end - start;
    if load.file_size > load.mem_size
        || !fits(load.vaddr, load.mem_size, USER_END)
        || !fits(load.offset, load.file_size, i64::MAX as u64 - PAGE_SIZE)
    {
        return Err(Errno::ENOEXEC);
    }
    if load.file_size > 0 && load.vaddr % PAGE_SIZE != load.offset % PAGE_SIZE {
        return Err(Errno::EINVAL);
    }
    Ok(load)
}

fn read_interpreter(file: &dyn FileOps, segment: &Segment) -> Result<Vec<u8>, Errno> {
    let e = LittleEndian;
    let (at, len) = (segment.p_offset(e), segment.p_filesz(e));
    if !(2..=MAX_PATH).contains(&len) || at > i64::MAX as u64 - MAX_PATH {
        return Err(Errno::ENOEXEC);
    }
    let mut path = read_at(file, at, len as usize)?;
    if path.len() as u64 != len || path.pop() != Some(0) {
        return Err(Errno::ENOEXEC);
    }
    path.truncate(path.iter().position(|&b| b == 0).unwrap_or(path.len()));
    Ok(path)
}
