//! The accept queue of a listener: connections that wait for the application.

use std::collections::VecDeque;

use crate::socket::SocketId;

/// Complete connections, in the order of their completion.
#[derive(Debug)]
pub(in crate::transport::tcp) struct AcceptQueue {
    /// B.
    bound: u32,
    waiting: VecDeque<SocketId>,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl AcceptQueue {
    pub(super) fn new(bound: u32) -> Self {
        Self {
            bound,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn set_bound(&mut self, bound: u32) {
        self.bound = bound;
    }

    pub(in crate::transport::tcp) fn bound(&self) -> u32 {
        self.bound
    }

    /// The gate: full when it holds more than B, so that it takes B + 1 (Linux `sk_acceptq_is_full`).
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() as u64 > u64::from(self.bound)
    }

    /// Enters a connection. The gate is asked here again: nothing gets past it.
    pub(super) fn push(&mut self, id: SocketId) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        self.waiting.push_back(id);
        Ok(())
    }

    pub(in crate::transport::tcp) fn pop(&mut self) -> Option<SocketId> {
        self.waiting.pop_front()
    }

    pub(in crate::transport::tcp) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(in crate::transport::tcp) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{SocketKind, SocketTable};

    #[test]
    fn takes_one_more_than_the_bound() {
        let mut table = SocketTable::new(SocketKind::Tcp);
        let mut queue = AcceptQueue::new(1);
        assert_eq!(queue.push(table.insert(())), Ok(()));
        assert_eq!(queue.push(table.insert(())), Ok(()));
        assert_eq!(queue.push(table.insert(())), Err(Full));
        queue.set_bound(0);
        assert!(queue.pop().is_some());
        assert!(
            queue.is_full(),
            "shrinking drops nobody, but lets nobody in"
        );
    }
}
