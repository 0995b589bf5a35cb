//! The filters that confine the Sentry itself.
