//! Floating-point and vector state.

use std::os::unix::fs::FileExt;

use crate::guest::{CODE, DATA, Guest, Host, kinds, programs};

programs! {
    over_a_call:
        "vmovups ymm7, [rdi]",
        "syscall",
        "vmovups [rdi + 32], ymm7",
        "fnstcw [rdi + 64]",
        "stmxcsr [rdi + 68]",
        "syscall";
    store_xmm0: "movups [rdi], xmm0", "syscall";
}

/// Offset of xmm0 in an XSAVE area.
const XMM0: usize = 160;

#[test]
fn vector_state_survives_a_call() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, over_a_call());
        let pattern: [u8; 32] = std::array::from_fn(|i| i as u8 + 1);
        host.memory.write_all_at(&pattern, 0x1000).expect("write");
        guest.regs.rdi = DATA;
        guest.syscall();
        guest.syscall();
        let mut bytes = [0; 40];
        host.memory.read_exact_at(&mut bytes, 0x1020).expect("read");
        assert_eq!(bytes[..32], pattern);
        // The reset control words.
        assert_eq!(bytes[32..34], 0x37f_u16.to_le_bytes());
        assert_eq!(bytes[36..40], 0x1f80_u32.to_le_bytes());
    }
}

#[test]
fn vector_state_can_be_read_set_copied_and_reset() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, store_xmm0());
        let stored = |guest: &mut Guest| {
            guest.regs.rip = CODE;
            guest.regs.rdi = DATA;
            guest.syscall();
            let mut bytes = [0; 16];
            host.memory.read_exact_at(&mut bytes, 0x1000).expect("read");
            bytes
        };
        assert_eq!(stored(&mut guest), [0; 16]);
        let mut area = guest.context.fp_state();
        area[XMM0..XMM0 + 16].copy_from_slice(b"set by the host!");
        area[512] |= 2; // SSE is not in its reset state
        guest.context.set_fp_state(Some(&area)).expect("valid");
        assert_eq!(&stored(&mut guest), b"set by the host!");
        let area = guest.context.fp_state();
        assert_eq!(&area[XMM0..XMM0 + 16], b"set by the host!");

        guest.context.set_fp_state(None).expect("reset");
        assert_eq!(stored(&mut guest), [0; 16]);

        let context = guest.space.new_context(Some(&area)).expect("context");
        drop(std::mem::replace(&mut guest.context, context));
        assert_eq!(&stored(&mut guest), b"set by the host!");
        guest.context.set_fp_state(Some(&area)).expect("valid");
        assert_eq!(&stored(&mut guest), b"set by the host!");

        // A state that was read before anything ran is one that can be set.
        let mut context = guest.space.new_context(None).expect("context");
        let reset = context.fp_state();
        guest.context.set_fp_state(Some(&reset)).expect("valid");
        assert_eq!(stored(&mut guest), [0; 16]);
    }
}

#[test]
fn malformed_state_is_refused() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, store_xmm0());
        guest.regs.rdi = DATA;
        guest.syscall();
        let good = guest.context.fp_state();
        let broken: [(usize, u8); 7] = [
            (464, 1),
            (468, 1),
            (480, 1),
            (26, 1),
            (519, 0xff),
            (520, 1),
            (good.len() - 1, 1),
        ];
        for (at, xor) in broken {
            let mut bad = good.clone();
            bad[at] ^= xor;
            assert!(guest.context.set_fp_state(Some(&bad)).is_err(), "byte {at}");
        }
        for len in [0, 1, 512, 579, good.len() - 1] {
            assert!(
                guest.context.set_fp_state(Some(&good[..len])).is_err(),
                "{len}"
            );
        }
        guest.regs.rip = CODE;
        guest.syscall();
    }
}
