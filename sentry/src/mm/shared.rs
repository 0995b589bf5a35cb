//! Memory shared by the mappings that refer to it: MAP_SHARED | MAP_ANONYMOUS.

use std::sync::Arc;

use sentry_abi::Errno;

use super::memory_file::MemoryFile;
use super::{MapBacking, Mappable};

/// A range of the memory file that lives as long as somebody maps it. Its offset is its identity.
pub struct SharedMemory {
    memory: Arc<MemoryFile>,
    offset: u64,
    len: u64,
}

impl SharedMemory {
    /// `len` zeroed bytes (rounded up to pages).
    ///
    /// # Errors
    /// ENOMEM
    pub fn new(memory: &Arc<MemoryFile>, len: u64) -> Result<Arc<Self>, Errno> {
        let offset = memory.allocate(len)?;
        Ok(Arc::new(Self {
            memory: Arc::clone(memory),
            offset,
            len: super::memory_file::page_up(len)?,
        }))
    }

    /// Where it is in the memory file.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        self.memory.decref(self.offset, self.len);
    }
}

impl Mappable for SharedMemory {
    fn backing(&self, offset: u64, len: u64) -> Result<MapBacking<'_>, Errno> {
        let left = self.len.checked_sub(offset).filter(|&left| left > 0);
        Ok(MapBacking::Memory {
            offset: self.offset + offset,
            len: left.ok_or(Errno::EFAULT)?.min(len),
        })
    }

    fn map_identity(&self) -> (u64, u64, Vec<u8>) {
        (0, self.offset, b"/dev/zero (deleted)".to_vec())
    }
}
