//! Some middleboxes swallow what follows a SYN with data. When it looks like that, all clients of
//! this stack stay away from Fast Open for a while (Linux `tcp_fastopen_active_disable`).

use crate::time::{Duration, Instant};

/// Pauses double this often.
const DOUBLINGS_MAX: u32 = 6;

/// Whether there is a pause.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::transport::tcp) struct Pause {
    /// Pauses in a row.
    count: u32,
    since: Instant,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Free,
    Paused,
    /// A pause is over: whether it was right to end it, the next connection shows.
    OnTrial,
}

impl Pause {
    /// Begins a pause; `setting` is `tcp_fastopen_blackhole_timeout_sec`, and 0 switches this off.
    /// True if there is one now.
    pub(in crate::transport::tcp) fn begin(&mut self, setting: u32, now: Instant) -> bool {
        if setting == 0 {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.since = now;
        true
    }

    /// Fast Open has worked.
    pub(in crate::transport::tcp) fn forget(&mut self) {
        self.count = 0;
    }

    pub(super) fn permission(&self, setting: u32, now: Instant) -> Permission {
        if setting == 0 || self.count == 0 {
            return Permission::Free;
        }
        let doublings = (self.count - 1).min(DOUBLINGS_MAX);
        let length = Duration::from_secs(u64::from(setting) << doublings);
        if now.since(self.since) < length {
            Permission::Paused
        } else {
            Permission::OnTrial
        }
    }
}

/// True if a timeout looks as if a middlebox were at work: the third in a row, or the last of fewer
/// (Linux `tcp_fastopen_active_detect_blackhole`). `before`: timeouts up to this one.
pub(in crate::transport::tcp) fn suggests_black_hole(before: u32, last: bool) -> bool {
    before == 2 || (before < 2 && last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_one_ends_well() {
        let at = |secs: u64| Instant::from_millis(secs * 1000);
        let mut pause = Pause::default();
        assert_eq!(pause.permission(10, at(0)), Permission::Free);
        assert!(!pause.begin(0, at(0)), "switched off");
        assert!(pause.begin(10, at(0)));
        assert_eq!(pause.permission(10, at(9)), Permission::Paused);
        assert_eq!(pause.permission(0, at(9)), Permission::Free);
        assert_eq!(pause.permission(10, at(10)), Permission::OnTrial);
        pause.begin(10, at(10));
        assert_eq!(pause.permission(10, at(29)), Permission::Paused);
        assert_eq!(pause.permission(10, at(30)), Permission::OnTrial);
        pause.forget();
        assert_eq!(pause.permission(10, at(30)), Permission::Free);
    }
}
