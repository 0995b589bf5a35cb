//! The control socket, with slirp4netns's requests: one JSON object a connection, one answer.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde_json::{Map, Value, json};

use super::forwards::{Forwards, Proto, Rule};
use super::plan::Plan;
use super::shared::Shared;
use super::table::{Key, Table, Token};

/// Longer requests are refused.
const REQUEST_MAX: usize = 4096;
/// Clients at a time; more wait in the queue.
const CLIENTS_MAX: usize = 16;

/// A request, understood.
pub(super) enum Command {
    Add(Rule),
    List,
    Remove(u64),
    /// Ours: what `netstack stats` shows.
    Stats,
}

struct Client {
    stream: UnixStream,
    request: Vec<u8>,
    /// What it has not taken yet of the answer.
    answer: Vec<u8>,
}

/// The socket and its clients.
pub(super) struct Api {
    listener: UnixListener,
    /// Where it is, whatever has become of the path.
    place: (OwnedFd, OsString),
    clients: Table<Client>,
}

impl Drop for Api {
    fn drop(&mut self) {
        // Whoever looks for the socket sees that nobody is there.
        let (directory, name) = &self.place;
        let _ = unlinkat(directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
    }
}

impl Api {
    /// Listens on `path`, in the place of a socket that nobody listens on any more.
    pub(super) fn open(cx: &Shared, path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(parent.unwrap_or(Path::new(".")))?.into();
        let listener = crate::stats::bind(path)?;
        listener.set_nonblocking(true)?;
        cx.watch(&listener, EpollFlags::EPOLLIN, Token::ApiListener)?;
        Ok(Self {
            listener,
            place: (directory, name),
            clients: Table::default(),
        })
    }

    /// Somebody connects.
    pub(super) fn accept(&mut self, cx: &Shared) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        if self.clients.len() >= CLIENTS_MAX || stream.set_nonblocking(true).is_err() {
            return;
        }
        let key = self.clients.insert(Client {
            stream,
            request: Vec::new(),
            answer: Vec::new(),
        });
        let client = self.clients.get(key).map(|client| &client.stream);
        let watched = client.map(|fd| cx.watch(fd, EpollFlags::EPOLLIN, Token::ApiClient(key)));
        if !matches!(watched, Some(Ok(()))) {
            self.clients.remove(key);
        }
    }

