//! The client (RFC 7413, 4.1 and 4.2.1): what goes with the first SYN, and what is learnt from the
//! answer.

use super::pause::Permission;
use super::{Opened, failure, setting};
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::socket::SocketId;
use crate::socket::tcp::SendHow;
use crate::transport::tcp::Cx;
use crate::transport::tcp::engine::TcpEngine;
use crate::transport::tcp::flow::FlowKey;
use crate::transport::tcp::handshake::Opening;
use crate::transport::tcp::options::SocketOptions;
use crate::transport::tcp::slot::State;
use crate::transport::tcp::state::Phase;
use crate::wire::tcp::{FastOpenCookie, OPTIONS_LEN_MAX};

/// How a connection is begun.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport::tcp) enum Begin<'a> {
    /// By a SYN and nothing else.
    Plain,
    /// TCP_FASTOPEN_CONNECT: with a cookie at hand, by the data of the first write.
    FastIfKnown,
    /// MSG_FASTOPEN: by this data. The writer waits, and sends what is left as soon as it can.
    Data(&'a [u8], bool),
}

/// How far that has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport::tcp) struct Begun {
    /// The SYN waits for data.
    pub(in crate::transport::tcp) deferred: bool,
    /// Bytes that went with it.
    pub(in crate::transport::tcp) sent: usize,
}

/// Fast Open in a handshake of ours.
#[derive(Clone, Debug, Default)]
pub(in crate::transport::tcp) struct Attempt {
    /// The SYN waits for data.
    pub(in crate::transport::tcp) deferred: bool,
    /// The option of the first SYN: a cookie, or a request for one.
    pub(in crate::transport::tcp) option: Option<FastOpenCookie>,
    /// Data on the first SYN. It is never repeated on another.
    pub(in crate::transport::tcp) data: Bytes,
    /// More data follows as soon as the connection is there: it brings the acknowledgement.
    pub(in crate::transport::tcp) more_waits: bool,
    failure: u8,
    after_pause: bool,
}

/// What a SYN-ACK has taught.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport::tcp) struct Reply {
    pub(in crate::transport::tcp) mss: Option<u16>,
    pub(in crate::transport::tcp) cookie: Option<FastOpenCookie>,
    /// A request in this form found no answer: 1 the plain, 2 the experimental one, 0 it did.
    pub(in crate::transport::tcp) unanswered: u8,
}

/// What the memory of a peer allows.
enum Admission {
    /// A pause: as if there were no Fast Open.
    Nothing,
    /// Data, with a cookie if there is one.
    Data(Option<FastOpenCookie>),
    /// Only a request for a cookie, in this form.
    Request(FastOpenCookie),
}

impl Attempt {
    pub(in crate::transport::tcp) fn begun(&self) -> Begun {
        Begun {
            deferred: self.deferred,
            sent: self.data.len(),
        }
    }

    /// True if a middlebox has something to swallow.
    pub(in crate::transport::tcp) fn is_fast(&self) -> bool {
        self.option.is_some() || !self.data.is_empty()
    }

    /// What the connection remembers. `acked`: all of the data was.
    pub(in crate::transport::tcp) fn opened(&self, acked: bool, repeated: bool) -> Opened {
        let failure = match (self.data.is_empty(), acked, repeated) {
            (true, ..) => self.failure,
            (false, true, _) => 0,
            (false, false, false) => failure::DATA_NOT_ACKED,
            (false, false, true) => failure::SYN_RETRANSMITTED,
        };
        Opened {
            by_option: self.option.is_some(),
            data_taken: acked && !self.data.is_empty(),
            failure,
            after_pause: self.after_pause,
            ..Opened::default()
        }
    }

    /// What the SYN-ACK with this MSS and cookie teaches (Linux `tcp_rcv_fastopen_synack`).
    pub(in crate::transport::tcp) fn reply(
        &self,
        mss: Option<u16>,
        cookie: Option<FastOpenCookie>,
        repeated: bool,
    ) -> Option<Reply> {
        if !self.is_fast() {
            return None;
        }
        // A cookie that was not asked for is not taken.
        let cookie = cookie.filter(|_| self.option.is_some());
        let asked = self.option.filter(|_| self.data.is_empty() && !repeated);
        let unanswered = match asked {
            Some(request) if cookie.is_none() => 1 + u8::from(request.is_experimental()),
            _ => 0,
        };
        Some(Reply {
            mss,
            cookie,
            unanswered,
        })
    }
}

impl TcpEngine {
    /// Decides what goes with the first SYN of `opening` (Linux `tcp_send_syn_data`).
    pub(in crate::transport::tcp) fn plan_attempt(
        &self,
        cx: &Cx<'_>,
        opts: &SocketOptions,
        opening: &Opening,
        how: Begin<'_>,
    ) -> Attempt {
        let (data, waits) = match how {
            Begin::Plain => return Attempt::default(),
            Begin::FastIfKnown => (&[][..], false),
            Begin::Data(data, waits) => (data, waits),
        };
        let permission = self.permission(cx);
        let mut attempt = Attempt {
            after_pause: permission == Permission::OnTrial,
            ..Attempt::default()
        };
        match self.admission(cx, opts, &opening.key(), permission) {
            Admission::Nothing => attempt.more_waits = waits && !data.is_empty(),
            Admission::Request(request) => {
                attempt.option = Some(request);
                attempt.failure = failure::COOKIE_UNAVAILABLE;
                attempt.more_waits = waits && !data.is_empty();
            }
            Admission::Data(_) if matches!(how, Begin::FastIfKnown) => attempt.deferred = true,
            Admission::Data(cookie) => {
                let known = self.peers.fast_open(&opening.key()).mss;
                let mss = known.map_or(opening.path_mss(), |mss| mss.min(opening.path_mss()));
                // Options of all sizes are allowed for: middleboxes add some.
                let room = usize::from(mss).saturating_sub(OPTIONS_LEN_MAX);
                let len = data.len().min(room);
                attempt.option = cookie;
                attempt.data = Bytes::copy_from_slice(&data[..len]);
                attempt.more_waits = waits && len < data.len();
            }
        }
        attempt
    }

