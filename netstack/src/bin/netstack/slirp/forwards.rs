//! Ports of the host that lead into the namespace.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use netstack::buf::Bytes;
use netstack::error::SocketError;
use netstack::socket::{Family, SocketId};
use netstack::time::{Duration, Instant};
use nix::sys::epoll::EpollFlags;

use super::hostsock;
use super::ports::PortPair;
use super::relays::Relays;
use super::shared::{Owner, Shared};
use super::table::{Key, Table, Token};

/// Clients of all forwarded UDP ports.
const CLIENTS_MAX: usize = 1024;
/// How long one is remembered without a datagram.
const CLIENT_IDLE: Duration = Duration::from_secs(120);
/// Connections or datagrams that one port takes before others get their turn.
const BUDGET: usize = 64;

/// The transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proto {
    Tcp,
    Udp,
}

/// What is forwarded to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) proto: Proto,
    pub(crate) host: SocketAddr,
    /// Only what comes in on this interface.
    pub(crate) iface: Option<String>,
    pub(crate) guest: SocketAddr,
}

impl Rule {
    /// A port of the host's that leads to `guest`.
    pub(crate) fn new(proto: Proto, pair: PortPair, guest: IpAddr) -> Self {
        let everywhere = match guest {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self {
            proto,
            host: SocketAddr::new(pair.place.addr.unwrap_or(everywhere), pair.host),
            iface: pair.place.iface,
            guest: SocketAddr::new(guest, pair.guest),
        }
    }
}

enum Listening {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

struct Forward {
    /// Its name in the API.
    id: u64,
    rule: Rule,
    socket: Listening,
}

/// Somebody who has sent to a forwarded UDP port.
struct Client {
    forward: Key,
    addr: SocketAddr,
    socket: SocketId,
    last_used: Instant,
}

/// All forwarded ports.
#[derive(Default)]
pub(super) struct Forwards {
    table: Table<Forward>,
    clients: Table<Client>,
    by_addr: HashMap<(Key, SocketAddr), Key>,
    last_id: u64,
}

impl Forwards {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Listens, and returns the name of the rule.
    pub(super) fn add(&mut self, cx: &mut Shared, rule: Rule) -> io::Result<u64> {
        if self.table.len() >= cx.limits.forwards {
            let count = self.table.len();
            return Err(io::Error::other(format!(
                "{count} ports are forwarded already"
            )));
        }
        let socket = match rule.proto {
            Proto::Tcp => Listening::Tcp(hostsock::tcp_listen(rule.host, rule.iface.as_deref())?),
            Proto::Udp => Listening::Udp(hostsock::udp_bind(rule.host, rule.iface.as_deref())?),
        };
        self.last_id += 1;
        let id = self.last_id;
        let key = self.table.insert(Forward { id, rule, socket });
        let watched = match self.table.get(key).map(|forward| &forward.socket) {
            Some(Listening::Tcp(fd)) => cx.watch(fd, EpollFlags::EPOLLIN, Token::Forward(key)),
            Some(Listening::Udp(fd)) => cx.watch(fd, EpollFlags::EPOLLIN, Token::Forward(key)),
            None => Ok(()),
        };
        if let Err(error) = watched {
            self.table.remove(key);
            return Err(error);
        }
        Ok(id)
    }

    /// All rules with their names, oldest first.
    pub(super) fn list(&self) -> Vec<(u64, Rule)> {
        let all = self.table.iter();
        let mut rules: Vec<_> = all
            .map(|(_, forward)| (forward.id, forward.rule.clone()))
            .collect();
        rules.sort_by_key(|(id, _)| *id);
        rules
    }

    /// Stops to listen; connections stay. False if there is no such rule.
    pub(super) fn remove(&mut self, cx: &mut Shared, id: u64) -> bool {
        let found = self.table.iter().find(|(_, forward)| forward.id == id);
        let Some(key) = found.map(|(key, _)| key) else {
            return false;
        };
        self.table.remove(key);
        let its = self
            .clients
            .iter()
            .filter(|(_, client)| client.forward == key);
        let its: Vec<Key> = its.map(|(key, _)| key).collect();
        its.into_iter().for_each(|key| self.end(cx, key));
        true
    }

