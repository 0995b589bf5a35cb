//! Patched call sites: a jump into a gate in the place of `syscall`, so that a system call costs no
//! signal. What a gate does with the call is in `stub/src/gates.s`.
//!
//! A gate first looks whether GS is the thread's slot (it is, as long as the guest has not set a GS
//! base of its own), without touching flags or any register but rcx and r11, which `syscall`
//! overwrites anyway. If it is not, the gate makes the call by a `syscall` of its own, which traps.
//!
//! Guest code must not see any of this. An instruction pointer in a gate is shown as the one it
//! stands for ([`Gates::shown`]); one that a resumed thread would have within a patched site is led
//! to what is left of the site's effect ([`Gates::led`]).

use std::collections::HashMap;

use super::layout::{
    CALL_ENTRY, GATE, GATE_COUNT, GATE_END, GATES, GATES_AT, GATES_LEN, SLOTS, SLOTS_LEN, TABLE,
    TABLE_AT,
};
use crate::platform::sys::shared::Shared;
use crate::platform::{CallShape, CallSite, PATCH_LEN};

/// The gates of one stub.
#[derive(Clone, Default)]
pub(super) struct Gates {
    sites: Vec<CallSite>,
    /// Addresses in patched sites that a thread can be resumed at, or trap at.
    inside: HashMap<u64, Inside>,
}

/// What an address within a patched site stands for.
#[derive(Clone, Copy)]
enum Inside {
    /// The first byte, invalid while the site is being patched.
    Start,
    /// The `syscall` of a site that begins at `start`: an invalid instruction now.
    Call { start: u64 },
    /// The comparison behind the `syscall`: `resume` does the same.
    Compare { resume: u64 },
}

/// What an invalid instruction in a patched site means.
pub(super) enum Stumbled {
    /// The site is being patched: run it again.
    Again,
    /// It was a `syscall`, which ended here.
    Call(u64),
}

const _: () = assert!(GATES_LEN == GATE * GATE_COUNT && GATE.is_power_of_two());
/// The check in a gate compares bits 28 and up of the GS base with those of the slots.
const SLOTS_SHIFT: u8 = 28;
const _: () = assert!(SLOTS_LEN <= 1 << SLOTS_SHIFT && SLOTS.trailing_zeros() >= 28);

const SYSCALL_LEN: u64 = 2;

/// Offset in a gate of the instruction after its own `syscall`.
const TRAPPED: u64 = 28;
/// Offset of the jump back, after the flags have been set.
const COMPARED: u64 = GATE_END + 6;

impl Gates {
    /// Makes a gate for `site`; what to write over the site. `None` if there are no more gates.
    pub(super) fn add(&mut self, shared: &Shared, site: CallSite) -> Option<[u8; PATCH_LEN]> {
        let index = self.sites.len() as u64;
        if index == GATE_COUNT {
            return None;
        }
        let gate = GATES + index * GATE;
        shared.write((GATES_AT + index * GATE) as usize, &code(&site, gate));
        let entry = (TABLE_AT + index * 8) as usize;
        shared.write(entry, &gate.to_ne_bytes());
        self.sites.push(site);
        self.note(&site, gate);
        Some(patch((TABLE + index * 8) as u32))
    }

    fn note(&mut self, site: &CallSite, gate: u64) {
        match site.shape {
            CallShape::Number(_) => {
                let start = site.addr;
                self.inside.insert(start, Inside::Start);
                let call = site.call_end() - SYSCALL_LEN;
                self.inside.insert(call, Inside::Call { start });
            }
            CallShape::Compared(_) => {
                let resume = gate + GATE_END;
                self.inside
                    .insert(site.call_end(), Inside::Compare { resume });
            }
        }
    }

    /// The same gates in another stub.
    pub(super) fn copy(&self, shared: &Shared) -> Self {
        let mut copy = Self::default();
        for site in &self.sites {
            copy.add(shared, *site);
        }
        copy.inside.retain(|at, _| self.inside.contains_key(at));
        copy
    }

    /// Forgets sites in a range that guest code was unmapped from.
    pub(super) fn forget(&mut self, start: u64, end: u64) {
        self.inside.retain(|at, _| !(start..end).contains(at));
    }

    /// True if there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// The guest's view of an instruction pointer of the stub; and whether the gate's own `syscall`
    /// led there.
    pub(super) fn shown(&self, rip: u64) -> Option<(u64, bool)> {
        let at = rip.checked_sub(GATES)?;
        let site = self.sites.get((at / GATE) as usize)?;
        match at % GATE {
            TRAPPED => Some((site.call_end(), true)),
            GATE_END => Some((site.call_end(), false)),
            COMPARED => Some((site.end(), false)),
            _ => None,
        }
    }

