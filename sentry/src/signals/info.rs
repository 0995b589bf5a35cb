//! What is known of one signal (`siginfo_t`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of `siginfo_t` in guest memory.
pub const SIGINFO_SIZE: usize = 128;

/// The meaningful part of `siginfo_t`, in its layout; the rest of the 128 bytes is zero.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SigInfo {
    /// si_signo.
    pub signo: i32,
    /// si_errno.
    pub errno: i32,
    /// si_code.
    pub code: i32,
    /// Padding of the union on 64-bit.
    pub pad: i32,
    /// The union, as 64-bit words.
    pub fields: [u64; 4],
}

fn pair(low: i32, high: u32) -> u64 {
    u64::from(low as u32) | u64::from(high) << 32
}

impl SigInfo {
    fn with(signo: i32, code: i32, fields: [u64; 4]) -> Self {
        Self {
            signo,
            code,
            fields,
            ..Self::default()
        }
    }

    /// Raised by the kernel itself (SI_KERNEL).
    pub fn kernel(signo: i32) -> Self {
        Self::with(signo, libc::SI_KERNEL, [0; 4])
    }

    /// Sent by kill(2) (SI_USER), tkill(2) (SI_TKILL) or sigqueue(3).
    pub fn user(signo: i32, code: i32, pid: i32, uid: u32) -> Self {
        Self::with(signo, code, [pair(pid, uid), 0, 0, 0])
    }

    /// Raised by a fault of the running code at `addr`.
    pub fn fault(signo: i32, code: i32, addr: u64) -> Self {
        Self::with(signo, code, [addr, 0, 0, 0])
    }

    /// SIGCHLD: child `pid` changed its state; times in clock ticks.
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: u64, stime: u64) -> Self {
        let status = u64::from(status as u32);
        Self::with(libc::SIGCHLD, code, [pair(pid, uid), status, utime, stime])
    }

    /// A POSIX timer's (SI_TIMER).
    pub fn timer(signo: i32, id: i32, overrun: i32, value: u64) -> Self {
        let fields = [pair(id, overrun as u32), value, 0, 0];
        Self::with(signo, libc::SI_TIMER, fields)
    }

    /// A file's readiness (F_SETSIG): `code` is POLL_IN and so on, with the band that Linux's `band_table`
    /// has for it.
    pub fn io(signo: i32, code: i32, fd: i32) -> Self {
        const BANDS: [u64; 6] = [0x41, 0x304, 0x441, 0x8, 0x82, 0x18];
        let at = usize::try_from(code - 1).unwrap_or(0).min(BANDS.len() - 1);
        Self::with(signo, code, [BANDS[at], u64::from(fd as u32), 0, 0])
    }

    /// As the guest sees it.
    pub fn to_bytes(&self) -> [u8; SIGINFO_SIZE] {
        let mut bytes = [0; SIGINFO_SIZE];
        bytes[..size_of::<Self>()].copy_from_slice(self.as_bytes());
        bytes
    }

    /// The sender's pid, for kill-like codes and children.
    pub fn pid(&self) -> i32 {
        self.fields[0] as i32
    }

    /// The sender's uid.
    pub fn uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }
}
