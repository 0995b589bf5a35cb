//! Guest programs, and a guest to run them in.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sentry::Regs;
use sentry::platform::{
    AddressSpace, Context, Event, MapOp, MapSource, Platform, PlatformError, PlatformKind, new,
};

pub(crate) const CODE: u64 = 0x40_0000;
pub(crate) const DATA: u64 = 0x50_0000;
pub(crate) const STACK_TOP: u64 = 0x60_0000 + 0x4000;

pub(crate) const R: i32 = 1;
pub(crate) const RW: i32 = 3;
pub(crate) const RX: i32 = 5;

/// Declares guest programs: position-independent code, as byte strings.
macro_rules! programs {
    ($($name:ident: $($line:literal),+;)*) => {
        $(
            core::arch::global_asm!(
                ".pushsection .rodata.guest, \"a\", @progbits",
                concat!("guest_", stringify!($name), ":"),
                $($line),+,
                concat!("guest_", stringify!($name), "_end:"),
                ".popsection",
            );
            fn $name() -> &'static [u8] {
                unsafe extern "C" {
                    #[link_name = concat!("guest_", stringify!($name))]
                    static START: u8;
                    #[link_name = concat!("guest_", stringify!($name), "_end")]
                    static END: u8;
                }
                let (start, end) = (&raw const START, &raw const END);
                // SAFETY: the two symbols bound the bytes assembled above.
                unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
            }
        )*
    };
}
pub(crate) use programs;

/// A platform and its memory file.
pub(crate) struct Host {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) memory: File,
}

pub(crate) fn kinds() -> Vec<PlatformKind> {
    vec![PlatformKind::Systrap, PlatformKind::Ptrace]
}

impl Host {
    pub(crate) fn new(kind: PlatformKind) -> Self {
        let fd = nix::sys::memfd::memfd_create("memory", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
        let memory = File::from(fd.expect("memfd"));
        memory.set_len(1 << 24).expect("memory");
        let platform = new(kind, memory.try_clone().expect("dup").into()).expect("platform");
        Self { platform, memory }
    }

    /// An address space with `code` at CODE, two pages of data at DATA and a stack.
    pub(crate) fn space(&self, code: &[u8]) -> Arc<dyn AddressSpace> {
        let space = self.platform.new_address_space().expect("address space");
        self.memory.write_all_at(code, 0).expect("code");
        let map = |addr, len, prot, offset| MapOp::Map {
            addr,
            len,
            prot,
            source: MapSource::Memory { offset },
        };
        let ops = [
            map(CODE, 0x1000, RX, 0),
            map(DATA, 0x2000, RW, 0x1000),
            map(STACK_TOP - 0x4000, 0x4000, RW, 0x4000),
        ];
        space.apply(&ops).expect("mappings");
        space
    }
}

/// A context and its registers.
pub(crate) struct Guest {
    pub(crate) space: Arc<dyn AddressSpace>,
    pub(crate) context: Box<dyn Context>,
    pub(crate) regs: Regs,
}

impl Guest {
    pub(crate) fn new(host: &Host, code: &[u8]) -> Self {
        let space = host.space(code);
        let context = space.new_context(None).expect("context");
        Self {
            space,
            context,
            regs: start_regs(),
        }
    }

    pub(crate) fn run(&mut self) -> Result<Event, PlatformError> {
        self.context.run(&mut self.regs)
    }

    /// Runs to the next event, which must be a system call; its number.
    pub(crate) fn syscall(&mut self) -> u64 {
        assert_eq!(
            self.run().expect("alive"),
            Event::Syscall,
            "{:x?}",
            self.regs
        );
        self.regs.orig_rax
    }
}

pub(crate) fn start_regs() -> Regs {
    Regs {
        rip: CODE,
        rsp: STACK_TOP,
        eflags: 0x202,
        cs: 0x33,
        ss: 0x2b,
        ..Regs::default()
    }
}
