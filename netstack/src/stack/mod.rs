//! Composition: configuration, ingress, egress, timers, the public entry points.
