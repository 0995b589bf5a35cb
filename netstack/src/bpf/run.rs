//! The interpreter. A load beyond the packet and a division by zero end it with 0.

use super::{Insn, MEM_WORDS, ancillary, code};

/// A packet as a filter sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet<'a> {
    /// The bytes from the first header on that is there.
    pub bytes: &'a [u8],
    /// Where the socket's view begins in them.
    pub start: usize,
    /// Where the network header begins in them.
    pub network: usize,
    /// There is a link header in front of that.
    pub has_link: bool,
    /// The protocol of the link (ETH_P_IP ...).
    pub protocol: u16,
    /// `PACKET_*`: to whom it was sent.
    pub packet_type: u8,
    /// The number of the interface; 0 if it is of none.
    pub ifindex: u32,
    /// `ARPHRD_*` of the interface.
    pub hardware: u16,
}

/// Offsets from the network header, and from the link header.
const NETWORK: i32 = -0x10_0000;
const LINK: i32 = -0x20_0000;

impl Packet<'_> {
    /// Bytes from where the socket's view begins.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// A number of `N` bytes at an offset, which may be negative (`bpf_internal_load_pointer_neg_helper`).
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = offset as i32;
        let at = if offset >= 0 {
            self.start.checked_add(offset as usize)?
        } else if offset >= NETWORK {
            self.network + (offset - NETWORK) as usize
        } else if offset >= LINK && self.has_link {
            (offset - LINK) as usize
        } else {
            return None;
        };
        self.bytes
            .get(at..at.checked_add(N)?)?
            .first_chunk()
            .copied()
    }

    fn load_sized(&self, size: u16, offset: u32) -> Option<u32> {
        Some(match size {
            code::W => u32::from_be_bytes(self.load(offset)?),
            code::H => u16::from_be_bytes(self.load(offset)?).into(),
            _ => self.load::<1>(offset)?[0].into(),
        })
    }

    /// Where the payload of TCP or UDP over IP begins (SKF_AD_PAY_OFFSET), from the socket's view.
    fn payload_offset(&self) -> u32 {
        let Some(ip) = self.bytes.get(self.network..) else {
            return 0;
        };
        let (proto, transport) = match ip.first().map(|first| first >> 4) {
            Some(4) if ip.len() >= 20 => (ip[9], usize::from(ip[0] & 0xf) * 4),
            Some(6) if ip.len() >= 40 => (ip[6], 40),
            _ => return self.network.saturating_sub(self.start) as u32,
        };
        let header = match (proto, ip.get(transport + 12)) {
            (6, Some(offset)) => usize::from(offset >> 4) * 4,
            (17, _) => 8,
            (1 | 58, _) => 8,
            _ => 0,
        };
        (self.network + transport + header).saturating_sub(self.start) as u32
    }

    fn ancillary(&self, what: u32, a: u32, x: u32) -> Option<u32> {
        Some(match what {
            ancillary::PROTOCOL => self.protocol.into(),
            ancillary::PACKET_TYPE => self.packet_type.into(),
            ancillary::IFINDEX if self.ifindex == 0 => return None,
            ancillary::IFINDEX => self.ifindex,
            ancillary::HARDWARE if self.ifindex == 0 => return None,
            ancillary::HARDWARE => self.hardware.into(),
            ancillary::XOR_X => a ^ x,
            ancillary::PAYLOAD => self.payload_offset(),
            // Marks, queues, hashes and tags of VLANs are not kept; all run on one processor.
            _ => 0,
        })
    }
}

struct Machine<'a> {
    packet: &'a Packet<'a>,
    a: u32,
    x: u32,
    mem: [u32; MEM_WORDS],
}

/// Runs a program that has been verified.
pub(super) fn run(insns: &[Insn], packet: &Packet<'_>) -> u32 {
    let mut machine = Machine {
        packet,
        a: 0,
        x: 0,
        mem: [0; MEM_WORDS],
    };
    let mut at = 0;
    while let Some(insn) = insns.get(at) {
        at += 1;
        let going = match insn.code & 7 {
            code::RET if insn.code & 0x18 == code::A => return machine.a,
            code::RET => return insn.k,
            code::JMP => {
                at += machine.jump(insn);
                Some(())
            }
            code::LD => machine.load_a(insn),
            code::LDX => machine.load_x(insn),
            code::ALU => machine.operate(insn),
            _ => {
                machine.move_word(insn);
                Some(())
            }
        };
        if going.is_none() {
            return 0;
        }
    }
    0
}

impl Machine<'_> {
    /// Instructions to skip.
    fn jump(&self, insn: &Insn) -> usize {
        let operand = self.operand(insn);
        let holds = match insn.code & 0xf0 {
            code::JA => return insn.k as usize,
            code::JEQ => self.a == operand,
            code::JGT => self.a > operand,
            code::JGE => self.a >= operand,
            _ => self.a & operand != 0,
        };
        usize::from(if holds { insn.jt } else { insn.jf })
    }

    fn operand(&self, insn: &Insn) -> u32 {
        match insn.code & code::X {
            0 => insn.k,
            _ => self.x,
        }
    }

    fn load_a(&mut self, insn: &Insn) -> Option<()> {
        let size = insn.code & 0x18;
        self.a = match insn.code & !0x1f {
            code::IMM => insn.k,
            code::MEM => self.word(insn),
            code::LEN => self.packet.len() as u32,
            code::ABS if insn.k >= ancillary::BASE => {
                let what = insn.k - ancillary::BASE;
                self.packet.ancillary(what, self.a, self.x)?
            }
            code::ABS => self.packet.load_sized(size, insn.k)?,
            _ => self.packet.load_sized(size, self.x.wrapping_add(insn.k))?,
        };
        Some(())
    }

    fn load_x(&mut self, insn: &Insn) -> Option<()> {
        self.x = match insn.code & !0x1f {
            code::IMM => insn.k,
            code::MEM => self.word(insn),
            code::LEN => self.packet.len() as u32,
            // The length of an IPv4 header.
            _ => (self.packet.load_sized(code::B, insn.k)? & 0xf) << 2,
        };
        Some(())
    }

    fn word(&self, insn: &Insn) -> u32 {
        self.mem[insn.k as usize % MEM_WORDS]
    }

    fn operate(&mut self, insn: &Insn) -> Option<()> {
        let (a, operand) = (self.a, self.operand(insn));
        self.a = match insn.code & 0xf0 {
            code::ADD => a.wrapping_add(operand),
            code::SUB => a.wrapping_sub(operand),
            code::MUL => a.wrapping_mul(operand),
            code::DIV => a.checked_div(operand)?,
            code::MOD => a.checked_rem(operand)?,
            code::OR => a | operand,
            code::AND => a & operand,
            code::XOR => a ^ operand,
            // Of a shift five bits count.
            code::LSH => a.wrapping_shl(operand),
            code::RSH => a.wrapping_shr(operand),
            _ => a.wrapping_neg(),
        };
        Some(())
    }

    fn move_word(&mut self, insn: &Insn) {
        match insn.code & 7 {
            code::ST => self.mem[insn.k as usize % MEM_WORDS] = self.a,
            code::STX => self.mem[insn.k as usize % MEM_WORDS] = self.x,
            _ if insn.code & !7 == code::TAX => self.x = self.a,
            _ => self.a = self.x,
        }
    }
}
