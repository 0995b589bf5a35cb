//! The caller's memory: buffers, vectors of them, addresses, values behind pointers.

use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{iovec, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};
use nix::errno::Errno;

/// No call moves more at a time.
pub(super) const LENGTH_MAX: usize = 64 << 20;

/// Most buffers of one call, as Linux has it.
const IOV_MAX: c_int = 1024;

/// What a caller's buffer holds.
///
/// # Safety
/// `buffer` is null or points to `len` readable bytes.
pub(super) unsafe fn read(buffer: *const c_void, len: usize) -> Result<Vec<u8>, Errno> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if buffer.is_null() || len > LENGTH_MAX {
        return Err(Errno::EFAULT);
    }
    // SAFETY: not null, and by the contract `len` bytes may be read there.
    Ok(unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), len) }.to_vec())
}

/// Fills a caller's buffer from `data`, as far as it goes.
///
/// # Safety
/// `buffer` is null or points to `len` writable bytes.
pub(super) unsafe fn write(buffer: *mut c_void, len: usize, data: &[u8]) -> Result<(), Errno> {
    let count = len.min(data.len());
    if count == 0 {
        return Ok(());
    }
    if buffer.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: not null, and by the contract at least `count` bytes may be written there; `data` is a
    // buffer of ours, so that the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), buffer.cast(), count) };
    Ok(())
}

/// The buffers of a vector.
///
/// # Safety
/// `vector` is null or points to `count` entries.
pub(super) unsafe fn buffers<'a>(vector: *const iovec, count: usize) -> Result<&'a [iovec], Errno> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > IOV_MAX as usize {
        return Err(Errno::EMSGSIZE);
    }
    if vector.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: not null, and by the contract `count` entries may be read there.
    Ok(unsafe { std::slice::from_raw_parts(vector, count) })
}

/// All bytes of a vector of buffers.
///
/// # Safety
/// Each buffer is as [`read`] wants it.
pub(super) unsafe fn gather(buffers: &[iovec]) -> Result<Vec<u8>, Errno> {
    buffers.iter().try_fold(Vec::new(), |mut data, part| {
        // SAFETY: by the contract.
        data.extend(unsafe { read(part.iov_base, part.iov_len) }?);
        Ok(data)
    })
}

/// How many bytes a vector of buffers takes.
pub(super) fn room(buffers: &[iovec]) -> usize {
    let total = buffers
        .iter()
        .fold(0_usize, |sum, part| sum.saturating_add(part.iov_len));
    total.min(LENGTH_MAX)
}

/// Spreads `data` over a vector of buffers.
///
/// # Safety
/// Each buffer is as [`write`] wants it.
pub(super) unsafe fn scatter(buffers: &[iovec], mut data: &[u8]) -> Result<(), Errno> {
    for part in buffers {
        let (here, rest) = data.split_at(part.iov_len.min(data.len()));
        // SAFETY: by the contract.
        unsafe { write(part.iov_base, part.iov_len, here) }?;
        data = rest;
    }
    Ok(())
}

/// An address, if one is given.
///
/// # Safety
/// `address` is null or points to `len` readable bytes.
pub(super) unsafe fn address(
    address: *const sockaddr,
    len: socklen_t,
) -> Result<Option<SocketAddr>, Errno> {
    if address.is_null() || len == 0 {
        return Ok(None);
    }
    // SAFETY: by the contract.
    let bytes = unsafe { read(address.cast(), len as usize) }?;
    let family = bytes.get(..2).ok_or(Errno::EINVAL)?;
    let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    match c_int::from(u16::from_ne_bytes([family[0], family[1]])) {
        libc::AF_INET => {
            let ip: Option<[u8; 4]> = bytes.get(4..8).and_then(|ip| ip.try_into().ok());
            let (port, ip) = port().zip(ip).ok_or(Errno::EINVAL)?;
            Ok(Some(SocketAddr::from((ip, port))))
        }
        libc::AF_INET6 => {
            let ip: Option<[u8; 16]> = bytes.get(8..24).and_then(|ip| ip.try_into().ok());
            let scope: Option<[u8; 4]> = bytes.get(24..28).and_then(|id| id.try_into().ok());
            let (port, ip) = port().zip(ip).ok_or(Errno::EINVAL)?;
            let scope = u32::from_ne_bytes(scope.unwrap_or_default());
            Ok(Some(SocketAddrV6::new(ip.into(), port, 0, scope).into()))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Hands an address back.
///
/// # Safety
/// Both pointers are null, or `len` points to the number of bytes that may be written to `to`.
pub(super) unsafe fn store_address(
    to: *mut sockaddr,
    len: *mut socklen_t,
    address: Option<SocketAddr>,
) -> Result<(), Errno> {
    if to.is_null() || len.is_null() {
        return Ok(());
    }
    let bytes = match address {
        Some(SocketAddr::V4(v4)) => bytes_v4(&v4),
        Some(SocketAddr::V6(v6)) => bytes_v6(&v6),
        None => Vec::new(),
    };
    // SAFETY: not null, and by the contract an initialised length.
    let room = unsafe { len.read() } as usize;
    // SAFETY: by the contract `room` bytes may be written there.
    unsafe { write(to.cast(), room, &bytes) }?;
    // SAFETY: as above; the caller learns how long the address is.
    unsafe { len.write(bytes.len() as socklen_t) };
    Ok(())
}

fn bytes_v4(address: &SocketAddrV4) -> Vec<u8> {
    let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes.extend_from_slice(&address.ip().octets());
    bytes.resize(size_of::<sockaddr_in>(), 0);
    bytes
}

fn bytes_v6(address: &SocketAddrV6) -> Vec<u8> {
    let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes.extend_from_slice(&address.flowinfo().to_be_bytes());
    bytes.extend_from_slice(&address.ip().octets());
    bytes.extend_from_slice(&address.scope_id().to_ne_bytes());
    bytes.resize(size_of::<sockaddr_in6>(), 0);
    bytes
}
