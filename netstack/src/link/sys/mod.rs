//! System calls of the devices that have no safe wrapper: the only unsafe code of the crate.

pub mod confine;
pub mod donate;
pub mod iface;
pub(crate) mod io;
pub(crate) mod packet;
pub(crate) mod tun;
