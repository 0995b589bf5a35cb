//! Checked views and emitters, one file per header.
