//! Programs of this machine and broken ones, loaded into a model.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use sentry_abi::Errno;

use super::{AuxIds, LoadContext, Loaded, OpenFor, load};
use crate::mm::io::IoDst;
use crate::mm::testing::{Guest, HostFile};
use crate::mm::{Mappable, MemoryFile};
use crate::vfs::file::FileOps;

struct Program(Arc<HostFile>);

impl Program {
    fn open(path: &str) -> Arc<dyn FileOps> {
        let file = File::open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Arc::new(Self(Arc::new(HostFile(file))))
    }

    fn with(contents: &[u8]) -> Arc<dyn FileOps> {
        Arc::new(Self(HostFile::with(contents)))
    }
}

impl FileOps for Program {
    fn read(&self, dst: &mut dyn IoDst, offset: Option<u64>) -> Result<usize, Errno> {
        let mut bytes = vec![0; dst.remaining()];
        let at = offset.unwrap_or(0) as i64;
        let n = nix::sys::uio::pread(&self.0.0, &mut bytes, at).map_err(|e| Errno(e as i32))?;
        dst.put(&bytes[..n])
    }
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        assert!(self.0.0.as_raw_fd() >= 0);
        Some(self.0.clone())
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn run(guest: &Guest, file: Arc<dyn FileOps>, argv: &[&str]) -> Result<Loaded, Errno> {
    let mut open = |path: &[u8], _: OpenFor| {
        let path = std::str::from_utf8(path).map_err(|_| Errno::ENOENT)?;
        if path == "/script" {
            return Ok(Program::with(b"#!/script arg\n"));
        }
        let file = File::open(path).map_err(Errno::from)?;
        let program: Arc<dyn FileOps> = Arc::new(Program(Arc::new(HostFile(file))));
        Ok(program)
    };
    let cx = LoadContext {
        file,
        path: b"/bin/program".to_vec(),
        argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        envp: vec![b"HOME=/".to_vec()],
        ids: AuxIds::default(),
        stack_limit: 8 << 20,
        open: &mut open,
    };
    load(cx, &guest.mm)
}

fn guest() -> Guest {
    Guest::new(&MemoryFile::new().unwrap())
}

#[test]
fn a_dynamic_program_starts_in_its_linker_with_its_arguments() {
    let guest = guest();
    let loaded = run(&guest, Program::open("/bin/sh"), &["sh", "-c", "true"]).unwrap();
    let mm = &guest.mm;
    let rsp = loaded.regs.rsp;
    assert_eq!(rsp % 16, 0);
    let words: Vec<u64> = mm.read_array(rsp, 7).unwrap();
    assert_eq!(words[0], 3);
    assert_eq!(mm.read_cstr(words[1], 100), Ok(b"sh".to_vec()));
    assert_eq!(mm.read_cstr(words[3], 100), Ok(b"true".to_vec()));
    assert_eq!(words[4], 0);
    assert_eq!(mm.read_cstr(words[5], 100), Ok(b"HOME=/".to_vec()));
    let layout = mm.layout();
    let auxv: Vec<[u64; 2]> = mm.read_array(rsp + 7 * 8, layout.auxv.len() / 16).unwrap();
    let entry = |wanted: u64| auxv.iter().find(|e| e[0] == wanted).unwrap()[1];
    assert_eq!(
        mm.read_cstr(entry(libc::AT_EXECFN), 99).unwrap(),
        b"/bin/program"
    );
    assert_eq!(
        mm.read_cstr(entry(libc::AT_PLATFORM), 99).unwrap(),
        b"x86_64"
    );
    assert_ne!(mm.read_val::<[u64; 2]>(entry(libc::AT_RANDOM)), Ok([0, 0]));
    // The headers are where AT_PHDR says: the first is PT_PHDR, which names its own place.
    let first: [u64; 7] = mm.read_val(entry(libc::AT_PHDR)).unwrap();
    assert_eq!(first[0] as u32, 6);
    assert!(entry(libc::AT_BASE) != 0 && loaded.regs.rip > entry(libc::AT_BASE));
    // The linker's code is there to be run, straight from its file.
    assert!(guest.load(loaded.regs.rip, 1).is_ok());
    // bss and stack can be written.
    guest.store(rsp - 100_000, b"deep").unwrap();
    assert_eq!(mm.brk(0), mm.brk(0));
    let heap = mm.brk(0);
    assert_eq!(mm.brk(heap + 4096), heap + 4096);
    guest.store(heap, b"heap").unwrap();
}

#[test]
fn scripts_run_their_interpreter_and_loops_end() {
    let guest = guest();
    let script = Program::with(b"#! /bin/sh -e\necho\n");
    let loaded = run(&guest, script, &["name", "one"]).unwrap();
    assert_eq!(loaded.path, b"/bin/sh");
    let words: Vec<u64> = guest.mm.read_array(loaded.regs.rsp, 5).unwrap();
    let args: Vec<_> = words[1..]
        .iter()
        .map(|&at| guest.mm.read_cstr(at, 100).unwrap())
        .collect();
    assert_eq!(words[0], 4);
    assert_eq!(args, [&b"/bin/sh"[..], b"-e", b"/bin/program", b"one"]);
    let endless = run(&self::guest(), Program::with(b"#!/script\n"), &["x"]);
    assert_eq!(endless.err(), Some(Errno::ELOOP));
}

#[test]
fn what_is_no_program_is_refused() {
    let refused = |bytes: &[u8]| run(&guest(), Program::with(bytes), &["x"]).err();
    assert_eq!(refused(b""), Some(Errno::ENOEXEC));
    assert_eq!(refused(b"echo hello\n"), Some(Errno::ENOEXEC));
    assert_eq!(refused(b"\x7fELF"), Some(Errno::ENOEXEC));
    let long = "x".repeat(200_000);
    let too_long = run(&guest(), Program::open("/bin/sh"), &["sh", &long]);
    assert_eq!(too_long.err(), Some(Errno::E2BIG));
    let many = vec!["argument"; 200_000];
    let too_many = run(&guest(), Program::open("/bin/sh"), &many);
    assert_eq!(too_many.err(), Some(Errno::E2BIG));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// A program whose headers are changed at random loads or is refused; nothing panics or leaks.
    #[test]
    fn broken_headers_are_harmless(
        changes in proptest::collection::vec((0usize..800, proptest::prelude::any::<u8>()), 1..8),
    ) {
        let mut bytes = std::fs::read("/bin/true").unwrap();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let memory = MemoryFile::new().unwrap();
        let guest = Guest::new(&memory);
        let _ = run(&guest, Program::with(&bytes), &["true"]);
        drop(guest);
        assert_eq!(memory.allocated(), 0);
    }
}
