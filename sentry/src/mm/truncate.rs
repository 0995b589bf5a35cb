//! What a file loses, its mappings lose too (`unmap_mapping_range`).

use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Mappable, MemoryManager, PAGE_SIZE};

/// The address spaces that map a file. One that forks while the file is cut may keep what was there.
#[derive(Default)]
pub struct Mappers(Mutex<Vec<Weak<MemoryManager>>>);

impl Mappers {
    /// Remembers one.
    pub fn add(&self, mapper: &Weak<MemoryManager>) {
        let mut mappers = self.0.lock();
        if !mappers.iter().any(|known| known.ptr_eq(mapper)) {
            mappers.retain(|known| known.strong_count() > 0);
            mappers.push(Weak::clone(mapper));
        }
    }

    /// The bytes `gone` of `file` are not there any more: whole pages of them are unmapped, of private
    /// mappings only if `private` says so. To be called without the file's locks.
    pub fn unmap<T>(&self, file: &T, gone: Range<u64>, private: bool) {
        let mappers: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        for mapper in mappers {
            mapper.unmap_file(std::ptr::from_ref(file).cast(), &gone, private);
        }
    }
}

impl MemoryManager {
    fn unmap_file(&self, file: *const (), gone: &Range<u64>, private: bool) {
        let from = gone.start.next_multiple_of(PAGE_SIZE);
        let mut state = self.state.write();
        let mut lost = Vec::new();
        for (range, vma) in state.vmas.iter() {
            let Some((mapped, offset)) = &vma.file else {
                continue;
            };
            let same = std::ptr::addr_eq(Arc::as_ptr(mapped), file);
            let end = offset.saturating_add(range.end - range.start).min(gone.end);
            let start = from.max(*offset);
            if same && start < end && (private || vma.flags.shared) {
                lost.push(range.start + (start - offset)..range.start + (end - offset));
            }
        }
        for range in lost {
            state.drop_segs(range);
        }
        // A failure means that the address space is gone, or is killed at its next step.
        let _ = self.commit(&mut state);
    }

    /// Tells the file that it is mapped here.
    pub(super) fn announce(&self, file: &Arc<dyn Mappable>) {
        file.mapped_by(&self.me);
    }

    /// Tells all files that are mapped.
    pub(super) fn announce_all(&self) {
        let files: Vec<_> = {
            let state = self.state.read_recursive();
            let files = state.vmas.iter().filter_map(|(_, vma)| vma.file.clone());
            files.map(|(file, _)| file).collect()
        };
        files.iter().for_each(|file| self.announce(file));
    }
}
