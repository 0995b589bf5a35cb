//! The host calls of the platforms that no safe wrapper offers.
#![allow(unsafe_code)] // memory shared with hostile processes, futexes, raw clone

pub(crate) mod shared;
pub(crate) mod start;
pub(crate) mod trace;

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use sentry_abi::Errno;

/// Sleeps while `*word == value`, until woken or for `timeout` at most. Spurious returns happen.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, timeout: Duration) {
    let time = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the word and the time live across the call. Not private: processes share the word.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            &raw const time,
        );
    }
}

/// Wakes one sleeper.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the call only looks the address up.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// MEMBARRIER_CMD_GLOBAL (linux/membarrier.h).
const BARRIER_GLOBAL: i32 = 1;

/// Whether the host's membarrier(2) has its global command.
pub(crate) fn has_barrier() -> bool {
    // SAFETY: the query touches no memory.
    let offered = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) };
    offered > 0 && offered & i64::from(BARRIER_GLOBAL) != 0
}

/// A full memory barrier on every thread of the machine.
pub(crate) fn barrier() -> Result<(), Errno> {
    // SAFETY: the command touches no memory of ours.
    if unsafe { libc::syscall(libc::SYS_membarrier, BARRIER_GLOBAL, 0, 0) } < 0 {
        return Err(Errno::from_io(&std::io::Error::last_os_error()));
    }
    Ok(())
}

/// The time-stamp counter.
pub(crate) fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter into two registers.
    unsafe {
        core::arch::asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// The time-stamp counter, and what RDTSCP calls the CPU.
pub(crate) fn tsc_and_cpu() -> (u64, u32) {
    let (low, high, cpu): (u32, u32, u32);
    // SAFETY: reads a counter and a constant into registers.
    unsafe {
        core::arch::asm!("rdtscp", out("eax") low, out("edx") high, out("ecx") cpu,
                         options(nomem, nostack));
    }
    (u64::from(high) << 32 | u64::from(low), cpu)
}

/// Nanoseconds that this many cycles of the time-stamp counter take.
pub(crate) fn cycles_to_ns(cycles: u64) -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static PER_MS: OnceLock<u64> = OnceLock::new();
    let per_ms = PER_MS.get_or_init(|| {
        let (start, from) = (Instant::now(), tsc());
        while start.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        let (ns, cycles) = (start.elapsed().as_nanos() as u64, tsc().wrapping_sub(from));
        (cycles * 1_000_000 / ns).max(1)
    });
    (u128::from(cycles) * 1_000_000 / u128::from(*per_ms)) as u64
}

/// CPUID leaf 0xd: the enabled state components (XCR0), and the size of an XSAVE area of them.
pub(crate) fn xsave_layout() -> (u64, usize) {
    let (low, high): (u32, u32);
    #[allow(unused_unsafe)] // safe in newer toolchains
    // SAFETY: the x86-64 processors that this runs on have CPUID.
    let leaf = unsafe { core::arch::x86_64::__cpuid_count(0xd, 0) };
    // SAFETY: `new` of the platform has seen XSAVE among the processor's features.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
                         options(nomem, nostack));
    }
    (u64::from(high) << 32 | u64::from(low), leaf.ebx as usize)
}

/// Whether the processor and the kernel let user code use XSAVE, and read and write FS and GS bases.
pub(crate) fn has_needed_features() -> bool {
    const HWCAP2_FSGSBASE: u64 = 2;
    // SAFETY: reads the auxiliary vector.
    let fsgsbase = unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE != 0;
    const RDTSCP: u32 = 1 << 27;
    #[allow(unused_unsafe)] // safe in newer toolchains
    // SAFETY: x86-64 processors have CPUID, and this leaf.
    let extended = unsafe { core::arch::x86_64::__cpuid(0x8000_0001) };
    fsgsbase && std::arch::is_x86_feature_detected!("xsave") && extended.edx & RDTSCP != 0
}

/// Bytes that a signal frame takes on this machine at most.
pub(crate) fn signal_frame_size() -> usize {
    const AT_MINSIGSTKSZ: libc::c_ulong = 51;
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(AT_MINSIGSTKSZ) as usize }
}

/// Sends a signal to one thread of a process that has not been reaped.
pub(crate) fn tgkill(pid: i32, tid: i32, signal: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}

/// The CPU that this thread runs on, if it can be told.
pub(crate) fn current_cpu() -> Option<usize> {
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The CPUs that the Sentry may run on, a bit each, as sched_setaffinity(2) takes them: guest threads
/// may run on the same.
pub(crate) fn own_cpus<const N: usize>() -> [u8; N] {
    let this = nix::unistd::Pid::from_raw(0);
    let Ok(set) = nix::sched::sched_getaffinity(this) else {
        return [0xff; N];
    };
    let mut mask = [0; N];
    for cpu in 0..nix::sched::CpuSet::count().min(N * 8) {
        if set.is_set(cpu).unwrap_or(false) {
            mask[cpu / 8] |= 1 << (cpu % 8);
        }
    }
    mask
}

/// Has a thread run on one CPU only, or anywhere (`None`). A wish: failure is ignored.
pub(crate) fn pin(tid: i32, cpu: Option<usize>) {
    let tid = nix::unistd::Pid::from_raw(tid);
    let mut set = nix::sched::CpuSet::new();
    let all = 0..nix::sched::CpuSet::count();
    for cpu in cpu.map_or(all, |cpu| cpu..cpu + 1) {
        let _ = set.set(cpu);
    }
    let _ = nix::sched::sched_setaffinity(tid, &set);
}

/// A memfd with this content that can be executed, and not changed any more.
pub(crate) fn executable(content: &[u8]) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::io::Write as _;
    use std::os::fd::FromRawFd as _;
    const MFD_EXEC: u32 = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let create = |flags: u32| {
        // SAFETY: the name is a C string.
        unsafe { libc::memfd_create(c"stub".as_ptr(), flags) }
    };
    // Kernels before 6.3 don't know the flag, some later ones want it.
    let fd = match create(flags | MFD_EXEC) {
        -1 => create(flags),
        fd => fd,
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(content)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    seal(&file, seals)?;
    Ok(file.into())
}

fn seal(file: &std::fs::File, seals: i32) -> std::io::Result<()> {
    let fd: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(file);
    // SAFETY: no memory is involved.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
