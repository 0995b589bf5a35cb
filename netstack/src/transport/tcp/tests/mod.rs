//! The engine as a whole, against itself and against models.

mod harness;
mod transfer;
