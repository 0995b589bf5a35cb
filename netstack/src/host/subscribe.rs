//! Who wants to know when a socket's readiness changes.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::socket::{Readiness, SocketId};

/// Called with a socket's readiness when that may have changed. Never under the stack's lock, from
/// whichever thread did the work; must be quick and must not block.
pub type Target = Arc<dyn Fn(Readiness) + Send + Sync>;

/// Names one subscription of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionId {
    pub(super) socket: SocketId,
    number: u64,
}

/// The subscriptions of a stack's sockets.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_socket: HashMap<SocketId, SmallVec<[(u64, Target); 1]>>,
    next: u64,
}

impl Subscriptions {
    pub(super) fn add(&mut self, socket: SocketId, target: Target) -> SubscriptionId {
        let number = self.next;
        self.next += 1;
        self.by_socket
            .entry(socket)
            .or_default()
            .push((number, target));
        SubscriptionId { socket, number }
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) {
        if let Some(targets) = self.by_socket.get_mut(&id.socket) {
            targets.retain(|(number, _)| *number != id.number);
            if targets.is_empty() {
                self.by_socket.remove(&id.socket);
            }
        }
    }

    pub(super) fn of(&self, socket: SocketId) -> &[(u64, Target)] {
        self.by_socket.get(&socket).map_or(&[], |targets| targets)
    }
}

/// Calls to make once the stack's lock is free.
#[derive(Default)]
pub(super) struct Calls {
    list: SmallVec<[(Target, Readiness); 8]>,
}

impl Calls {
    pub(super) fn add(&mut self, targets: &[(u64, Target)], readiness: Readiness) {
        let calls = targets
            .iter()
            .map(|(_, target)| (target.clone(), readiness));
        self.list.extend(calls);
    }

    pub(super) fn make(self) {
        for (target, readiness) in self.list {
            target(readiness);
        }
    }
}
