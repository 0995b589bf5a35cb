//! Classic BPF filters (SO_ATTACH_FILTER): a verifier and an interpreter. A program is at most 4,096
//! instructions without backward jumps, so that a run is bounded by its length.

mod run;
#[cfg(test)]
mod tests;
mod verify;

pub use run::Packet;
pub use verify::BadProgram;

/// Instructions of a program at most (BPF_MAXINSNS).
pub const INSNS_MAX: usize = 4096;
/// Words of scratch memory.
const MEM_WORDS: usize = 16;

/// One instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if a condition is true.
    pub jt: u8,
    /// Instructions to skip if it is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// Bytes of an instruction.
pub const INSN_LEN: usize = 8;

impl Insn {
    /// From its bytes, as the C structure has them.
    pub fn from_bytes(bytes: &[u8; INSN_LEN]) -> Self {
        let [c0, c1, jt, jf, k @ ..] = *bytes;
        Self {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes(k),
        }
    }
}

/// A program that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    insns: Box<[Insn]>,
}

impl Program {
    /// Checks a program (Linux `bpf_check_classic`).
    ///
    /// # Errors
    /// [`BadProgram`], which is EINVAL.
    pub fn new(insns: Vec<Insn>) -> Result<Self, BadProgram> {
        verify::verify(&insns)?;
        Ok(Self {
            insns: insns.into(),
        })
    }

    /// From the bytes of an array of `struct sock_filter`.
    ///
    /// # Errors
    /// [`BadProgram`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadProgram> {
        let (insns, rest) = bytes.as_chunks::<INSN_LEN>();
        if !rest.is_empty() || insns.len() > INSNS_MAX {
            return Err(BadProgram);
        }
        Self::new(insns.iter().map(Insn::from_bytes).collect())
    }

    /// How many bytes of the packet are wanted: 0 drops it.
    pub fn run(&self, packet: &Packet<'_>) -> u32 {
        run::run(&self.insns, packet)
    }

    /// As [`Program::run`], as a length of the packet; `None` drops it.
    pub fn keep(&self, packet: &Packet<'_>) -> Option<usize> {
        match self.run(packet) as usize {
            0 => None,
            wanted => Some(wanted.min(packet.len())),
        }
    }
}

/// Fields of the code of an instruction (linux/bpf_common.h).
mod code {
    pub(super) const LD: u16 = 0x00;
    pub(super) const LDX: u16 = 0x01;
    pub(super) const ST: u16 = 0x02;
    pub(super) const STX: u16 = 0x03;
    pub(super) const ALU: u16 = 0x04;
    pub(super) const JMP: u16 = 0x05;
    pub(super) const RET: u16 = 0x06;
    pub(super) const MISC: u16 = 0x07;
    /// Sizes.
    pub(super) const W: u16 = 0x00;
    pub(super) const H: u16 = 0x08;
    pub(super) const B: u16 = 0x10;
    /// Modes.
    pub(super) const IMM: u16 = 0x00;
    pub(super) const ABS: u16 = 0x20;
    pub(super) const IND: u16 = 0x40;
    pub(super) const MEM: u16 = 0x60;
    pub(super) const LEN: u16 = 0x80;
    pub(super) const MSH: u16 = 0xa0;
    /// Operations.
    pub(super) const ADD: u16 = 0x00;
    pub(super) const SUB: u16 = 0x10;
    pub(super) const MUL: u16 = 0x20;
    pub(super) const DIV: u16 = 0x30;
    pub(super) const OR: u16 = 0x40;
    pub(super) const AND: u16 = 0x50;
    pub(super) const LSH: u16 = 0x60;
    pub(super) const RSH: u16 = 0x70;
    pub(super) const NEG: u16 = 0x80;
    pub(super) const MOD: u16 = 0x90;
    pub(super) const XOR: u16 = 0xa0;
    /// Conditions.
    pub(super) const JA: u16 = 0x00;
    pub(super) const JEQ: u16 = 0x10;
    pub(super) const JGT: u16 = 0x20;
    pub(super) const JGE: u16 = 0x30;
    pub(super) const JSET: u16 = 0x40;
    /// The second operand, or what is returned.
    pub(super) const K: u16 = 0x00;
    pub(super) const X: u16 = 0x08;
    pub(super) const A: u16 = 0x10;
    pub(super) const TAX: u16 = 0x00;
    pub(super) const TXA: u16 = 0x80;
}

/// Offsets that are no places of the packet: what is known beside its bytes (linux/filter.h).
mod ancillary {
    /// The first of them.
    pub(super) const BASE: u32 = -0x1000_i32 as u32;
    pub(super) const PROTOCOL: u32 = 0;
    pub(super) const PACKET_TYPE: u32 = 4;
    pub(super) const IFINDEX: u32 = 8;
    pub(super) const MARK: u32 = 20;
    pub(super) const QUEUE: u32 = 24;
    pub(super) const HARDWARE: u32 = 28;
    pub(super) const HASH: u32 = 32;
    pub(super) const CPU: u32 = 36;
    pub(super) const XOR_X: u32 = 40;
    pub(super) const VLAN_TAG: u32 = 44;
    pub(super) const VLAN_PRESENT: u32 = 48;
    pub(super) const PAYLOAD: u32 = 52;
    pub(super) const VLAN_PROTOCOL: u32 = 60;
}
