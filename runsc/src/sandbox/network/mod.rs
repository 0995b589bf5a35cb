//! Where the guest's network comes from: a TUN device made for it, or the devices of its network
//! namespace, taken over.

mod routes;
mod takeover;
mod tun;

pub(crate) use takeover::{Taken, TakeoverError, take_over};
pub(crate) use tun::open_tun;
