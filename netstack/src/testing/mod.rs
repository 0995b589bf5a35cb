//! Virtual links and clocks, and the deterministic simulation.