    /// A client has sent something: `Some` when its request is whole, or is none.
    pub(super) fn read(&mut self, plan: &Plan, key: Key) -> Option<Result<Command, String>> {
        let client = self.clients.get_mut(key)?;
        let mut buffer = [0; 1024];
        loop {
            match client.stream.read(&mut buffer) {
                Ok(0) => return Some(parse(plan, &client.request)),
                Ok(len) => client.request.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.clients.remove(key);
                    return None;
                }
            }
            if client.request.len() > REQUEST_MAX {
                return Some(Err(format!("bad request: longer than {REQUEST_MAX} bytes")));
            }
        }
        // Who does not end their side has sent the whole request when it is JSON.
        let whole = serde_json::from_slice::<Value>(&client.request).is_ok();
        whole.then(|| parse(plan, &client.request))
    }

    /// Answers a client, which ends its connection.
    pub(super) fn answer(&mut self, cx: &Shared, key: Key, answer: Result<Value, String>) {
        let value = match answer {
            Ok(value) => json!({ "return": value }),
            Err(desc) => json!({ "error": { "desc": desc } }),
        };
        if let Some(client) = self.clients.get_mut(key) {
            client.answer = value.to_string().into_bytes();
            self.write(cx, key);
        }
    }

    /// Goes on with an answer; the client is told of room by its descriptor.
    pub(super) fn write(&mut self, cx: &Shared, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.stream.write(&client.answer) {
            Ok(len) => drop(client.answer.drain(..len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => client.answer.clear(),
        }
        let token = Token::ApiClient(key).to_u64();
        let mut event = EpollEvent::new(EpollFlags::EPOLLOUT, token);
        let waits = !client.answer.is_empty();
        if !waits || cx.epoll.modify(&client.stream, &mut event).is_err() {
            self.clients.remove(key);
        }
    }
}

/// Does what can be done without the rest of the program; the counters are the caller's.
pub(super) fn execute(
    cx: &mut Shared,
    forwards: &mut Forwards,
    command: Command,
    stats: impl FnOnce(&Shared, &Forwards) -> Value,
) -> Result<Value, String> {
    match command {
        Command::Add(rule) => {
            let host = rule.host;
            match forwards.add(cx, rule) {
                Ok(id) => Ok(json!({ "id": id })),
                Err(error) => Err(format!(
                    "bad request: add_hostfwd: cannot listen on {host}: {error}"
                )),
            }
        }
        Command::List => {
            let entries: Vec<Value> = forwards.list().into_iter().map(entry).collect();
            Ok(json!({ "entries": entries }))
        }
        Command::Remove(id) => match forwards.remove(cx, id) {
            true => Ok(json!({})),
            false => Err(format!("bad request: remove_hostfwd: there is no id {id}")),
        },
        Command::Stats => Ok(stats(cx, forwards)),
    }
}

fn entry((id, rule): (u64, Rule)) -> Value {
    json!({
        "id": id,
        "proto": match rule.proto {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
        },
        "host_addr": rule.host.ip().to_string(),
        "host_port": rule.host.port(),
        "guest_addr": rule.guest.ip().to_string(),
        "guest_port": rule.guest.port(),
    })
}

fn parse(plan: &Plan, request: &[u8]) -> Result<Command, String> {
    let bad = |why: &str| format!("bad request: {why}");
    let value: Value = serde_json::from_slice(request).map_err(|_| bad("not JSON"))?;
    let name = value.get("execute").and_then(Value::as_str);
    let none = Map::new();
    let arguments = value
        .get("arguments")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    match name {
        Some("add_hostfwd") => parse_rule(plan, arguments)
            .map(Command::Add)
            .map_err(|why| bad(&format!("add_hostfwd: {why}"))),
        Some("list_hostfwd") => Ok(Command::List),
        Some("remove_hostfwd") => {
            let id = arguments.get("id").and_then(Value::as_u64);
            id.map(Command::Remove)
                .ok_or_else(|| bad("remove_hostfwd: no id"))
        }
        Some("stats") => Ok(Command::Stats),
        Some(other) => Err(bad(&format!("unknown command {other:?}"))),
        None => Err(bad("no \"execute\"")),
    }
}

fn parse_rule(plan: &Plan, arguments: &Map<String, Value>) -> Result<Rule, String> {
    let proto = match arguments.get("proto").and_then(Value::as_str) {
        Some("tcp" | "tcp4") => Proto::Tcp,
        Some("udp" | "udp4") => Proto::Udp,
        Some(other) => return Err(format!("proto {other:?} is not there")),
        None => return Err("no proto".into()),
    };
    let port = |name: &str| {
        let port = arguments.get(name).and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        port.filter(|port| *port != 0)
            .ok_or(format!("{name} is no port (1 to 65535)"))
    };
    let addr = |name: &str, default: IpAddr| match arguments.get(name) {
        None => Ok(default),
        Some(value) => {
            let addr: Option<Ipv4Addr> = value.as_str().and_then(|text| text.parse().ok());
            addr.map(IpAddr::V4)
                .ok_or(format!("{name} is no IPv4 address"))
        }
    };
    Ok(Rule {
        proto,
        host: SocketAddr::new(
            addr("host_addr", Ipv4Addr::UNSPECIFIED.into())?,
            port("host_port")?,
        ),
        iface: None,
        guest: SocketAddr::new(addr("guest_addr", plan.guest)?, port("guest_port")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Command, String> {
        let plan = Plan::new("10.0.2.0/24".parse().unwrap()).unwrap();
        parse(&plan, text.as_bytes())
    }

    #[test]
    fn a_rule_has_defaults() {
        let text = r#"{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_port":8080,"guest_port":80}}"#;
        let Ok(Command::Add(rule)) = parsed(text) else {
            panic!("no rule");
        };
        assert_eq!(rule.host, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(rule.guest, "10.0.2.100:80".parse().unwrap());
        assert_eq!(entry((4, rule))["guest_addr"], "10.0.2.100");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("", "not JSON"),
            ("{}", "no \"execute\""),
            (r#"{"execute":"dance"}"#, "unknown command"),
            (r#"{"execute":"remove_hostfwd"}"#, "no id"),
            (r#"{"execute":"add_hostfwd"}"#, "no proto"),
            (
                r#"{"execute":"add_hostfwd","arguments":{"proto":"sctp"}}"#,
                "not there",
            ),
            (
                r#"{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_port":65536,"guest_port":1}}"#,
                "host_port is no port",
            ),
            (
                r#"{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_port":1,"guest_port":1,"host_addr":"x"}}"#,
                "host_addr is no",
            ),
        ] {
            let error = parsed(text).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
    }
}
