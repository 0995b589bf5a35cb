//! Threads and epoll around a stack: blocking, std-like sockets.
//!
//! [`Net`] is one stack behind one short lock. Whoever has work takes the lock, does all of it, and
//! leaves: an application thread in a socket call, or whichever thread the device's packets have
//! woken. Device writes happen outside that lock, under the device's own, in order.
//!
//! Ways to use it:
//! - [`TcpListener`], [`TcpStream`], [`UdpSocket`], [`Pinger`]: blocking calls with timeouts, as in `std::net`.
//! - [`Interceptor`]: connections, datagrams and echo requests to any address at all.
//! - `aio` (feature `tokio`): the same for async programs.
//! - [`Net::with`] for non-blocking calls on the stack from any thread, [`Net::subscribe`] to be told of
//!   readiness, and [`Net::park`] to block in one's own way, while serving the devices.
//!
//! An idle stack burns no CPU: one thread waits in epoll, with the stack's deadline as a timer.

#[cfg(feature = "tokio")]
pub mod aio;
mod blocking;
mod clock;
mod errno;
mod intercept;
mod net;
mod ping;
mod port;
mod reactor;
mod subscribe;
mod tcp;
mod udp;
mod waiter;

pub use clock::{Clock, seed};
pub use errno::errno;
pub use intercept::{Arrival, Interceptor, Offer};
pub use net::{DEVICES_MAX, Net, WakeStats};
pub use ping::Pinger;
pub use subscribe::{SubscriptionId, Target};
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use waiter::Waiter;
