//! What a program must be: no jump out of it or back, no unknown code, no scratch word read before it was
//! written, a return at its end.

use super::{INSNS_MAX, Insn, MEM_WORDS, ancillary, code};

/// The program is refused (EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a filter program")]
pub struct BadProgram;

/// Linux `bpf_check_classic`.
pub(super) fn verify(insns: &[Insn]) -> Result<(), BadProgram> {
    let returns = matches!(insns.last().map(|last| last.code), Some(RET_K | RET_A));
    if !returns || insns.len() > INSNS_MAX {
        return Err(BadProgram);
    }
    let fine = |(at, insn): (usize, &Insn)| is_fine(insn, insns.len() - at - 1);
    if !insns.iter().enumerate().all(fine) {
        return Err(BadProgram);
    }
    stores_before_loads(insns)
}

const RET_K: u16 = code::RET | code::K;
const RET_A: u16 = code::RET | code::A;

/// One instruction, with `after` more behind it.
fn is_fine(insn: &Insn, after: usize) -> bool {
    use code::{A, ALU, JMP, K, LD, LDX, MISC, RET, ST, STX, TAX, TXA};
    let within = |skip: u32| (skip as usize) < after;
    match insn.code & 7 {
        LD | LDX => is_load(insn),
        ST | STX => insn.code & !7 == 0 && (insn.k as usize) < MEM_WORDS,
        ALU => is_operation(insn),
        JMP if insn.code & !7 == code::JA => within(insn.k),
        JMP => {
            let known = matches!(insn.code & 0xf0, code::JEQ..=code::JSET) && insn.code < 0x50;
            known && within(insn.jt.into()) && within(insn.jf.into())
        }
        RET => matches!(insn.code & !7, K | A),
        MISC => matches!(insn.code & !7, TAX | TXA),
        _ => false,
    }
}

fn is_load(insn: &Insn) -> bool {
    use code::{ABS, B, H, IMM, IND, LD, LDX, LEN, MEM, MSH, W};
    let (class, size, mode) = (insn.code & 7, insn.code & 0x18, insn.code & !0x1f);
    match (class, mode, size) {
        (_, IMM | LEN, W) => true,
        (_, MEM, W) => (insn.k as usize) < MEM_WORDS,
        (LD, ABS, W | H | B) => insn.k < ancillary::BASE || is_ancillary(insn.k),
        (LD, IND, W | H | B) | (LDX, MSH, B) => true,
        _ => false,
    }
}

fn is_ancillary(k: u32) -> bool {
    use ancillary as anc;
    matches!(
        k - anc::BASE,
        anc::PROTOCOL
            | anc::PACKET_TYPE
            | anc::IFINDEX
            | anc::MARK
            | anc::QUEUE
            | anc::HARDWARE
            | anc::HASH
            | anc::CPU
            | anc::XOR_X
            | anc::VLAN_TAG
            | anc::VLAN_PRESENT
            | anc::PAYLOAD
            | anc::VLAN_PROTOCOL
    )
}

fn is_operation(insn: &Insn) -> bool {
    use code::{ADD, AND, DIV, LSH, MOD, MUL, NEG, OR, RSH, SUB, X, XOR};
    let (operation, by_x) = (insn.code & 0xf0, insn.code & X != 0);
    if insn.code > 0xff {
        return false;
    }
    match operation {
        ADD | SUB | MUL | OR | AND | XOR => true,
        DIV | MOD => by_x || insn.k != 0,
        LSH | RSH => by_x || insn.k < 32,
        NEG => !by_x,
        _ => false,
    }
}

/// Every scratch word that is read has been written on every way there (`check_load_and_stores`).
fn stores_before_loads(insns: &[Insn]) -> Result<(), BadProgram> {
    // The words that are written on all ways to an instruction.
    let mut written = vec![u16::MAX; insns.len()];
    let mut now = 0_u16;
    for (at, insn) in insns.iter().enumerate() {
        now &= written[at];
        let mut jump = |skip: usize| written[at + 1 + skip] &= now;
        match insn.code & 7 {
            code::ST | code::STX => now |= 1 << insn.k,
            code::LD | code::LDX if insn.code & !0x1f == code::MEM && now & 1 << insn.k == 0 => {
                return Err(BadProgram);
            }
            code::JMP => {
                if insn.code & 0xf0 == code::JA {
                    jump(insn.k as usize);
                } else {
                    jump(insn.jt.into());
                    jump(insn.jf.into());
                }
                // Only jumps lead to what follows.
                now = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}
