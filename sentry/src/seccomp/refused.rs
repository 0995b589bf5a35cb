//! What happens at a refused call: one line to standard error, and the end.
#![allow(unsafe_code)] // a signal handler

use std::io;

/// Exit status of a Sentry that made a call it must not make.
const STATUS: i32 = 128;

/// Installs the handler of SIGSYS.
pub(super) fn report_and_exit() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler makes only async-signal-safe calls.
    match unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn handler(_: i32, info: *const libc::siginfo_t, _: *mut libc::c_void) {
    /// Offset of `si_syscall`.
    const NUMBER_AT: usize = 24;
    // SAFETY: the kernel passes a siginfo of 128 bytes; for SIGSYS the number is at 24.
    let number = unsafe { info.byte_add(NUMBER_AT).cast::<i32>().read() };
    let mut line = [0; 96];
    let len = describe(number.unsigned_abs(), &mut line);
    // SAFETY: a buffer of this frame; neither call returns to broken state.
    unsafe {
        libc::write(2, line.as_ptr().cast(), len);
        libc::_exit(STATUS);
    }
}

/// Writes the line, without allocating.
fn describe(mut number: u32, line: &mut [u8; 96]) -> usize {
    const START: &[u8] = b"sentry: refused by its own filter: system call ";
    line[..START.len()].copy_from_slice(START);
    let mut digits = [0; 10];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    for (i, digit) in digits[..count].iter().rev().enumerate() {
        line[START.len() + i] = *digit;
    }
    line[START.len() + count] = b'\n';
    START.len() + count + 1
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn a_line_names_the_call() {
        for number in [0, 41, 335, u32::MAX] {
            let mut line = [0; 96];
            let len = describe(number, &mut line);
            let expected = format!("sentry: refused by its own filter: system call {number}\n");
            assert_eq!(&line[..len], expected.as_bytes());
        }
    }
}
