//! Stacks, links, and the loop that moves the clock from one event to the next.

use super::link::{Direction, LinkConfig, LinkStats};
use crate::buf::{RxBatch, RxPacket, TxBatch};
use crate::network::IfaceId;
use crate::rng::Rng;
use crate::stack::Stack;
use crate::time::{Duration, Instant};

/// Names a stack of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackId(usize);

/// One end of a link.
type End = (StackId, IfaceId);

/// Steps without the clock moving, after which a simulation is taken to be in an endless loop.
const STEPS_MAX: usize = 1_000_000;

/// Called with each packet that is sent, in order: the time, the sender, and the bytes.
pub type Tap = Box<dyn FnMut(Instant, StackId, &[u8])>;

/// Stacks connected by links, in virtual time.
pub struct Sim {
    now: Instant,
    stacks: Vec<Stack>,
    wires: Vec<Wire>,
    tap: Option<Tap>,
}

/// One direction of a link, and where it leads from and to.
struct Wire {
    from: End,
    to: End,
    direction: Direction,
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}

impl Sim {
    /// An empty world, at one second past the origin.
    pub fn new() -> Self {
        Self {
            now: Instant::from_millis(1_000),
            stacks: Vec::new(),
            wires: Vec::new(),
            tap: None,
        }
    }

    /// Adds a stack.
    pub fn add_stack(&mut self, stack: Stack) -> StackId {
        self.stacks.push(stack);
        StackId(self.stacks.len() - 1)
    }

    /// Connects two interfaces. The seed decides what the link does wrong.
    pub fn connect(&mut self, a: End, b: End, config: LinkConfig, seed: [u8; 16]) {
        let mut rng = Rng::from_seed(seed);
        for (from, to) in [(a, b), (b, a)] {
            let mut half = [0; 16];
            half[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
            let direction = Direction::new(config, Rng::from_seed(half));
            self.wires.push(Wire {
                from,
                to,
                direction,
            });
        }
    }

    /// Has `tap` called with each packet sent from now on, before the link treats it.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// The present time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A stack, to make calls on.
    pub fn stack(&mut self, id: StackId) -> &mut Stack {
        &mut self.stacks[id.0]
    }

    /// What has happened on the wire that leaves `from`.
    pub fn link_stats(&self, from: End) -> LinkStats {
        let wire = self.wires.iter().find(|wire| wire.from == from);
        wire.map_or_else(LinkStats::default, |wire| wire.direction.stats)
    }

    /// Lets time pass until `step` returns true, nothing will ever happen again, or `limit` of
    /// virtual time has passed. `step` is called after each event. Returns whether it returned true.
    ///
    /// # Panics
    /// If the stacks are busy for ever without the clock moving.
    pub fn run(&mut self, limit: Duration, mut step: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        let mut steps_now = 0;
        loop {
            if step(self) {
                return true;
            }
            self.transmit_all();
            let Some(next) = self.next_event() else {
                return false;
            };
            if next > end {
                self.now = end;
                return false;
            }
            if next > self.now {
                steps_now = 0;
            }
            steps_now += 1;
            assert!(
                steps_now < STEPS_MAX,
                "the clock stands still at {:?}",
                self.now
            );
            self.now = self.now.max(next);
            self.happen();
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrivals = self.wires.iter().filter_map(|w| w.direction.next_arrival());
        let timeouts = self.stacks.iter().filter_map(Stack::poll_timeout);
        arrivals.chain(timeouts).min()
    }

    /// Delivers what has arrived and fires what is due.
    fn happen(&mut self) {
        let now = self.now;
        for stack in &mut self.stacks {
            if stack.poll_timeout().is_some_and(|due| due <= now) {
                stack.handle_timeout(now);
            }
        }
        for wire in &mut self.wires {
            let mut batch = RxBatch::new();
            while !batch.is_full() {
                match wire.direction.arrived(now) {
                    Some(bytes) => batch.push(RxPacket::new(bytes, now)),
                    None => break,
                }
            }
            if !batch.is_empty() {
                self.stacks[wire.to.0.0].receive(now, wire.to.1, &mut batch);
            }
        }
    }

    fn transmit_all(&mut self) {
        for wire in &mut self.wires {
            loop {
                let mut batch = TxBatch::new();
                self.stacks[wire.from.0.0].poll_transmit(self.now, wire.from.1, &mut batch);
                if batch.is_empty() {
                    break;
                }
                for packet in batch {
                    if let Some(tap) = &mut self.tap {
                        tap(self.now, wire.from.0, &packet.to_vec());
                    }
                    wire.direction.send(self.now, packet);
                }
            }
        }
    }
}
