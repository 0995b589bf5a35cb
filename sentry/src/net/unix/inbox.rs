//! What has been sent to a socket and not yet received.

use std::collections::VecDeque;

use sentry_abi::Errno;

use crate::mm::io::IoDst;
use crate::net::Received;
use crate::net::addr::{UnixName, emit_unix};
use crate::net::control::{Control, Ucred};

/// Bytes of overhead that a message counts beside its data (Linux's sk_buff and shared info).
const MESSAGE_COST: usize = 768;

/// One message, or one piece of a stream.
pub(super) struct Message {
    pub(super) data: Vec<u8>,
    /// Bytes of `data` that a stream reader has taken.
    pub(super) taken: usize,
    pub(super) from: Option<UnixName>,
    pub(super) control: Control,
    /// Who sent it, for SO_PASSCRED on the receiver.
    pub(super) sender: Ucred,
}

/// Messages in order, with their cost.
#[derive(Default)]
pub(super) struct Inbox {
    messages: VecDeque<Message>,
    bytes: usize,
    cost: usize,
}

impl Inbox {
    /// Bytes that can be read.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if nothing waits (an empty datagram is something).
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How much a sender with `limit` bytes of buffer may still put in.
    pub(super) fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.cost)
    }

    /// Length of the first message.
    pub(super) fn first_len(&self) -> usize {
        self.messages
            .front()
            .map_or(0, |message| message.data.len() - message.taken)
    }

    /// Appends a message. Small pieces of a stream without control data share one buffer.
    pub(super) fn push(&mut self, message: Message, stream: bool) {
        self.bytes += message.data.len();
        if let Some(last) = self
            .messages
            .back_mut()
            .filter(|last| stream && last.joins(&message))
        {
            last.data.extend_from_slice(&message.data);
            self.cost += message.data.len();
            return;
        }
        self.cost += message.data.len() + MESSAGE_COST;
        self.messages.push_back(message);
    }

    /// Receives from a stream: pieces in order, up to one that carries control data.
    ///
    /// # Errors
    /// EAGAIN if there is nothing; EFAULT.
    pub(super) fn read_stream(
        &mut self,
        dst: &mut dyn IoDst,
        peek: bool,
    ) -> Result<Received, Errno> {
        let mut received = Received::default();
        let mut index = 0;
        while let Some(message) = self.messages.get_mut(index) {
            if received.len > 0 && !message.same_sender(&received) {
                break;
            }
            let has_control = !message.control.is_empty() && message.taken == 0;
            if has_control && received.len > 0 {
                break;
            }
            let count = match dst.put(&message.data[message.taken..]) {
                Err(error) if received.len == 0 => return Err(error),
                result => result.unwrap_or(0),
            };
            received.len += count;
            received.control.creds = Some(message.sender);
            if has_control {
                received.control.files.clone_from(&message.control.files);
            }
            if peek {
                index += 1;
            } else if self.consume_front(count) {
                continue;
            }
            if count == 0 || dst.remaining() == 0 || has_control {
                break;
            }
        }
        if received.len == 0 && index == 0 && self.messages.is_empty() {
            Err(Errno::EAGAIN)
        } else {
            Ok(received)
        }
    }

    /// Takes `count` bytes off the first message; true if that finished it and the next may follow.
    fn consume_front(&mut self, count: usize) -> bool {
        let Some(message) = self.messages.front_mut() else {
            return false;
        };
        message.taken += count;
        self.bytes -= count;
        let had_control = !message.control.is_empty();
        message.control = Control::default();
        if message.taken < message.data.len() {
            return false;
        }
        self.cost -= message.data.len() + MESSAGE_COST;
        self.messages.pop_front();
        !had_control
    }

    /// Receives one whole message; what does not fit is lost and MSG_TRUNC told.
    ///
    /// # Errors
    /// EAGAIN if there is none; EFAULT.
    pub(super) fn read_message(
        &mut self,
        dst: &mut dyn IoDst,
        flags: i32,
    ) -> Result<Received, Errno> {
        let message = self.messages.front().ok_or(Errno::EAGAIN)?;
        let copied = dst.put(&message.data)?;
        let full = message.data.len();
        let mut control = message.control.clone();
        control.creds = Some(message.sender);
        let received = Received {
            len: if flags & libc::MSG_TRUNC != 0 {
                full
            } else {
                copied
            },
            from: if message.from.is_some() {
                emit_unix(message.from.as_ref())
            } else {
                Vec::new()
            },
            flags: if copied < full { libc::MSG_TRUNC } else { 0 },
            control,
        };
        if flags & libc::MSG_PEEK == 0 {
            self.messages.pop_front();
            self.bytes -= full;
            self.cost -= full + MESSAGE_COST;
        }
        Ok(received)
    }

    /// Takes everything out, to be dropped without the socket's lock (files in it may be sockets).
    pub(super) fn take_all(&mut self) -> VecDeque<Message> {
        self.bytes = 0;
        self.cost = 0;
        std::mem::take(&mut self.messages)
    }
}

impl Message {
    /// True if `next` may be appended to this piece of a stream.
    fn joins(&self, next: &Self) -> bool {
        const PIECE_MAX: usize = 64 << 10;
        self.control.is_empty()
            && next.control.is_empty()
            && self.sender == next.sender
            && self.data.len() + next.data.len() <= PIECE_MAX
    }

    fn same_sender(&self, received: &Received) -> bool {
        received.control.creds == Some(self.sender)
    }
}
