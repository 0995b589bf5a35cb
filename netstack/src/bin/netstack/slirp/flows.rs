//! UDP flows that the namespace begins: each has a connected socket of the host.

use std::io::ErrorKind;
use std::net::UdpSocket;

use netstack::buf::Bytes;
use netstack::error::SocketError;
use netstack::socket::intercept::{UdpFlow, Unreachable};
use netstack::socket::{Readiness, SocketId};
use nix::sys::epoll::EpollFlags;

use super::hostsock::{self, Failure};
use super::plan::Target;
use super::shared::{Owner, Shared};
use super::table::{Key, Table, Token};

/// Datagrams that one flow moves before others get their turn; epoll announces the rest again.
const BUDGET: usize = 64;

/// One flow. The stack ends it when it has been idle for too long.
struct Flow {
    socket: SocketId,
    host: UdpSocket,
}

/// All flows.
#[derive(Default)]
pub(super) struct Flows {
    table: Table<Flow>,
}

impl Flows {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The first datagram of a flow has come.
    pub(super) fn begin(&mut self, cx: &mut Shared, flow: UdpFlow) {
        let opened = match cx.target(flow.to) {
            Target::Nowhere(why) => Err(Failure::Unreachable(why)),
            Target::Host(to) => hostsock::udp_connect(to, cx.plan.source_for(to))
                .map_err(|error| Failure::of(&error)),
        };
        let host = match opened {
            Ok(host) => host,
            Err(failure) => {
                cx.counters.udp_dropped += 1;
                if let Failure::Unreachable(why) = failure {
                    // The flow has just been made, so it is one.
                    let _ = cx.stack.flow_unreachable(flow.socket, why);
                }
                cx.stack.close(flow.socket);
                return;
            }
        };
        let key = self.table.insert(Flow {
            socket: flow.socket,
            host,
        });
        cx.owners.insert(flow.socket, Owner::Flow(key));
        let watched = self
            .table
            .get(key)
            .map(|flow| cx.watch(&flow.host, EpollFlags::EPOLLIN, Token::Flow(key)));
        if !matches!(watched, Some(Ok(()))) {
            cx.counters.udp_dropped += 1;
            return self.end(cx, key);
        }
        cx.counters.udp_flows += 1;
        self.guest_event(cx, key);
    }

    /// The stack's socket has news: datagrams for the host, or the end.
    pub(super) fn guest_event(&mut self, cx: &mut Shared, key: Key) {
        let Some(flow) = self.table.get(key) else {
            return;
        };
        loop {
            match cx.stack.udp_recv(flow.socket) {
                Ok(datagram) => flow.send_out(cx, &datagram.data),
                Err(SocketError::WouldBlock) => break,
                // The namespace has closed its socket: it will not be asked about this flow again.
                Err(_) => return self.end(cx, key),
            }
        }
        let ready = cx.stack.readiness(flow.socket);
        if ready.is_none_or(|ready| ready.contains(Readiness::HUP)) {
            self.end(cx, key);
        }
    }

    /// The host's socket has datagrams or an error.
    pub(super) fn host_event(&mut self, cx: &mut Shared, key: Key) {
        let Some(flow) = self.table.get(key) else {
            return;
        };
        for _ in 0..BUDGET {
            match flow.host.recv(&mut cx.scratch) {
                Ok(len) => {
                    let data = Bytes::copy_from_slice(&cx.scratch[..len]);
                    match cx.stack.udp_send(flow.socket, data, None) {
                        Ok(_) => cx.counters.udp_in += 1,
                        Err(_) => cx.counters.udp_dropped += 1,
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => flow.report(cx, &error),
            }
        }
    }

    fn end(&mut self, cx: &mut Shared, key: Key) {
        if let Some(flow) = self.table.remove(key) {
            cx.close(flow.socket);
        }
    }
}

impl Flow {
    fn send_out(&self, cx: &mut Shared, data: &[u8]) {
        // An error of an earlier datagram comes first: this one is sent all the same.
        for _ in 0..2 {
            match self.host.send(data) {
                Ok(_) => {
                    cx.counters.udp_out += 1;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.report(cx, &error),
            }
        }
        cx.counters.udp_dropped += 1;
    }

    /// What the host's world says of the flow is said in the namespace.
    fn report(&self, cx: &mut Shared, error: &std::io::Error) {
        let why = match Failure::of(error) {
            Failure::Refused => Unreachable::Port,
            Failure::Unreachable(why) => why,
            Failure::Silent => return,
        };
        // The flow may be over.
        let _ = cx.stack.flow_unreachable(self.socket, why);
    }
}
