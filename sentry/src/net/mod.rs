//! The socket provider trait and its providers.
