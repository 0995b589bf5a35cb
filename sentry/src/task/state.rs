//! What of a system call survives between its attempts, as data.

/// State of the call that is being served. Reset when a new call begins.
#[derive(Default)]
pub struct CallState {
    /// When the call times out (monotonic guest clock, nanoseconds), once computed.
    pub deadline_ns: Option<u64>,
    /// Set for the last attempt, after the deadline has passed.
    pub timed_out: bool,
    /// How far the call has come (bytes written so far, say).
    pub progress: u64,
    /// Where to write what is left of a sleep when a signal ends it (`struct timespec`); 0 is nowhere.
    pub(crate) remaining_at: u64,
    /// Whatever else a family of calls has to keep; dropped when the call ends, also when it is
    /// interrupted.
    pub extra: Option<Box<dyn Interrupted>>,
}

/// State of a call that has to be wound up when the call is given up.
pub trait Interrupted: Send {
    /// The call is interrupted. What it returns is its result after all, if it had already happened.
    fn wind_up(&mut self) -> Option<u64>;

    /// The concrete type.
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

/// What a call that is partly done returns if it is interrupted.
struct PartlyDone(u64);

impl Interrupted for PartlyDone {
    fn wind_up(&mut self) -> Option<u64> {
        Some(self.0)
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

impl CallState {
    /// From here on an interruption is no error: the call returns `result`.
    pub(crate) fn partly_done(&mut self, result: u64) {
        self.extra = Some(Box::new(PartlyDone(result)));
    }

    /// Forgets the last call.
    pub fn reset(&mut self) {
        self.deadline_ns = None;
        self.timed_out = false;
        self.progress = 0;
        self.remaining_at = 0;
        if self.extra.is_some() {
            self.extra = None;
        }
    }
}
