//! A complete user-space TCP/IP stack.
//!
//! The core ([`stack`]) is plain data: no system clock, no OS randomness, no thread, no lock.
//! Whoever drives it passes the time and batches of packets in, and takes batches of packets out.
//! The same code runs behind real devices ([`host`]), under packetdrill scripts in virtual time,
//! under a simulator and under fuzzers ([`testing`]).
//!
//! # Code map (each module imports only downward)
//!
//! | module | what happens there |
//! | --- | --- |
//! | [`host`] | threads and epoll around a stack: blocking, std-like sockets |
//! | [`stack`] | composition: configuration, ingress, egress, timers, the public entry points |
//! | [`socket`] | the non-blocking socket API: handles, options, readiness |
//! | [`transport`] | TCP, UDP, ports and the flow table |
//! | [`network`] | routes, addresses, reassembly, path MTU, ICMP's meaning, source addresses; family-neutral |
//! | [`filter`] | hooks, rules, connection tracking, address translation; nothing until rules are set |
//! | [`neighbor`] | neighbour states, which ARP and neighbour discovery (`stack::nd`) feed |
//! | [`wire`] | checked views and emitters, one file per header |
//! | [`link`] | devices: TUN, TAP, AF_PACKET, loopback, channel; decorators; GRO and segmentation |
//! | [`bpf`] | classic BPF filters: verifier and interpreter |
//! | [`buf`], [`time`], [`rng`], [`stats`], [`error`], `table` | leaves |

#![deny(unsafe_code)]

pub mod bpf;
pub mod buf;
pub mod error;
pub mod filter;
pub mod host;
pub mod link;
pub mod neighbor;
pub mod network;
pub mod rng;
pub mod socket;
pub mod stack;
pub mod stats;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod transport;
pub mod wire;
