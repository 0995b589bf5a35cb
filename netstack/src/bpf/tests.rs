use super::*;
use proptest::prelude::*;

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

fn ret(k: u32) -> Insn {
    insn(6, 0, 0, k)
}

fn bytes(bytes: &[u8]) -> Packet<'_> {
    Packet {
        bytes,
        ..Packet::default()
    }
}

/// What tcpdump makes of `udp dst port 53`, without fragments (from its documentation of the format).
fn dns() -> Program {
    Program::new(vec![
        insn(0x28, 0, 0, 12),
        insn(0x15, 0, 6, 0x800),
        insn(0x30, 0, 0, 23),
        insn(0x15, 0, 4, 17),
        insn(0xb1, 0, 0, 14),
        insn(0x48, 0, 0, 16),
        insn(0x15, 0, 1, 53),
        ret(0x4_0000),
        ret(0),
    ])
    .unwrap()
}

#[test]
fn a_filter_of_a_port() {
    let mut frame = vec![0; 60];
    (frame[12], frame[14], frame[23]) = (8, 0x46, 17);
    frame[14 + 24 + 3] = 53;
    assert_eq!(dns().keep(&bytes(&frame)), Some(60));
    frame[14] = 0x45;
    assert_eq!(dns().keep(&bytes(&frame)), None);
    assert_eq!(dns().keep(&bytes(&frame[..20])), None, "cut short");
}

#[test]
fn offsets_from_headers() {
    let frame: Vec<u8> = (0..60).collect();
    let packet = Packet {
        bytes: &frame,
        start: 34,
        network: 14,
        has_link: true,
        protocol: 0x800,
        packet_type: 4,
        ifindex: 7,
        hardware: 1,
    };
    let load = |k: i32| {
        let program = Program::new(vec![insn(0x30, 0, 0, k as u32), insn(0x16, 0, 0, 0)]);
        program.map(|program| program.run(&packet))
    };
    assert_eq!(
        [0, -0x10_0000, -0x20_0000 + 1].map(load),
        [Ok(34), Ok(14), Ok(1)]
    );
    assert_eq!(
        [-0x20_0001, 26, -0x1000 + 8, -0x1000 + 4].map(load),
        [Ok(0), Ok(0), Ok(7), Ok(4)]
    );
    // Unknown ancillary data are refused; by an index they are beyond the packet.
    assert_eq!([-0x1000 + 2, -0x1000 + 12].map(load), [Err(BadProgram); 2]);
    let indirect = Program::new(vec![
        insn(1, 0, 0, -0x1000_i32 as u32),
        insn(0x50, 0, 0, 4),
        ret(1),
    ]);
    assert_eq!(indirect.unwrap().run(&packet), 0);
}

#[test]
fn what_is_refused() {
    let bad: Vec<Vec<Insn>> = vec![
        vec![],
        vec![insn(0, 0, 0, 1)],
        vec![insn(5, 0, 0, 1), ret(0)],
        vec![insn(5, 0, 0, u32::MAX), ret(0)],
        vec![insn(0x15, 1, 0, 1), ret(0)],
        vec![insn(0x34, 0, 0, 0), ret(0)],
        vec![insn(0x94, 0, 0, 0), ret(0)],
        vec![insn(0x64, 0, 0, 32), ret(0)],
        vec![insn(0x02, 0, 0, 16), ret(0)],
        vec![insn(0x60, 0, 0, 0), ret(0)],
        vec![insn(0xffff, 0, 0, 0), ret(0)],
        vec![insn(0x0e, 0, 0, 0)],
        vec![
            insn(0x15, 1, 0, 1),
            insn(2, 0, 0, 3),
            insn(0x60, 0, 0, 3),
            ret(0),
        ],
        vec![ret(0); INSNS_MAX + 1],
    ];
    for program in bad {
        assert_eq!(
            Program::new(program.clone()),
            Err(BadProgram),
            "{program:?}"
        );
    }
    let both = vec![
        insn(0x15, 0, 1, 1),
        insn(2, 0, 0, 3),
        insn(2, 0, 0, 3),
        insn(0x60, 0, 0, 3),
        ret(0),
    ];
    assert!(Program::new(both).is_ok());
    assert!(Program::new(vec![ret(0); INSNS_MAX]).is_ok());
    assert_eq!(Program::from_bytes(&[0; 7]), Err(BadProgram));
}

/// A second interpreter, written from bpf(4) with wide numbers and one step per call.
mod naive {
    use super::*;

    pub(super) fn run(program: &[Insn], packet: &[u8]) -> u64 {
        step(program, packet, 0, [0; 18])
    }

