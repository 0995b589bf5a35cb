//! An epoll instance over the readiness that a target tells: level-triggered, edge-triggered, one-shot.

use std::collections::BTreeMap;

use nix::errno::Errno;

/// Bits that are reported whether asked for or not.
pub const ALWAYS: i16 = libc::POLLERR | libc::POLLHUP;

/// What an epoll instance watches on one descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    events: i32,
    data: u64,
    /// What was ready when last looked at, and how much had come in by then: what is new beside that is
    /// an edge.
    ready: i16,
    received: i64,
    /// There has been one since it was last reported.
    edge: bool,
    /// Reported once with EPOLLONESHOT: not even errors are, until it is changed.
    disarmed: bool,
}

/// What an instance watches, by descriptor.
#[derive(Clone, Debug, Default)]
pub struct Epoll {
    watches: BTreeMap<i64, Watch>,
}

impl Epoll {
    /// epoll_ctl(2); `data` is handed back with what is reported.
    ///
    /// # Errors
    /// As the call.
    pub fn control(
        &mut self,
        operation: i32,
        fd: i64,
        events: i32,
        data: u64,
    ) -> Result<(), Errno> {
        let known = self.watches.contains_key(&fd);
        match operation {
            libc::EPOLL_CTL_ADD if known => Err(Errno::EEXIST),
            libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL if !known => Err(Errno::ENOENT),
            libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD => {
                let watch = Watch {
                    events,
                    data,
                    edge: true,
                    ..Watch::default()
                };
                self.watches.insert(fd, watch);
                Ok(())
            }
            libc::EPOLL_CTL_DEL => {
                self.watches.remove(&fd);
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Forgets a descriptor that has been closed.
    pub fn forget(&mut self, fd: i64) {
        self.watches.remove(&fd);
    }

    /// The descriptors that are watched for edges, whose readiness [`Epoll::note`] wants to be told.
    pub fn edge_watched(&self) -> Vec<i64> {
        self.watches
            .iter()
            .filter(|(_, watch)| watch.events & libc::EPOLLET != 0)
            .map(|(fd, _)| *fd)
            .collect()
    }

    /// Looks for an edge: `ready` is all that `fd` is ready for, `received` how many bytes have come in.
    /// With `news`, an error that was there is reported again (`sk_error_report`).
    pub fn note(&mut self, fd: i64, ready: i16, received: i64, news: bool) {
        if let Some(watch) = self.watches.get_mut(&fd) {
            let wanted = watch.events as i16 | ALWAYS;
            let more = received > watch.received && wanted & libc::POLLIN != 0;
            let another_error = news && ready & libc::POLLERR != 0;
            watch.edge |= ready & !watch.ready & wanted != 0 || more || another_error;
            (watch.ready, watch.received) = (ready, received);
        }
    }

    /// The descriptors watched, with what is asked of each.
    pub fn watched(&self) -> Vec<(i64, i32)> {
        let watches = self.watches.iter();
        watches.map(|(fd, watch)| (*fd, watch.events)).collect()
    }

    /// The data to report with `ready`, if it is to be reported; then it has been.
    pub fn fires(&mut self, fd: i64, ready: i16) -> Option<u64> {
        let watch = self.watches.get_mut(&fd)?;
        let edges = watch.events & libc::EPOLLET != 0;
        if ready == 0 || watch.disarmed || (edges && !watch.edge) {
            return None;
        }
        watch.edge = false;
        watch.disarmed = watch.events & libc::EPOLLONESHOT != 0;
        Some(watch.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_edges_and_single_shots() {
        let mut epoll = Epoll::default();
        let add = libc::EPOLL_CTL_ADD;
        let one_shot = libc::EPOLLIN | libc::EPOLLONESHOT;
        assert_eq!(epoll.control(add, 1, libc::EPOLLIN, 10), Ok(()));
        assert_eq!(epoll.control(add, 1, libc::EPOLLIN, 10), Err(Errno::EEXIST));
        epoll
            .control(add, 2, libc::EPOLLIN | libc::EPOLLET, 20)
            .expect("new");
        epoll.control(add, 3, one_shot, 30).expect("new");
        let fired = |epoll: &mut Epoll| [1, 2, 3].map(|fd| epoll.fires(fd, libc::POLLIN));
        epoll.note(2, libc::POLLIN, 5, false);
        assert_eq!(fired(&mut epoll), [Some(10), Some(20), Some(30)]);
        epoll.note(2, libc::POLLIN, 5, false);
        assert_eq!(epoll.fires(2, libc::POLLIN), None, "no edge since");
        epoll.note(2, libc::POLLIN, 6, false);
        assert_eq!(epoll.fires(2, libc::POLLIN), Some(20), "more has come in");
        epoll.note(2, libc::POLLIN, 6, true);
        assert_eq!(epoll.fires(2, libc::POLLIN), None, "no error, no news");
        epoll.note(2, libc::POLLERR, 6, true);
        assert!(epoll.fires(2, libc::POLLERR).is_some());
        epoll.note(2, libc::POLLERR, 6, true);
        assert!(epoll.fires(2, libc::POLLERR).is_some(), "another error");
        assert_eq!(epoll.fires(1, 0), None);
        assert_eq!(epoll.fires(3, libc::POLLERR), None, "a single shot is over");
        let modify = libc::EPOLL_CTL_MOD;
        epoll.control(modify, 3, one_shot, 30).expect("known");
        assert_eq!(
            epoll.fires(3, libc::POLLIN),
            Some(30),
            "until it is armed again"
        );
        assert_eq!(
            epoll.control(libc::EPOLL_CTL_DEL, 4, 0, 0),
            Err(Errno::ENOENT)
        );
    }
}