    fn permission(&self, cx: &Cx<'_>) -> Permission {
        let setting = cx.config.tcp_fastopen_blackhole_timeout_sec;
        self.fast_open_pause.permission(setting, cx.now)
    }

    /// Linux `tcp_fastopen_cookie_check`.
    fn admission(
        &self,
        cx: &Cx<'_>,
        opts: &SocketOptions,
        key: &FlowKey,
        permission: Permission,
    ) -> Admission {
        if cx.config.tcp_fastopen & setting::CLIENT == 0 || permission == Permission::Paused {
            return Admission::Nothing;
        }
        if cx.config.tcp_fastopen & setting::CLIENT_NO_COOKIE != 0 || opts.fast_open_no_cookie {
            return Admission::Data(None);
        }
        let memory = self.peers.fast_open(key);
        match memory.cookie {
            Some(cookie) => Admission::Data(Some(cookie)),
            None => {
                let form = memory.try_experimental == 1;
                Admission::Request(FastOpenCookie::default().with_form(form))
            }
        }
    }

    /// MSG_FASTOPEN (Linux `tcp_sendmsg_fastopen`): connects, and sends what it may with the SYN.
    /// Returns how much that was.
    pub(in crate::transport::tcp) fn send_opening(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        data: &[u8],
        how: SendHow,
    ) -> Result<usize, SocketError> {
        if cx.config.tcp_fastopen & setting::CLIENT == 0 {
            return Err(SocketError::NotSupported);
        }
        let socket = self.owned(id)?;
        match &socket.state {
            State::SynSent(handshake) if handshake.is_deferred() => {
                return self.send_deferred(cx, id, data, how.waits);
            }
            State::SynSent(_) | State::SynReceived(_) => return Err(SocketError::Already),
            // The connection has come about since: this call is the one that learns it.
            State::Connected(connection)
                if connection.phase != Phase::Closed && socket.connect_unreported =>
            {
                socket.connect_unreported = false;
                let plain = SendHow {
                    fast_open: false,
                    ..how
                };
                return self.send(cx, id, data, plain);
            }
            State::Connected(_) | State::Listen(_) => return Err(SocketError::IsConnected),
            // An earlier attempt has failed, and nobody knows yet.
            State::Idle if socket.connect_unreported => {
                socket.connect_unreported = false;
                return Err(socket.error.take().unwrap_or(SocketError::Aborted));
            }
            State::Idle => {}
        }
        let remote = how.to.ok_or(SocketError::Invalid)?;
        let begun = self.start_connect(cx, id, remote, Begin::Data(data, how.waits))?;
        sent_or_in_progress(begun)
    }

    /// The first write after a `connect` that waited for it.
    pub(in crate::transport::tcp) fn send_deferred(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        data: &[u8],
        waits: bool,
    ) -> Result<usize, SocketError> {
        let socket = self.held(id)?;
        let opts = socket.opts;
        let State::SynSent(handshake) = &socket.state else {
            return Err(SocketError::Invalid);
        };
        let attempt = self.plan_attempt(cx, &opts, handshake.opening(), Begin::Data(data, waits));
        let begun = attempt.begun();
        let socket = self.owned(id)?;
        if let State::SynSent(handshake) = &mut socket.state {
            handshake.launch(cx, &opts, attempt);
        }
        socket.connect_unreported = true;
        self.settle(cx, id);
        sent_or_in_progress(begun)
    }

    /// Keeps what a SYN-ACK has taught.
    pub(in crate::transport::tcp) fn learn_fast_open(
        &mut self,
        cx: &Cx<'_>,
        key: &FlowKey,
        reply: Option<Reply>,
    ) {
        if let Some(reply) = reply {
            self.peers
                .learn_fast_open(key, reply.mss, reply.cookie, reply.unanswered, cx.now);
        }
    }

    /// Clients stay away from Fast Open for a while.
    pub(in crate::transport::tcp) fn pause_fast_open(&mut self, cx: &mut Cx<'_>) {
        let setting = cx.config.tcp_fastopen_blackhole_timeout_sec;
        let begun = self.fast_open_pause.begin(setting, cx.now);
        cx.stats.fast_open_blackhole += u64::from(begun);
    }

    /// Takes up what a connection has to tell of Fast Open.
    pub(in crate::transport::tcp) fn settle_fast_open(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        let Some(connection) = self.sockets.get_mut(id).and_then(|s| s.connection_mut()) else {
            return;
        };
        let left = connection.opened.left.take();
        let suspect = core::mem::take(&mut connection.opened.suspect);
        let over = matches!(connection.phase, Phase::Closed | Phase::TimeWait);
        let proven = over && connection.counters.data_segs_in > 0;
        let proven = proven && core::mem::take(&mut connection.opened.after_pause);
        if let Some(left) = left {
            self.leave_pending(cx, left);
        }
        if suspect {
            self.pause_fast_open(cx);
        } else if proven {
            self.fast_open_pause.forget();
        }
    }
}

/// What a writer learns.
fn sent_or_in_progress(begun: Begun) -> Result<usize, SocketError> {
    match begun.sent {
        0 => Err(SocketError::InProgress),
        sent => Ok(sent),
    }
}
