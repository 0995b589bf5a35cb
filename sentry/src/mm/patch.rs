//! Replacing call sites in guest code by jumps, so that their system calls cost no signal.
//!
//! Two shapes are known. `mov eax, N; syscall` can always be replaced: whoever jumps to its `syscall`,
//! or stands before it, meets an invalid instruction, which is served as the call that was there.
//! `syscall; cmp rax, N` (what C libraries and Go have behind a number in a register) leaves no such
//! trap where the comparison was; it is replaced only while no thread of the process is in guest code
//! (the Sentry knows where each will go on), and if no direct branch anywhere in the mapping leads into it. What a compiler makes
//! has no other way there: a block never begins between an inline `syscall` and its comparison.

use std::ops::Range;

use super::fault::Refusal;
use super::state::{Back, State, page_of};
use super::{MemoryManager, PAGE_SIZE};
use crate::platform::{Access, CallShape, CallSite, PATCH_LEN, Patch};

/// Bytes looked at before and after the end of a `syscall`.
const BEFORE: usize = 8;
const AFTER: usize = 6;
/// Largest mapping that is searched for branches.
const SEARCH_MAX: u64 = 32 << 20;

impl MemoryManager {
    /// Replaces the call site whose `syscall`, for call `number`, ended at `rip`, if it has a shape
    /// that is known, in code that guests do not write. `thorough` allows the shape that takes a
    /// search. True if it was replaced.
    pub(crate) fn patch_call_site(&self, rip: u64, number: u64, thorough: bool) -> bool {
        let mut bytes = [0; BEFORE + AFTER];
        let start = rip.wrapping_sub(BEFORE as u64);
        let read = self.read_partial(start, &mut bytes);
        if read < BEFORE {
            return false;
        }
        let Some(site) = shape_of(&bytes, rip, number) else {
            return false;
        };
        if page_of(site.addr) != page_of(site.end() - 1) {
            return false;
        }
        if matches!(site.shape, CallShape::Compared(_)) {
            let text = self.state.read().code_around(site.addr);
            let searched = thorough && text.is_some_and(|text| !self.is_branched_into(text, &site));
            if !searched {
                return false;
            }
        }
        let skip = (site.addr - start) as usize;
        self.replace(&site, &bytes[skip..skip + site.size()])
    }

    /// Writes the jump over the site, whose bytes have to be `old` still.
    fn replace(&self, site: &CallSite, old: &[u8]) -> bool {
        let mut state = self.state.write();
        if state.code_around(site.addr).is_none() {
            return false;
        }
        let taken = state.take_code_page(page_of(site.addr));
        let committed = self.commit(&mut state);
        let (Ok(page_offset), Ok(())) = (taken, committed) else {
            return false;
        };
        let offset = page_offset + site.addr % PAGE_SIZE;
        let mut now = [0; PATCH_LEN];
        let now = &mut now[..old.len()];
        if self.memory.read_at(offset, now) != old.len() || now != old {
            return false;
        }
        let mut write = |patch: &Patch| self.write_patch(offset, patch, site.size());
        self.aspace().patch(*site, &mut write)
    }

    fn write_patch(&self, offset: u64, patch: &Patch, len: usize) {
        let write = |range: Range<usize>| {
            let at = offset + range.start as u64;
            self.memory.write_at(at, &patch.bytes[range]);
        };
        if patch.alone {
            return write(0..len);
        }
        // One byte at a time is always seen whole. First the two places trap where a thread can
        // begin to execute, then the rest changes, then the first instruction becomes the jump.
        let trap = [patch.bytes[5]];
        self.memory.write_at(offset + 5, &trap);
        self.memory.write_at(offset, &trap);
        for at in (1..5).chain(6..len) {
            write(at..at + 1);
        }
        write(0..1);
    }

    /// True if a direct branch in `text` leads behind the first byte of the site and before its end,
    /// or if not all of it can be read. Every byte is taken for the start of an instruction.
    fn is_branched_into(&self, text: Range<u64>, site: &CallSite) -> bool {
        const STEP: usize = 64 << 10;
        /// Longest branch instruction, less one.
        const OVERLAP: usize = 5;
        let inner = site.addr + 1..site.end();
        if text.end - text.start > SEARCH_MAX {
            return true;
        }
        let mut buffer = vec![0; STEP + OVERLAP];
        for at in text.clone().step_by(STEP) {
            let len = buffer.len().min((text.end - at) as usize);
            let chunk = &mut buffer[..len];
            // What lies past the end of the file has no code.
            let got = self.read_partial(at, chunk);
            if branches(&chunk[..got], at).any(|target| inner.contains(&target)) {
                return true;
            }
        }
        false
    }
}

