//! Giving up capabilities, for a program that has opened what it needs.

// capset(2) has no wrapper.
#![allow(unsafe_code)]

use std::io;

/// linux/capability.h: the version with 64 capabilities in two halves.
const VERSION_3: u32 = 0x2008_0522;
/// linux/capability.h
pub const CAP_NET_BIND_SERVICE: u32 = 10;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up all capabilities of the calling thread but `keep` (numbers below 32), which it must have.
///
/// # Errors
/// EPERM if it has not.
pub fn drop_capabilities(keep: &[u32]) -> io::Result<()> {
    let kept = keep.iter().fold(0, |mask, number| mask | (1 << number));
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let none = Half {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let low = Half {
        effective: kept,
        permitted: kept,
        inheritable: 0,
    };
    let halves = [low, none];
    // SAFETY: the kernel reads the header and, with this version, two halves; both are whole and live
    // until the call returns.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_none_afterwards() {
        let of_thread = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("CapPrm:"));
            u64::from_str_radix(line.unwrap()[7..].trim(), 16).unwrap()
        };
        let thread = std::thread::spawn(move || {
            drop_capabilities(&[]).unwrap();
            of_thread()
        });
        assert_eq!(thread.join().unwrap(), 0);
    }
}
