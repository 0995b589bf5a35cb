//! Virtual links and clocks: several stacks in one thread, in virtual time, the same way each time for
//! the same seed.
//!
//! [`Sim`] holds stacks and the links between them. The application's part is a closure that is
//! called whenever something may have changed, and that makes socket calls on the stacks:
//!
//! ```ignore
//! let mut sim = Sim::new();
//! let a = sim.add_stack(stack_a);
//! let b = sim.add_stack(stack_b);
//! sim.connect((a, iface_a), (b, iface_b), LinkConfig::default(), [1; 16]);
//! let done = sim.run(Duration::from_secs(60), |sim| step_application(sim));
//! ```

pub mod fuzz;
mod link;
mod sim;

pub use link::{LinkConfig, LinkStats};
pub use sim::{Sim, StackId, Tap};
