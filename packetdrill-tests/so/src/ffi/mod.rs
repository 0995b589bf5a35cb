//! The C side: the structure that the tool hands over, and the functions that it is filled with.
//!
//! Each function turns pointers into slices and addresses, calls the instance, and turns what comes back
//! into a result and `errno`. Pointers that are null give EFAULT; the others are the caller's word.
#![allow(unsafe_code)] // a C interface: raw pointers in and out, and a symbol with a fixed name

mod calls;
mod device;
mod memory;
mod table;

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::flags::Flags;
use crate::instance::Instance;
use nix::errno::Errno;
use packetdrill_tests::run::SysResult;
pub use table::PacketdrillInterface;

/// What the tool calls first: reads `flags` and fills `interface`.
///
/// Flags that make no sense are told on standard error; every call then fails with ENXIO.
///
/// # Safety
/// `flags` is null or a C string, and `interface` points to a structure that may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(
    flags: *const c_char,
    interface: *mut PacketdrillInterface,
) {
    if interface.is_null() {
        return;
    }
    let text = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: not null, so by the contract a C string that outlives this call.
        unsafe { CStr::from_ptr(flags) }
            .to_string_lossy()
            .into_owned()
    };
    let made = Flags::parse(&text).map_err(|error| error.to_string());
    let userdata = match made.and_then(|flags| Instance::new(&flags)) {
        Ok(instance) => Box::into_raw(Box::new(instance)).cast(),
        Err(message) => {
            eprintln!("packetdrill_netstack: flags: {message}");
            std::ptr::null_mut()
        }
    };
    // SAFETY: not null, and by the contract ours to fill; `write` reads nothing of what was there.
    unsafe { interface.write(PacketdrillInterface::new(userdata)) };
}

/// The instance behind `userdata`.
///
/// # Safety
/// `userdata` is what `packetdrill_interface_init` stored, and `free` has not been called on it.
unsafe fn instance<'a>(userdata: *mut c_void) -> Result<&'a Instance, Errno> {
    // SAFETY: null (bad flags) or, by the contract, a live instance, which is only shared.
    unsafe { userdata.cast::<Instance>().as_ref() }.ok_or(Errno::ENXIO)
}

/// Runs `act` on the instance behind `userdata`.
///
/// # Safety
/// As [`instance`].
unsafe fn on<T>(
    userdata: *mut c_void,
    act: impl FnOnce(&Instance) -> SysResult<T>,
) -> SysResult<T> {
    // SAFETY: by the contract.
    act(unsafe { instance(userdata) }?)
}

/// A result as C has it: -1 with `errno` set.
fn answer<T: From<i8>>(result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|errno| {
        errno.set();
        T::from(-1)
    })
}

/// As [`answer`], for calls that only work or fail.
fn done(result: Result<(), Errno>) -> c_int {
    answer(result.map(|()| 0))
}
