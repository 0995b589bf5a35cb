//! Extended processor state (x87, SSE, AVX ...) as signal frames hold it: an XSAVE area whose unused
//! part of the legacy region names its size, then a closing magic number.

/// Offsets in the area. 464..512 is left to software by the processor: `struct _fpx_sw_bytes`.
const MXCSR: usize = 24;
const MAGIC1_AT: usize = 464;
const EXTENDED_SIZE_AT: usize = 468;
const XSTATE_SIZE_AT: usize = 480;
const HEADER_AT: usize = 512;
const HEADER_END: usize = 576;

const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

/// The state components that this machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FpLayout {
    /// XCR0.
    pub(crate) features: u64,
    /// Bytes of an XSAVE area in standard form, without the closing magic number.
    pub(crate) size: usize,
}

impl FpLayout {
    /// Whether the kernel would restore this area as it is.
    pub(crate) fn accepts(&self, area: &[u8]) -> bool {
        if area.len() < HEADER_END + 4 || area.len() > self.size + 4 {
            return false;
        }
        let size = area.len() - 4;
        let header = |at: usize| u64_at(area, HEADER_AT + at);
        u32_at(area, MAGIC1_AT) == MAGIC1
            && u32_at(area, EXTENDED_SIZE_AT) as usize == area.len()
            && u32_at(area, XSTATE_SIZE_AT) as usize == size
            && u32_at(area, size) == MAGIC2
            && u32_at(area, MXCSR) & !0xffff == 0
            && header(0) & !self.features == 0
            && (1..8).all(|word| header(word * 8) == 0)
    }
}

impl FpLayout {
    /// An area as signal frames have it, from one as ptrace has it.
    pub(crate) fn frame_area(&self, plain: &[u8]) -> Vec<u8> {
        let mut area = self.reset_area();
        let len = plain.len().min(self.size);
        area[..MAGIC1_AT].copy_from_slice(&plain[..MAGIC1_AT]);
        area[HEADER_AT..len].copy_from_slice(&plain[HEADER_AT..len]);
        area
    }

    /// The reverse, for an accepted area.
    pub(crate) fn plain_area(area: &[u8]) -> Vec<u8> {
        let mut plain = area[..area.len() - 4].to_vec();
        plain[MAGIC1_AT..HEADER_AT].fill(0);
        plain
    }

    /// The reset state, as an area.
    pub(crate) fn reset_area(&self) -> Vec<u8> {
        const FCW: u16 = 0x37f;
        const MXCSR_RESET: u32 = 0x1f80;
        let mut area = vec![0; self.size + 4];
        let mut put = |at: usize, bytes: &[u8]| area[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &FCW.to_le_bytes());
        put(MXCSR, &MXCSR_RESET.to_le_bytes());
        put(MXCSR + 4, &0xffff_u32.to_le_bytes());
        put(MAGIC1_AT, &MAGIC1.to_le_bytes());
        put(EXTENDED_SIZE_AT, &(self.size as u32 + 4).to_le_bytes());
        put(EXTENDED_SIZE_AT + 4, &self.features.to_le_bytes());
        put(XSTATE_SIZE_AT, &(self.size as u32).to_le_bytes());
        put(self.size, &MAGIC2.to_le_bytes());
        area
    }
}

/// Length of the area that starts with these bytes (magic number included), if they name one.
pub(crate) fn area_len(legacy: &[u8; 512]) -> Option<usize> {
    let len = u32_at(legacy, EXTENDED_SIZE_AT) as usize;
    (u32_at(legacy, MAGIC1_AT) == MAGIC1 && len >= HEADER_END + 4).then_some(len)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
