//! The non-blocking socket API: handles, options, readiness.
