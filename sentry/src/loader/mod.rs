//! ELF, scripts, the initial stack, the vDSO.
//!
//! [`load`] puts a program into an empty address space, as execve does, and says with which registers
//! it starts. Every byte of a program is hostile: sizes and counts are bounded before they are used.

mod elf;
mod script;
mod segments;
mod stack;
#[cfg(test)]
mod tests;
pub mod vdso;

use std::sync::Arc;

use sentry_abi::{Errno, Regs};

use crate::mm::{BufDst, MemoryManager};
use crate::vfs::file::FileOps;

/// Interpreters of scripts that are scripts, as deep as Linux follows them.
const MAX_SCRIPTS: usize = 5;
/// Longest argument or environment string, with its NUL (MAX_ARG_STRLEN).
const MAX_STRING: usize = 128 << 10;
/// Least and most room for arguments and environment, whatever RLIMIT_STACK says.
const ARGUMENT_ROOM: (u64, u64) = (128 << 10, 6 << 20);

/// User code segment, 64 bit.
const USER_CS: u64 = 0x33;
/// User data segment.
const USER_SS: u64 = 0x2b;
/// Interrupts enabled, and the bit that is always set.
const INITIAL_EFLAGS: u64 = 0x202;

/// What a program is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFor {
    /// It interprets a script: it is the program that /proc/PID/exe shows.
    Script,
    /// It is the dynamic linker that a program names.
    Linker,
}

/// Looks a path up, checks that it may be executed, and opens it.
pub type Opener<'a> = &'a mut dyn FnMut(&[u8], OpenFor) -> Result<Arc<dyn FileOps>, Errno>;

/// Who a program runs as, for its auxiliary vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are Linux's
pub struct AuxIds {
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
    /// AT_SECURE: exec raised privileges.
    pub secure: bool,
}

/// What is to be executed.
pub struct LoadContext<'a> {
    /// The program, opened and checked (a regular file that may be executed).
    pub file: Arc<dyn FileOps>,
    /// Its path as execve got it: AT_EXECFN, and what an interpreter gets.
    pub path: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Identity after exec.
    pub ids: AuxIds,
    /// RLIMIT_STACK, in bytes.
    pub stack_limit: u64,
    /// Opens interpreters.
    pub open: Opener<'a>,
}

/// A program ready to run.
pub struct Loaded {
    /// Its first registers.
    pub regs: Regs,
    /// The path of the program that runs (a script's interpreter).
    pub path: Vec<u8>,
}

/// Loads a program into `mm`, which must be empty and not be in use (on an error: drop it).
///
/// # Errors
/// As execve(2): ENOEXEC, EACCES, ELIBBAD, E2BIG, ELOOP, ENOMEM, EINVAL, EIO, and what `open` says.
pub fn load(mut cx: LoadContext<'_>, mm: &MemoryManager) -> Result<Loaded, Errno> {
    if cx.argv.is_empty() {
        cx.argv.push(Vec::new());
    }
    let (file, path) = resolve_scripts(&mut cx)?;
    check_size(&cx)?;
    let program = elf::Elf::read(&*file)?;
    let linker = match &program.interpreter {
        Some(path) => {
            let file = (cx.open)(path, OpenFor::Linker)?;
            let elf = elf::Elf::read(&*file).map_err(|error| match error {
                Errno::ENOEXEC | Errno::EINVAL => Errno::ELIBBAD,
                other => other,
            })?;
            Some((file, elf))
        }
        None => None,
    };
    let stack_prot = libc::PROT_READ
        | libc::PROT_WRITE
        | if program.exec_stack {
            libc::PROT_EXEC
        } else {
            0
        };
    let stack_top = mm.map_stack(stack_prot, cx.stack_limit)?;
    let image = segments::map_program(mm, &file, &program, &path)?;
    let (start, base) = match &linker {
        Some((file, elf)) => {
            let linker = {
                let path = program.interpreter.as_deref().unwrap_or_default();
                segments::map_linker(mm, file, elf, path)?
            };
            (linker.entry, linker.bias)
        }
        None => (image.entry, 0),
    };
    let stack = stack::Stack {
        argv: &cx.argv,
        envp: &cx.envp,
        path: &cx.path,
        ids: cx.ids,
        image: &image,
        linker_base: base,
        // Without it a program asks the kernel.
        vdso: vdso::map(mm).ok(),
    };
    let rsp = stack.write(mm, stack_top)?;
    mm.update_layout(|layout| layout.code = image.code.clone());
    let regs = Regs {
        rip: start,
        rsp,
        cs: USER_CS,
        ss: USER_SS,
        eflags: INITIAL_EFLAGS,
        orig_rax: u64::MAX,
        ..Regs::default()
    };
    Ok(Loaded { regs, path })
}

/// Follows `#!` lines to a program that is none; the arguments become its.
fn resolve_scripts(cx: &mut LoadContext<'_>) -> Result<(Arc<dyn FileOps>, Vec<u8>), Errno> {
    let mut file = Arc::clone(&cx.file);
    let mut path = cx.path.clone();
    for _ in 0..=MAX_SCRIPTS {
        let head = read_at(&*file, 0, script::HEAD)?;
        let Some(line) = script::parse(&head)? else {
            return Ok((file, path));
        };
        let mut argv = vec![line.interpreter.clone()];
        argv.extend(line.argument);
        argv.push(path);
        argv.extend(cx.argv.drain(1..));
        cx.argv = argv;
        file = (cx.open)(&line.interpreter, OpenFor::Script)?;
        path = line.interpreter;
    }
    Err(Errno::ELOOP)
}

/// Checks the strings against Linux's bounds.
fn check_size(cx: &LoadContext<'_>) -> Result<(), Errno> {
    let strings = cx.argv.iter().chain(&cx.envp);
    if strings.clone().any(|string| string.len() >= MAX_STRING) {
        return Err(Errno::E2BIG);
    }
    let total: u64 = strings.map(|string| string.len() as u64 + 1 + 8).sum();
    let (least, most) = ARGUMENT_ROOM;
    if total > (cx.stack_limit / 4).clamp(least, most) {
        return Err(Errno::E2BIG);
    }
    Ok(())
}

/// Reads up to `len` bytes of a file from `offset`; fewer only at its end.
fn read_at(file: &dyn FileOps, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        let mut dst = BufDst::new(&mut bytes[done..]);
        match file.read(&mut dst, Some(offset + done as u64))? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}
