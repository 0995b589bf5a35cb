//! What the harnesses of this crate's tests have in common.

pub(crate) mod capture;
