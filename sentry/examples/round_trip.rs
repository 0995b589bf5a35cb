//! What a guest's system call costs on each platform, against a native one, with a CPU to spare and
//! with none; and what making an address space, a thread and a mapping costs.
//!
//! `cargo run --release -p sentry --example round_trip`

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use sentry::Regs;
use sentry::platform::{AddressSpace, Event, MapOp, MapSource, Platform, PlatformKind, new};

const CODE: u64 = 0x40_0000;
/// `2: syscall; jmp 2b`
const LOOP: [u8; 4] = [0x0f, 0x05, 0xeb, 0xfc];
const CALLS: usize = 20_000;

fn main() {
    let all = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    let native = measure(1_000_000, || {
        std::hint::black_box(nix::unistd::getppid());
    });
    println!("native system call: {native:.0} ns");
    for kind in [PlatformKind::Systrap, PlatformKind::Ptrace] {
        report(kind, "all CPUs", native);
        let mut one = CpuSet::new();
        one.set(0).expect("CPU 0");
        sched_setaffinity(Pid::from_raw(0), &one).expect("affinity");
        report(kind, "one CPU", native);
        sched_setaffinity(Pid::from_raw(0), &all).expect("affinity");
        crowded(kind, native);
    }
}

/// Mean nanoseconds of one call of `f`.
fn measure(times: usize, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        f();
    }
    start.elapsed().as_nanos() as f64 / times as f64
}

fn platform(kind: PlatformKind) -> Arc<dyn Platform> {
    let memory = File::from(memfd_create("memory", MFdFlags::MFD_CLOEXEC).expect("memfd"));
    memory.set_len(1 << 30).expect("memory");
    std::os::unix::fs::FileExt::write_all_at(&memory, &LOOP, 0).expect("code");
    new(kind, memory.into()).expect("platform")
}

fn space(platform: &dyn Platform) -> Arc<dyn AddressSpace> {
    let space = platform.new_address_space().expect("space");
    let map = MapOp::Map {
        addr: CODE,
        len: 0x1000,
        prot: 5,
        source: MapSource::Memory { offset: 0 },
    };
    space.apply(&[map]).expect("map");
    space
}

fn calls(space: &Arc<dyn AddressSpace>, count: usize) -> f64 {
    let mut context = space.new_context(None).expect("context");
    let mut regs = Regs {
        rip: CODE,
        rax: 39,
        eflags: 0x202,
        ..Regs::default()
    };
    assert_eq!(context.run(&mut regs).expect("alive"), Event::Syscall);
    measure(count, || {
        context.run(&mut regs).expect("alive");
    })
}

fn report(kind: PlatformKind, cpus: &str, native: f64) {
    let platform = platform(kind);
    let name = platform.name();
    let space = space(&*platform);
    let mut each: Vec<f64> = (0..5).map(|_| calls(&space, CALLS)).collect();
    each.sort_by(f64::total_cmp);
    let median = each[2];
    println!(
        "{name}, {cpus}: system call {median:.0} ns, {:.1} times native",
        median / native
    );
    let spaces = measure(500, || drop(platform.new_address_space().expect("space")));
    let threads = measure(500, || drop(space.new_context(None).expect("context")));
    let mut addr = 0x1000_0000;
    let maps = measure(2000, || {
        addr += 0x2000;
        let source = MapSource::Memory { offset: addr };
        let map = MapOp::Map {
            addr,
            len: 0x1000,
            prot: 3,
            source,
        };
        space.apply(&[map]).expect("map");
    });
    println!(
        "  address space {:.0} us, thread {:.0} us, mapping {:.1} us",
        spaces / 1e3,
        threads / 1e3,
        maps / 1e3
    );
}

/// As many busy guests as CPUs, and twice that.
fn crowded(kind: PlatformKind, native: f64) {
    let platform = platform(kind);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for guests in [cpus, 2 * cpus] {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..guests {
                scope.spawn(|| calls(&space(&*platform), CALLS));
            }
        });
        let each = start.elapsed().as_nanos() as f64 * cpus as f64 / (guests * CALLS) as f64;
        println!(
            "{}, {guests} busy guests on {cpus} CPUs: {each:.0} ns of CPU a system call, {:.1} times native",
            platform.name(),
            each / native
        );
    }
}
