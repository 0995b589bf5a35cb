//! A user-space kernel.
