//! The platforms, with hand-assembled guest code.
#![allow(unsafe_code)] // guest code is assembled into this program's read-only data

mod attacks;
mod basic;
mod extended;
mod faults;
mod gates;
mod guest;
mod threads;
