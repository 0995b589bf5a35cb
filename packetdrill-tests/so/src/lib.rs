//! netstack behind the C interface of the classic packetdrill tool: `--so_filename` names the library
//! that this crate builds, `--so_flags` its settings, and the tool then drives netstack in virtual time.
//!
//! | module | what happens there |
//! | --- | --- |
//! | `flags` | `--so_flags`: addresses, MTU, settings |
//! | `world` | the stack, the descriptors, and what each call does without blocking |
//! | `instance` | one lock around it: calls that block, and the clock that moves for whoever asks |
//! | `ffi` | C functions and structures; the only unsafe code |
//!
//! Time is virtual. It moves when the tool sleeps, asks for the time (one microsecond for each question,
//! since the tool spins on it), or waits for a packet. Blocking calls come from a second thread of the
//! tool; what they wait for is looked at by the thread that moves the clock, so that they return at the
//! same virtual time in every run, whatever the host's scheduler does.
//!
//! ```text
//! packetdrill --so_filename target/release/libpacketdrill_netstack.so \
//!     --so_flags 'defaults,local=192.168.0.1' --local_ip=192.168.0.1 --remote_ip=192.0.2.1 script.pkt
//! ```
//!
//! The tool runs a script's commands in backticks itself, on the host: the library never sees them, so
//! settings go into the flags. Python blocks ask the host's kernel about TCP_INFO and cannot be run so.

mod ffi;
mod flags;
mod instance;
mod world;

pub use ffi::{PacketdrillInterface, packetdrill_interface_init};
