//! Netlink messages: reading requests and building answers (linux/netlink.h, linux/rtnetlink.h).

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// NLMSG_ERROR
const ERROR: u16 = 2;
/// NLMSG_DONE
const DONE: u16 = 3;
/// NLM_F_MULTI
const MULTI: u16 = 2;

/// Most bytes of one datagram of a dump: every reader's buffer has at least a page.
const DATAGRAM: usize = 3840;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) seq: u32,
    /// After the header.
    pub(super) body: &'a [u8],
    /// With the header, for error answers.
    whole: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Splits a datagram into its requests; what is damaged ends it, as in `netlink_rcv_skb`.
pub(super) fn requests(mut bytes: &[u8]) -> Vec<Request<'_>> {
    let mut found = Vec::new();
    while bytes.len() >= HEADER {
        let len = u32_at(bytes, 0) as usize;
        if len < HEADER || len > bytes.len() {
            break;
        }
        found.push(Request {
            kind: u16_at(bytes, 4),
            flags: u16_at(bytes, 6),
            seq: u32_at(bytes, 8),
            body: &bytes[HEADER..len],
            whole: &bytes[..len],
        });
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
    found
}

/// The attribute `kind` behind a fixed part of `fixed` bytes.
pub(super) fn attribute(body: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = body.get(fixed..)?;
    while rest.len() >= 4 {
        let len = usize::from(u16_at(rest, 0));
        if len < 4 || len > rest.len() {
            return None;
        }
        if u16_at(rest, 2) == kind {
            return Some(&rest[4..len]);
        }
        rest = &rest[len.next_multiple_of(4).min(rest.len())..];
    }
    None
}

/// One message of an answer: its fixed part, then attributes.
pub(super) struct Message {
    kind: u16,
    body: Vec<u8>,
}

impl Message {
    pub(super) fn new(kind: u16, fixed: &[u8]) -> Self {
        let mut body = fixed.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        Self { kind, body }
    }

    /// Appends an attribute.
    pub(super) fn put(&mut self, kind: u16, data: &[u8]) {
        let len = (4 + data.len()) as u16;
        self.body.extend_from_slice(&len.to_ne_bytes());
        self.body.extend_from_slice(&kind.to_ne_bytes());
        self.body.extend_from_slice(data);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
    }

    pub(super) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// A string with its NUL.
    pub(super) fn put_text(&mut self, kind: u16, text: &str) {
        self.put(kind, &[text.as_bytes(), b"\0"].concat());
    }
}

/// Answers to one request, as the datagrams that its sender receives.
pub(super) struct Answer {
    port: u32,
    seq: u32,
    datagrams: Vec<Vec<u8>>,
}

impl Answer {
    /// To the socket with this port id.
    pub(super) fn new(port: u32, request: &Request<'_>) -> Self {
        Self {
            port,
            seq: request.seq,
            datagrams: Vec::new(),
        }
    }

    fn emit(&mut self, kind: u16, flags: u16, body: &[u8]) {
        let len = HEADER + body.len();
        let fits = |last: &&mut Vec<u8>| last.len() + len <= DATAGRAM;
        let mut fresh = Vec::new();
        let into = self.datagrams.last_mut().filter(fits);
        let started = into.is_some();
        let into = into.unwrap_or(&mut fresh);
        into.extend_from_slice(&(len as u32).to_ne_bytes());
        into.extend_from_slice(&kind.to_ne_bytes());
        into.extend_from_slice(&flags.to_ne_bytes());
        into.extend_from_slice(&self.seq.to_ne_bytes());
        into.extend_from_slice(&self.port.to_ne_bytes());
        into.extend_from_slice(body);
        into.resize(into.len().next_multiple_of(4), 0);
        if !started {
            self.datagrams.push(fresh);
        }
    }

    /// A dump: all of `messages`, and the end.
    pub(super) fn dump(mut self, messages: Vec<Message>) -> Vec<Vec<u8>> {
        for message in messages {
            self.emit(message.kind, MULTI, &message.body);
        }
        // The end comes by itself, as readers expect it from the kernel.
        let mut end = Self {
            datagrams: Vec::new(),
            ..self
        };
        end.emit(DONE, MULTI, &0_i32.to_ne_bytes());
        self.datagrams.append(&mut end.datagrams);
        self.datagrams
    }

    /// One message.
    pub(super) fn single(mut self, message: &Message) -> Vec<Vec<u8>> {
        self.emit(message.kind, 0, &message.body);
        self.datagrams
    }

    /// An error, or with 0 the acknowledgement.
    pub(super) fn error(mut self, request: &Request<'_>, errno: i32) -> Vec<Vec<u8>> {
        let mut body = (-errno).to_ne_bytes().to_vec();
        // An acknowledgement repeats the header only.
        let repeated = if errno == 0 {
            HEADER
        } else {
            request.whole.len()
        };
        body.extend_from_slice(&request.whole[..repeated]);
        self.emit(ERROR, 0, &body);
        self.datagrams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_the_fixed_part() {
        let mut message = Message::new(16, &[0; 16]);
        message.put_text(3, "lo");
        message.put_u32(4, 65536);
        assert_eq!(attribute(&message.body, 16, 3), Some(&b"lo\0"[..]));
        assert_eq!(
            attribute(&message.body, 16, 4),
            Some(&65536_u32.to_ne_bytes()[..])
        );
        assert_eq!(attribute(&message.body, 16, 9), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_split_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for request in requests(&bytes) {
                let _ = attribute(request.body, 16, 3);
            }
        }
    }
}
