//! The engine as a whole, against itself and against models.

mod attacks;
mod connection;
mod fast_open;
mod harness;
mod listen;
mod listen_group;
mod listen_model;
mod receipts;
mod transfer;
