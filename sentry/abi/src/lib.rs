//! The Linux x86-64 ABI.
