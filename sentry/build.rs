//! Builds the stub.

fn main() {}
