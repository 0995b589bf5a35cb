//! Virtual links and clocks: several stacks in one thread, in virtual time, the same way each time for
//! the same seed.
//!
//! [`Sim`] holds stacks and the links between them: make the stacks, [`Sim::add_stack`] them,
//! [`Sim::connect`] their interfaces, and [`Sim::run`] the world for some virtual time. The application's
//! part is a closure that is called whenever something may have changed, and that makes socket calls on the
//! stacks. `tests/simulation.rs` has whole examples.
//!
//! [`seeds`] runs connections over links and with work that a seed chooses.
//! [`Direct`] is two stacks on a cable that adds nothing: for counting what the stacks themselves do.

mod direct;
pub mod fuzz;
mod fuzz_filter;
mod link;
pub mod seeds;
mod sim;

pub use direct::{Cable, Direct, Side};
pub use link::{LinkConfig, LinkStats};
pub use sim::{Sim, StackId, Tap};
