//! Filters of sockets (socket(7)): SO_ATTACH_FILTER and its relatives.

use netstack::socket::FilterError;
use sentry_abi::Errno;

use super::endpoint::Endpoint;
use super::options::int;
use crate::net::option_int;

const SOCKET: i32 = libc::SOL_SOCKET;

/// setsockopt(2); `None` if the option is none of these. The value of SO_ATTACH_FILTER is the program itself.
pub(super) fn set(
    endpoint: &Endpoint,
    level: i32,
    name: i32,
    value: &[u8],
) -> Option<Result<(), Errno>> {
    let change = match (level, name) {
        (SOCKET, libc::SO_ATTACH_FILTER | libc::SO_DETACH_FILTER | libc::SO_LOCK_FILTER) => {
            endpoint.look(|stack, id| {
                let filter = stack.filter_mut(id)?;
                match name {
                    libc::SO_ATTACH_FILTER => filter.attach(value),
                    libc::SO_DETACH_FILTER => filter.detach(),
                    _ => filter.lock(option_int(value).is_ok_and(|on| on != 0)),
                }
            })
        }
        _ => return None,
    };
    Some(change.map_err(to_errno))
}

/// getsockopt(2); `None` if the option is none of these.
pub(super) fn get(endpoint: &Endpoint, level: i32, name: i32) -> Option<Result<Vec<u8>, Errno>> {
    if (level, name) != (SOCKET, libc::SO_LOCK_FILTER) {
        return None;
    }
    let locked = endpoint.look(|stack, id| stack.filter_mut(id).map(|filter| filter.is_locked()));
    Some(
        locked
            .map_err(to_errno)
            .and_then(|locked| int(locked.into())),
    )
}

fn to_errno(error: FilterError) -> Errno {
    match error {
        FilterError::BadProgram => Errno::EINVAL,
        FilterError::Locked => Errno::EPERM,
        FilterError::Missing => Errno::ENOENT,
        FilterError::NotSupported => Errno::ENOPROTOOPT,
    }
}
