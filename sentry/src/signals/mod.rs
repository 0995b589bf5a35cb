//! Signals: pending sets, actions, delivery, frames.