impl State {
    /// The mapping around `addr`, if it is a file's code that its process does not write.
    fn code_around(&self, addr: u64) -> Option<Range<u64>> {
        let (range, vma) = self.vmas.find(addr)?;
        let code = vma.prot & libc::PROT_EXEC != 0 && vma.prot & libc::PROT_WRITE == 0;
        (code && !vma.flags.shared && vma.file.is_some()).then_some(range)
    }

    /// Makes a page of code the address space's own; where in the memory file it is.
    fn take_code_page(&mut self, page: u64) -> Result<u64, Refusal> {
        self.back_page(page, Access::Execute, 0)?;
        if self.segs.find(page).is_some_and(|(_, seg)| seg.cow) {
            self.break_page(page)?;
        }
        match self.segs.find(page) {
            Some((range, seg)) if !seg.cow => match seg.back {
                Back::Memory(offset) => Ok(offset + (page - range.start)),
                Back::File(..) => Err(Refusal::NotAllowed),
            },
            _ => Err(Refusal::NotMapped),
        }
    }
}

/// The site around a `syscall` that ended at `rip`, [`BEFORE`] bytes into `bytes`.
fn shape_of(bytes: &[u8; BEFORE + AFTER], rip: u64, number: u64) -> Option<CallSite> {
    if bytes[BEFORE - 2..BEFORE] != [0x0f, 0x05] {
        return None;
    }
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    // `mov eax, number` and not the end of a longer instruction: no REX prefix before it, and the
    // number is what was in the register.
    let is_mov = bytes[1] == 0xb8 && bytes[0] & 0xf0 != 0x40;
    if is_mov && u64::from(word(2)) == number {
        return Some(CallSite {
            addr: rip - 7,
            shape: CallShape::Number(word(2)),
        });
    }
    (bytes[BEFORE..BEFORE + 2] == [0x48, 0x3d]).then(|| CallSite {
        addr: rip - 2,
        shape: CallShape::Compared(word(BEFORE + 2).cast_signed()),
    })
}

/// Targets of all direct branches that bytes at address `at` can be read as.
fn branches(code: &[u8], at: u64) -> impl Iterator<Item = u64> + '_ {
    let short = move |i: usize| {
        let distance = code.get(i + 1)?.cast_signed();
        Some((at + i as u64 + 2).wrapping_add_signed(distance.into()))
    };
    let near = move |i: usize, opcode: usize| {
        let field = code.get(i + opcode..i + opcode + 4)?;
        let distance = i32::from_le_bytes(field.try_into().ok()?);
        let next = at + (i + opcode + 4) as u64;
        Some(next.wrapping_add_signed(distance.into()))
    };
    code.iter()
        .enumerate()
        .filter_map(move |(i, byte)| match byte {
            0x70..=0x7f | 0xe0..=0xe3 | 0xeb => short(i),
            0xe8 | 0xe9 => near(i, 1),
            0x0f if code.get(i + 1).is_some_and(|second| second & 0xf0 == 0x80) => near(i, 2),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(code: [u8; BEFORE + AFTER], number: u64) -> Option<CallSite> {
        shape_of(&code, 0x1008, number)
    }

    #[test]
    fn shapes_are_told_apart() {
        let mov = [
            0xc3, 0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff,
        ];
        let site = around(mov, 1).expect("a number");
        assert_eq!((site.addr, site.shape), (0x1001, CallShape::Number(1)));
        // Another number in the register: the bytes before are something else.
        let site = around(mov, 2).expect("a comparison");
        assert_eq!(site.shape, CallShape::Compared(-4096));
        // mov r8d, 1
        let other = [0x41, 0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0xc3, 0, 0, 0, 0, 0];
        assert_eq!(around(other, 1), None);
        let sysenter = [
            0xc3, 0xb8, 1, 0, 0, 0, 0x0f, 0x34, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff,
        ];
        assert_eq!(around(sysenter, 1), None);
    }

    #[test]
    fn branches_of_all_lengths_are_found() {
        let targets = |code: &[u8]| branches(code, 0x1000).collect::<Vec<_>>();
        assert_eq!(targets(&[0xeb, 0x10]), [0x1012]);
        assert_eq!(targets(&[0x74, 0xfe]), [0x1000]);
        assert_eq!(targets(&[0xe8, 0xfb, 0xff, 0xff, 0xff]), [0x1000]);
        assert_eq!(targets(&[0x0f, 0x84, 0, 1, 0, 0]), [0x1106]);
        assert_eq!(targets(&[0xe8, 0, 0]), [0_u64; 0]);
    }
}
