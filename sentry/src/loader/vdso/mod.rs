//! Our own vDSO: a page of parameters and a page of code, shared by all guests of a sandbox. It tells
//! the time without a system call.

mod clock;
mod code;
mod image;

use std::sync::Arc;

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::{
    Mappable, MemoryFile, MemoryManager, MmapRequest, PAGE_SIZE, Purpose, SharedMemory,
};

/// Calibration is the host's, and so the same for all sandboxes of a process.
static CLOCK: Mutex<Option<clock::Clock>> = Mutex::new(None);

/// The two pages of a sandbox.
pub(crate) struct Vdso {
    memory: Arc<MemoryFile>,
    pages: Arc<SharedMemory>,
}

impl Vdso {
    /// The sandbox's vDSO, made if no guest has it yet.
    pub(crate) fn of(memory: &Arc<MemoryFile>) -> Result<Self, Errno> {
        let mut slot = memory.vdso_slot();
        let pages = match slot.upgrade() {
            Some(pages) => pages,
            None => {
                let pages = SharedMemory::new(memory, 2 * PAGE_SIZE)?;
                let image = image::build();
                if memory.write_at(pages.offset() + PAGE_SIZE, &image) < image.len() {
                    return Err(Errno::ENOMEM);
                }
                *slot = Arc::downgrade(&pages);
                pages
            }
        };
        Ok(Self {
            memory: Arc::clone(memory),
            pages,
        })
    }

    /// Where its pages are in the memory file.
    #[cfg(test)]
    pub(crate) fn offset(&self) -> u64 {
        self.pages.offset()
    }

    /// Writes new parameters if the present ones have aged; true if it did.
    pub(crate) fn refresh(&self) -> bool {
        let mut clock = CLOCK.lock();
        let Some(params) = clock.get_or_insert_default().next() else {
            return false;
        };
        let at = self.pages.offset();
        let sequence = self.memory.load32(at).unwrap_or(0);
        // Odd while they change: readers ask the kernel. The exchanges order the writes.
        let odd = sequence | 1;
        let _ = self.memory.cas32(at, sequence, odd);
        let words = [
            params.counter,
            params.hold,
            params.rate,
            params.mono,
            params.real,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let written = self.memory.write_at(at + 8, &bytes) == bytes.len();
        let valid = u32::from(written).to_le_bytes();
        self.memory.write_at(at + 4, &valid);
        let _ = self.memory.cas32(at, odd, odd.wrapping_add(1));
        written
    }
}

/// Renews the parameters of the vDSO if they have aged. Called by the system calls that tell the time:
/// the vDSO makes them when its parameters do not hold any more.
pub fn refresh(memory: &Arc<MemoryFile>) {
    if let Ok(vdso) = Vdso::of(memory) {
        vdso.refresh();
    }
}

/// Maps the vDSO; the address of its image.
pub(super) fn map(mm: &MemoryManager) -> Result<u64, Errno> {
    let vdso = Vdso::of(mm.memory())?;
    vdso.refresh();
    let pages: Arc<dyn Mappable> = vdso.pages.clone();
    let request = |addr, prot, offset, purpose| MmapRequest {
        file: Some((Arc::clone(&pages), offset)),
        purpose,
        max_prot: prot,
        flags: libc::MAP_PRIVATE | if addr == 0 { 0 } else { libc::MAP_FIXED },
        ..MmapRequest::anonymous(addr, PAGE_SIZE, prot, 0)
    };
    let whole = MmapRequest::anonymous(0, 2 * PAGE_SIZE, libc::PROT_NONE, 0);
    let at = mm.mmap(&whole)?;
    mm.mmap(&request(at, libc::PROT_READ, 0, Purpose::Vvar))?;
    let code = libc::PROT_READ | libc::PROT_EXEC;
    let mut image = request(at + PAGE_SIZE, code, PAGE_SIZE, Purpose::Vdso);
    image.max_prot |= libc::PROT_WRITE;
    mm.mmap(&image)
}