    /// Somebody has come to a port.
    pub(super) fn host_event(&mut self, cx: &mut Shared, relays: &mut Relays, key: Key) {
        for _ in 0..BUDGET {
            let Some(forward) = self.table.get(key) else {
                return;
            };
            match &forward.socket {
                Listening::Tcp(listener) => match listener.accept() {
                    Ok((stream, from)) => relays.accepted(cx, stream, (from, forward.rule.guest)),
                    Err(error) => {
                        // Without descriptors it waits in the queue; epoll announces it again.
                        let out = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
                        cx.counters.tcp_dropped += u64::from(out);
                        return;
                    }
                },
                Listening::Udp(socket) => match socket.recv_from(&mut cx.scratch) {
                    Ok((len, from)) => {
                        let data = Bytes::copy_from_slice(&cx.scratch[..len]);
                        let guest = forward.rule.guest;
                        if self.datagram(cx, key, (from, guest), data).is_none() {
                            cx.counters.udp_dropped += 1;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                    // An answer that did not arrive.
                    Err(_) => {}
                },
            }
        }
    }

    fn datagram(
        &mut self,
        cx: &mut Shared,
        forward: Key,
        (from, guest): (SocketAddr, SocketAddr),
        data: Bytes,
    ) -> Option<()> {
        let key = match self.by_addr.get(&(forward, from)) {
            Some(key) => *key,
            None => self.begin(cx, forward, from, guest)?,
        };
        let client = self.clients.get_mut(key)?;
        client.last_used = cx.stack.now();
        cx.stack.udp_send(client.socket, data, None).ok()?;
        cx.counters.udp_in += 1;
        Some(())
    }

    fn begin(
        &mut self,
        cx: &mut Shared,
        forward: Key,
        addr: SocketAddr,
        guest: SocketAddr,
    ) -> Option<Key> {
        if self.clients.len() >= CLIENTS_MAX {
            return None;
        }
        let family = match guest {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) => Family::V6,
        };
        let socket = cx.stack.udp_open(family);
        let bound = cx.stack.udp_bind(
            socket,
            SocketAddr::new(cx.plan.source_of_client(addr.ip()), 0),
        );
        let connected = bound.and_then(|()| cx.stack.udp_connect(socket, guest));
        if connected.is_err() {
            cx.stack.close(socket);
            return None;
        }
        let key = self.clients.insert(Client {
            forward,
            addr,
            socket,
            last_used: cx.stack.now(),
        });
        self.by_addr.insert((forward, addr), key);
        cx.owners.insert(socket, Owner::Client(key));
        cx.counters.udp_flows += 1;
        Some(key)
    }

    /// The namespace has answered a client.
    pub(super) fn guest_event(&mut self, cx: &mut Shared, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let forward = self
            .table
            .get(client.forward)
            .map(|forward| &forward.socket);
        let Some(Listening::Udp(host)) = forward else {
            return;
        };
        loop {
            match cx.stack.udp_recv(client.socket) {
                Ok(datagram) => {
                    client.last_used = cx.stack.now();
                    match host.send_to(&datagram.data, client.addr) {
                        Ok(_) => cx.counters.udp_out += 1,
                        Err(_) => cx.counters.udp_dropped += 1,
                    }
                }
                Err(SocketError::WouldBlock) => return,
                // Nobody listens in the namespace: an unconnected socket of the host's can't say so.
                Err(_) => {}
            }
        }
    }

    /// Forgets clients that have been idle for too long.
    pub(super) fn sweep(&mut self, cx: &mut Shared, now: Instant) {
        let idle = |client: &Client| now.since(client.last_used) > CLIENT_IDLE;
        let over = self.clients.iter().filter(|(_, client)| idle(client));
        let over: Vec<Key> = over.map(|(key, _)| key).collect();
        over.into_iter().for_each(|key| self.end(cx, key));
    }

    fn end(&mut self, cx: &mut Shared, key: Key) {
        if let Some(client) = self.clients.remove(key) {
            self.by_addr.remove(&(client.forward, client.addr));
            cx.close(client.socket);
        }
    }
}