    /// Where to resume a thread whose guest view is at `rip`.
    pub(super) fn led(&self, rip: u64) -> u64 {
        match self.inside.get(&rip) {
            Some(Inside::Compare { resume }) => *resume,
            Some(Inside::Call { start }) => *start,
            Some(Inside::Start) | None => rip,
        }
    }

    /// What an invalid instruction at `rip` means, if that is in a patched site.
    pub(super) fn stumbled(&self, rip: u64) -> Option<Stumbled> {
        match self.inside.get(&rip)? {
            Inside::Start => Some(Stumbled::Again),
            Inside::Call { .. } => Some(Stumbled::Call(rip + SYSCALL_LEN)),
            Inside::Compare { .. } => None,
        }
    }
}

/// `jmp qword ptr [entry]`, and a byte that is no instruction.
fn patch(entry: u32) -> [u8; PATCH_LEN] {
    let [a, b, c, d] = entry.to_le_bytes();
    [0xff, 0x24, 0x25, a, b, c, d, 0x06]
}

/// The instructions of a gate.
fn code(site: &CallSite, gate: u64) -> Vec<u8> {
    let mut code = Vec::with_capacity(GATE as usize);
    let set_number = match site.shape {
        CallShape::Number(number) => [&[0xb8][..], &number.to_le_bytes()].concat(), // mov eax, number
        CallShape::Compared(_) => vec![0x0f, 0x1f, 0x44, 0x00, 0x00],               // nop
    };
    code.extend([0xf3, 0x49, 0x0f, 0xae, 0xcb]); // rdgsbase r11
    code.extend([0xc4, 0xc3, 0xfb, 0xf0, 0xcb, SLOTS_SHIFT]); // rorx rcx, r11, shift
    code.extend([0x89, 0xc9]); // mov ecx, ecx
    code.extend([0x8d, 0x89]); // lea ecx, [rcx - ...]
    code.extend(((SLOTS >> SLOTS_SHIFT) as u32).wrapping_neg().to_le_bytes());
    code.extend([0xe3, 9]); // jrcxz over the trap
    code.extend(&set_number);
    code.extend([0x0f, 0x05]); // syscall
    debug_assert_eq!(code.len() as u64, TRAPPED);
    code.extend([0x0f, 0x0b]); // ud2
    code.extend(&set_number);
    code.extend([0x48, 0xb9]); // movabs rcx, return address
    let back = match site.shape {
        CallShape::Number(_) => site.end(),
        CallShape::Compared(_) => gate + GATE_END,
    };
    code.extend(back.to_le_bytes());
    code.push(0xe9); // jmp CALL_ENTRY
    let distance = CALL_ENTRY.wrapping_sub(gate + GATE_END) as u32;
    code.extend(distance.to_le_bytes());
    debug_assert_eq!(code.len() as u64, GATE_END);
    if let CallShape::Compared(with) = site.shape {
        code.extend([0x48, 0x3d]); // cmp rax, ...
        code.extend(with.to_le_bytes());
        code.extend([0xff, 0x25, 0, 0, 0, 0]); // jmp qword ptr [rip]
        code.extend(site.end().to_le_bytes());
    }
    code.resize(GATE as usize, 0xcc);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_syscall_becomes_invalid() {
        // 0x06 is no instruction in 64-bit mode; it has to stand where `0f 05` was in `b8 imm32 0f 05`.
        for entry in [TABLE, TABLE + (GATE_COUNT - 1) * 8] {
            assert_eq!(patch(entry as u32)[5], 0x06);
        }
    }

    #[test]
    fn the_check_is_what_it_is_meant_to_be() {
        let site = CallSite {
            addr: 0x40_0000,
            shape: CallShape::Number(39),
        };
        let code = code(&site, GATES);
        let mut decoder = iced_x86::Decoder::with_ip(64, &code, GATES, 0);
        let mut text = Vec::new();
        while decoder.ip() < GATES + GATE_END {
            let instruction = decoder.decode();
            text.push(format!(
                "{:?} {}",
                instruction.mnemonic(),
                instruction.ip() - GATES
            ));
        }
        let expected = [
            "Rdgsbase 0",
            "Rorx 5",
            "Mov 11",
            "Lea 13",
            "Jrcxz 19",
            "Mov 21",
            "Syscall 26",
            "Ud2 28",
            "Mov 30",
            "Mov 35",
            "Jmp 45",
        ];
        assert_eq!(text, expected);
        let mut decoder = iced_x86::Decoder::with_ip(64, &code[19..21], GATES + 19, 0);
        assert_eq!(decoder.decode().near_branch_target(), GATES + 30);
        let mut decoder = iced_x86::Decoder::with_ip(64, &code[45..50], GATES + 45, 0);
        assert_eq!(decoder.decode().near_branch_target(), CALL_ENTRY);
    }
}