    /// `state`: sixteen words, A, X.
    fn step(program: &[Insn], packet: &[u8], at: usize, state: [u64; 18]) -> u64 {
        const WRAP: u64 = 1 << 32;
        let i = program[at];
        let (a, x, k) = (state[16], state[17], u64::from(i.k));
        let set = |index: usize, value: u64| {
            let mut state = state;
            state[index] = value % WRAP;
            state
        };
        let next = |state| step(program, packet, at + 1, state);
        let fetch = |offset: u64, size: usize| -> Option<u64> {
            let offset = usize::try_from(offset % WRAP).ok()?;
            let part = packet.get(offset..offset + size)?;
            Some(
                part.iter()
                    .fold(0, |number, byte| number * 256 + u64::from(*byte)),
            )
        };
        let second = if i.code & 8 == 0 { k } else { x };
        let to_a = |value: Option<u64>| value.map_or(0, |value| next(set(16, value)));
        match i.code {
            0x06 => k,
            0x16 => a,
            0x00 => next(set(16, k)),
            0x01 => next(set(17, k)),
            0x80 => next(set(16, packet.len() as u64)),
            0x81 => next(set(17, packet.len() as u64)),
            0x60 => next(set(16, state[i.k as usize])),
            0x61 => next(set(17, state[i.k as usize])),
            0x02 => next(set(i.k as usize, a)),
            0x03 => next(set(i.k as usize, x)),
            0x07 => next(set(17, a)),
            0x87 => next(set(16, x)),
            0x20 => to_a(fetch(k, 4)),
            0x28 => to_a(fetch(k, 2)),
            0x30 => to_a(fetch(k, 1)),
            0x40 => to_a(fetch(x + k, 4)),
            0x48 => to_a(fetch(x + k, 2)),
            0x50 => to_a(fetch(x + k, 1)),
            0xb1 => fetch(k, 1).map_or(0, |byte| next(set(17, byte % 16 * 4))),
            0x04 | 0x0c => next(set(16, a + second)),
            0x14 | 0x1c => next(set(16, a + WRAP - second)),
            0x24 | 0x2c => next(set(16, a.wrapping_mul(second))),
            0x34 | 0x3c => to_a(a.checked_div(second)),
            0x94 | 0x9c => to_a(a.checked_rem(second)),
            0x44 | 0x4c => next(set(16, a | second)),
            0x54 | 0x5c => next(set(16, a & second)),
            0xa4 | 0xac => next(set(16, a ^ second)),
            0x64 | 0x6c => next(set(16, a << (second % 32))),
            0x74 | 0x7c => next(set(16, a >> (second % 32))),
            0x84 => next(set(16, WRAP - a)),
            0x05 => step(program, packet, at + 1 + i.k as usize, state),
            _ => {
                let holds = match i.code & 0xf0 {
                    0x10 => a == second,
                    0x20 => a > second,
                    0x30 => a >= second,
                    _ => a & second != 0,
                };
                let skip = if holds { i.jt } else { i.jf };
                step(program, packet, at + 1 + usize::from(skip), state)
            }
        }
    }
}

const CODES: [u16; 44] = [
    0x00, 0x01, 0x02, 0x03, 0x60, 0x61, 0x07, 0x87, 0x80, 0x81, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50,
    0xb1, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x94, 0x9c, 0x44, 0x4c, 0x54, 0x5c, 0xa4,
    0xac, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x15, 0x1d, 0x25, 0x35, 0x45, 0x06,
];

fn any_insn() -> impl Strategy<Value = Insn> {
    let k = prop_oneof![0_u32..20, any::<u32>().prop_map(|k| k & 0x7fff_ffff)];
    (proptest::sample::select(&CODES[..]), 0_u8..4, 0_u8..4, k)
        .prop_map(|(code, jt, jf, k)| insn(code, jt, jf, k))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_a_naive_interpreter(
        mut insns in proptest::collection::vec(any_insn(), 0..20),
        packet in proptest::collection::vec(any::<u8>(), 0..40),
        stores in any::<bool>(),
    ) {
        if stores {
            // So that loads of scratch words are not all refused.
            let all = (0..16).map(|k| insn(2, 0, 0, k));
            insns = all.chain(insns).collect();
        }
        insns.push(insn(0x16, 0, 0, 0));
        if let Ok(program) = Program::new(insns.clone()) {
            // An index that wraps below zero names headers, of which the naive one knows nothing.
            let wraps = insns.iter().any(|i| matches!(i.code, 0x40 | 0x48 | 0x50));
            let ours = program.run(&bytes(&packet));
            let theirs = naive::run(&insns, &packet);
            prop_assert!(wraps && ours != 0 && theirs == 0 || u64::from(ours) == theirs, "{} {}", ours, theirs);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_run(program in proptest::collection::vec(any::<u8>(), 0..200), packet in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(program) = Program::from_bytes(&program) {
            program.run(&bytes(&packet));
        }
    }
}
