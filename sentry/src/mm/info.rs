//! What /proc shows of an address space.

use super::manager::MemoryManager;
use super::state::{Back, State, intersect};
use super::vma::{MemUsage, Purpose, VmaInfo};

impl MemoryManager {
    /// All mappings, ascending.
    pub fn vmas(&self) -> Vec<VmaInfo> {
        let state = self.state.read_recursive();
        state
            .vmas
            .iter()
            .map(|(range, vma)| {
                let (memory, file) = state.resident(self, &range);
                VmaInfo {
                    resident: memory + file,
                    prot: vma.prot,
                    shared: vma.flags.shared,
                    file: vma.file.as_ref().map(|(file, offset)| {
                        let (dev, ino, path) = file.map_identity();
                        let path = vma.path.as_ref().map_or(path, |path| path.to_vec());
                        (dev, ino, path, *offset)
                    }),
                    purpose: vma.purpose,
                    locked: vma.flags.locked,
                    range,
                }
            })
            .collect()
    }

    /// The sizes that /proc/PID/status and statm show.
    pub fn usage(&self) -> MemUsage {
        let state = self.state.read_recursive();
        let mut usage = MemUsage {
            size: state.size,
            peak: state.peak,
            locked: state.locked_size(),
            data: state.data_size(),
            ..MemUsage::default()
        };
        for (range, vma) in state.vmas.iter() {
            let len = range.end - range.start;
            if vma.purpose == Purpose::Stack {
                usage.stack += len;
            }
            if vma.file.is_some() && vma.prot & libc::PROT_EXEC != 0 {
                usage.exec += len;
            }
            let (memory, file) = state.resident(self, &range);
            usage.rss_file += file;
            match vma.flags.shared {
                true => usage.rss_shared += memory,
                false => usage.rss_anon += memory,
            }
        }
        usage
    }

    /// What is gone once the address space has given its memory back.
    pub fn lifetime(&self) -> std::sync::Weak<()> {
        std::sync::Arc::downgrade(&self.alive)
    }

    /// Bytes of the sandbox's memory that it holds.
    pub fn resident(&self) -> u64 {
        let usage = self.usage();
        usage.rss_anon + usage.rss_shared
    }

    /// VmSize alone, cheaply.
    pub fn virtual_size(&self) -> u64 {
        self.state.read_recursive().size
    }
}

impl State {
    /// Bytes of `range` in the memory file and in host files that are in memory (the latter as far as
    /// they are mapped: the host knows more).
    fn resident(&self, mm: &MemoryManager, range: &std::ops::Range<u64>) -> (u64, u64) {
        let (mut memory, mut file) = (0, 0);
        for (part, seg) in self.segs.iter_in(range.clone()) {
            let clipped = intersect(&part, range);
            match seg.back {
                Back::Memory(base) => {
                    let offset = |at: u64| base + (at - part.start);
                    let runs = mm
                        .memory
                        .resident_runs(offset(clipped.start)..offset(clipped.end));
                    memory += runs.iter().map(|run| run.end - run.start).sum::<u64>();
                }
                Back::File(..) if seg.host.is_some() => file += clipped.end - clipped.start,
                Back::File(..) => {}
            }
        }
        (memory, file)
    }
}
