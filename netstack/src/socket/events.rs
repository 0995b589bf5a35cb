//! How changes of readiness reach the driver.

use super::{SocketId, SocketKind};

/// The sockets whose readiness may have changed since the driver last looked, each once.
///
/// Bounded by the number of socket slots: a slot that is reused before the driver looks reports
/// only its latest socket.
#[derive(Debug, Default)]
pub struct EventQueue {
    /// By kind and slot: the generation of the socket that waits in `list`, 0 for none.
    waiting: [Vec<u32>; SocketKind::COUNT],
    list: Vec<(SocketKind, u32)>,
}

impl EventQueue {
    /// Notes that the readiness of `id` may have changed. Cheap, and harmless if it has not.
    pub fn mark(&mut self, id: SocketId) {
        let waiting = &mut self.waiting[id.kind as usize];
        let index = id.index as usize;
        if index >= waiting.len() {
            waiting.resize(index + 1, 0);
        }
        if waiting[index] == 0 {
            self.list.push((id.kind, id.index));
        }
        waiting[index] = id.generation;
    }

    /// Takes one of the marked sockets; it may be closed by now.
    pub fn pop(&mut self) -> Option<SocketId> {
        let (kind, index) = self.list.pop()?;
        let generation = core::mem::take(&mut self.waiting[kind as usize][index as usize]);
        Some(SocketId {
            kind,
            index,
            generation,
        })
    }

    /// True if nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::SocketTable;

    #[test]
    fn each_socket_once_and_only_the_latest_of_a_slot() {
        let mut table = SocketTable::new(SocketKind::Tcp);
        let mut events = EventQueue::default();
        let first = table.insert(());
        events.mark(first);
        events.mark(first);
        table.remove(first);
        let second = table.insert(());
        events.mark(second);
        assert_eq!((events.pop(), events.pop()), (Some(second), None));
        assert!(events.is_empty());
        events.mark(second);
        assert_eq!(events.pop(), Some(second));
    }
}
