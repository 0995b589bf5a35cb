//! The initial stack: argument count, pointers, auxiliary vector, strings.

use sentry_abi::Errno;

use super::AuxIds;
use super::segments::Image;
use crate::mm::{MemoryManager, PAGE_SIZE, sys};

/// Ticks per second that times(2) and /proc count in.
const CLOCK_TICKS: u64 = 100;
const AT_MINSIGSTKSZ: u64 = 51;
/// Bytes of a program header.
const HEADER_LEN: u64 = 56;

/// What goes on the stack.
pub(super) struct Stack<'a> {
    pub(super) argv: &'a [Vec<u8>],
    pub(super) envp: &'a [Vec<u8>],
    pub(super) path: &'a [u8],
    pub(super) ids: AuxIds,
    pub(super) image: &'a Image,
    pub(super) linker_base: u64,
    pub(super) vdso: Option<u64>,
}

/// The upper part of the stack, built from the top down.
struct Strings {
    top: u64,
    /// Bytes below `top`, last first.
    reversed: Vec<u8>,
}

impl Strings {
    fn push(&mut self, bytes: &[u8]) -> u64 {
        self.reversed.extend(bytes.iter().rev());
        self.top - self.reversed.len() as u64
    }

    fn push_cstr(&mut self, bytes: &[u8]) -> u64 {
        self.reversed.push(0);
        self.push(bytes)
    }

    fn align(&mut self, to: usize) {
        let len = self.reversed.len().next_multiple_of(to);
        self.reversed.resize(len, 0);
    }
}

impl Stack<'_> {
    /// Writes everything below `top` (page-aligned); where the stack pointer then is.
    pub(super) fn write(&self, mm: &MemoryManager, top: u64) -> Result<u64, Errno> {
        let mut strings = Strings {
            top,
            reversed: vec![0; 8],
        };
        let path = strings.push_cstr(self.path);
        let env_end = path;
        let env: Vec<u64> = push_all(&mut strings, self.envp);
        let arg_end = env.first().copied().unwrap_or(env_end);
        let args: Vec<u64> = push_all(&mut strings, self.argv);
        let arg_start = args.first().copied().unwrap_or(arg_end);
        strings.align(16);
        let platform = strings.push_cstr(b"x86_64");
        let mut random = [0; 16];
        sys::random(&mut random);
        let random = strings.push(&random);
        strings.align(16);

        let auxv = self.auxv(path, platform, random);
        let mut words = vec![args.len() as u64];
        words.extend(&args);
        words.push(0);
        words.extend(&env);
        words.push(0);
        words.extend(auxv.iter().flatten());
        let low = top - strings.reversed.len() as u64;
        let rsp = (low - words.len() as u64 * 8) & !15;

        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize((low - rsp) as usize, 0);
        bytes.extend(strings.reversed.iter().rev());
        mm.write(rsp, &bytes).map_err(|_| Errno::E2BIG)?;
        mm.update_layout(|layout| {
            layout.stack_start = rsp;
            layout.args = arg_start..arg_end;
            layout.env = arg_end..env_end;
            layout.auxv = auxv
                .iter()
                .flatten()
                .flat_map(|w| w.to_le_bytes())
                .collect();
        });
        Ok(rsp)
    }

    fn auxv(&self, path: u64, platform: u64, random: u64) -> Vec<[u64; 2]> {
        let mut auxv = Vec::new();
        if let Some(vdso) = self.vdso {
            auxv.push([libc::AT_SYSINFO_EHDR, vdso]);
        }
        auxv.extend([
            [AT_MINSIGSTKSZ, sys::auxval(AT_MINSIGSTKSZ).max(2048)],
            [libc::AT_HWCAP, sys::auxval(libc::AT_HWCAP)],
            [libc::AT_PAGESZ, PAGE_SIZE],
            [libc::AT_CLKTCK, CLOCK_TICKS],
            [libc::AT_PHDR, self.image.headers],
            [libc::AT_PHENT, HEADER_LEN],
            [libc::AT_PHNUM, self.image.header_count.into()],
            [libc::AT_BASE, self.linker_base],
            [libc::AT_FLAGS, 0],
            [libc::AT_ENTRY, self.image.entry],
            [libc::AT_UID, self.ids.uid.into()],
            [libc::AT_EUID, self.ids.euid.into()],
            [libc::AT_GID, self.ids.gid.into()],
            [libc::AT_EGID, self.ids.egid.into()],
            [libc::AT_SECURE, self.ids.secure.into()],
            [libc::AT_RANDOM, random],
            [libc::AT_HWCAP2, sys::auxval(libc::AT_HWCAP2)],
            [libc::AT_EXECFN, path],
            [libc::AT_PLATFORM, platform],
            [libc::AT_NULL, 0],
        ]);
        auxv
    }
}

/// Pushes strings so that the first is lowest; their addresses, in order.
fn push_all(strings: &mut Strings, all: &[Vec<u8>]) -> Vec<u64> {
    let mut addresses: Vec<u64> = all.iter().rev().map(|s| strings.push_cstr(s)).collect();
    addresses.reverse();
    addresses
}
