//! The loop: one thread, one epoll instance, the stack and everything around it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use netstack::network::IfaceId;
use netstack::socket::SocketId;
use netstack::socket::intercept::Intercepted;
use netstack::time::{Duration, Instant};
use nix::fcntl::AtFlags;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::fstatat;
use serde_json::{Map, Value, json};

use super::api::{self, Api};
use super::dhcp::Dhcp;
use super::flows::Flows;
use super::follow::Follow;
use super::forwards::{Forwards, Rule};
use super::pings::Pings;
use super::relays::Relays;
use super::shared::{Owner, Shared};
use super::table::{Key, Token};
use super::wire::Wire;

const EVENTS_MAX: usize = 256;
/// How often to look for what has been idle for too long.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often to look whether the namespace is still there, and what is bound in it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The descriptor of [`World::exit_with`] said so.
    Told,
    /// A signal.
    Signal,
    /// What [`World::exit_without`] names is gone.
    Gone,
}

/// Everything.
pub(crate) struct World {
    cx: Shared,
    wire: Wire,
    interceptor: SocketId,
    relays: Relays,
    flows: Flows,
    pings: Pings,
    forwards: Forwards,
    dhcp: Option<Dhcp>,
    api: Option<Api>,
    exit: Option<OwnedFd>,
    signals: Option<SignalFd>,
    /// A directory, and what has to be in it.
    needed: Option<(OwnedFd, PathBuf)>,
    follow: Option<Follow>,
    look_at: Instant,
    /// The interface takes no more for now.
    blocked: bool,
    sweep_at: Instant,
    /// Kept for its memory.
    changed: Vec<SocketId>,
}

impl World {
    /// Puts the parts together. `interceptor` is that of the interface.
    pub(super) fn new(mut cx: Shared, wire: Wire, interceptor: SocketId) -> io::Result<Self> {
        if let Some(fd) = wire.fd() {
            cx.watch(fd, EpollFlags::EPOLLIN, Token::Tap)?;
        }
        cx.owners.insert(interceptor, Owner::Interceptor);
        let sweep_at = cx.clock.now() + SWEEP_EVERY;
        Ok(Self {
            cx,
            wire,
            interceptor,
            relays: Relays::default(),
            flows: Flows::default(),
            pings: Pings::default(),
            forwards: Forwards::default(),
            dhcp: None,
            api: None,
            exit: None,
            signals: None,
            needed: None,
            follow: None,
            look_at: sweep_at,
            blocked: false,
            sweep_at,
            changed: Vec::new(),
        })
    }

    pub(super) fn serve_dhcp(&mut self, iface: IfaceId) {
        self.dhcp = Dhcp::start(&mut self.cx, iface);
        if let Some(dhcp) = &self.dhcp {
            self.cx.owners.insert(dhcp.socket(), Owner::Dhcp);
        }
    }

    pub(crate) fn open_api(&mut self, path: &Path) -> io::Result<()> {
        self.api = Some(Api::open(&self.cx, path)?);
        Ok(())
    }

    pub(crate) fn forward(&mut self, rule: Rule) -> io::Result<()> {
        self.forwards.add(&mut self.cx, rule).map(|_| ())
    }

    /// Ends when anything happens to the descriptor.
    pub(crate) fn exit_with(&mut self, fd: OwnedFd) -> io::Result<()> {
        self.cx.watch(&fd, EpollFlags::EPOLLIN, Token::Exit)?;
        self.exit = Some(fd);
        Ok(())
    }

    /// Ends when there is no `name` in the directory any more.
    pub(crate) fn exit_without(&mut self, directory: OwnedFd, name: &Path) {
        self.needed = Some((directory, name.to_owned()));
        self.look_at = self.cx.clock.now() + LOOK_EVERY;
    }

    /// Forwards ports as they are bound in the namespace.
    pub(super) fn follow(&mut self, mut follow: Follow) {
        follow.look(&mut self.cx, &mut self.forwards);
        self.follow = Some(follow);
        self.look_at = self.cx.clock.now() + LOOK_EVERY;
    }

    fn looks(&self) -> bool {
        self.needed.is_some() || self.follow.is_some()
    }

    fn is_gone(&self) -> bool {
        self.needed.as_ref().is_some_and(|(directory, name)| {
            fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_err()
        })
    }

    /// Ends in order at SIGINT, SIGTERM and SIGHUP.
    pub(crate) fn exit_at_signals(&mut self) -> io::Result<()> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&set, flags)?;
        self.cx
            .watch(&signals, EpollFlags::EPOLLIN, Token::Signal)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// What has passed, by name; what is zero is left out.
    pub(crate) fn counters(&self) -> String {
        let all = self.cx.counters.iter().filter(|(_, value)| *value != 0);
        let all: Vec<String> = all.map(|(name, value)| format!("{name} {value}")).collect();
        all.join(", ")
    }

    /// Runs until told to end.
    pub(crate) fn run(&mut self) -> io::Result<Ended> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        loop {
            let timeout = self.timeout();
            let count = match self.cx.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let now = self.cx.clock.now();
            self.cx.stack.set_now(now);
            for event in &events[..count] {
                if let Some(token) = Token::from_u64(event.data())
                    && let Some(ended) = self.event(token, event.events(), now)?
                {
                    return Ok(ended);
                }
            }
            if self.cx.stack.poll_timeout().is_some_and(|due| due <= now) {
                self.cx.stack.handle_timeout(now);
            }
            if self.looks() && now >= self.look_at {
                self.look_at = now + LOOK_EVERY;
                if let Some(follow) = &mut self.follow {
                    follow.look(&mut self.cx, &mut self.forwards);
                }
                if self.is_gone() {
                    return Ok(Ended::Gone);
                }
            }
            if now >= self.sweep_at {
                self.sweep_at = now + SWEEP_EVERY;
                self.pings.sweep(now);
                self.forwards.sweep(&mut self.cx, now);
            }
            self.stack_events();
            self.relays.run(&mut self.cx);
            self.transmit()?;
        }
    }

    fn timeout(&self) -> EpollTimeout {
        if self.relays.has_work() || self.cx.stack.has_events() {
            return EpollTimeout::ZERO;
        }
        let due = self.cx.stack.poll_timeout();
        let due = due.map_or(self.sweep_at, |due| due.min(self.sweep_at));
        let due = match self.looks() {
            true => due.min(self.look_at),
            false => due,
        };
        let left = due.since(self.cx.clock.now());
        let millis = left.as_nanos().div_ceil(1_000_000);
        EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX))
            .unwrap_or(EpollTimeout::MAX)
    }

    /// Sees to one descriptor. `Some` to end.
    fn event(
        &mut self,
        token: Token,
        flags: EpollFlags,
        now: Instant,
    ) -> io::Result<Option<Ended>> {
        let cx = &mut self.cx;
        match token {
            // Room on the interface is seen to at the end of the round; that it is gone is an error here.
            Token::Tap if flags == EpollFlags::EPOLLOUT => {}
            Token::Tap => self.wire.receive(&mut cx.stack, now)?,
            Token::Exit => return Ok(Some(Ended::Told)),
            Token::Signal => return Ok(Some(Ended::Signal)),
            Token::Relay(key) => self.relays.host_event(cx, key, flags),
            Token::Flow(key) => self.flows.host_event(cx, key),
            Token::Ping(key) => self.pings.host_event(cx, key),
            Token::Forward(key) => self.forwards.host_event(cx, &mut self.relays, key),
            Token::ApiListener => {
                if let Some(api) = &mut self.api {
                    api.accept(cx);
                }
            }
            Token::ApiClient(key) if flags.contains(EpollFlags::EPOLLOUT) => {
                if let Some(api) = &mut self.api {
                    api.write(cx, key);
                }
            }
            Token::ApiClient(key) => self.api_request(key),
        }
        Ok(None)
    }

    fn api_request(&mut self, key: Key) {
        let Some(mut api) = self.api.take() else {
            return;
        };
        if let Some(command) = api.read(&self.cx.plan, key) {
            let (relays, flows, pings) = (self.relays.len(), self.flows.len(), self.pings.len());
            let stats = |cx: &Shared, forwards: &Forwards| {
                let tables = json!({
                    "connections": relays,
                    "udp_flows": flows,
                    "pings": pings,
                    "forwards": forwards.len(),
                });
                stats(cx, tables)
            };
            let answer = command
                .and_then(|command| api::execute(&mut self.cx, &mut self.forwards, command, stats));
            api.answer(&self.cx, key, answer);
        }
        self.api = Some(api);
    }

    /// Passes on what the stack reports.
    fn stack_events(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        self.cx.stack.drain_events(|id, _| changed.push(id));
        for id in changed.drain(..) {
            let cx = &mut self.cx;
            match cx.owners.get(&id).copied() {
                Some(Owner::Interceptor) => self.intercepted(),
                Some(Owner::Dhcp) => {
                    if let Some(dhcp) = &mut self.dhcp {
                        dhcp.guest_event(cx);
                    }
                }
                Some(Owner::Relay(key)) => self.relays.queue(key),
                Some(Owner::Flow(key)) => self.flows.guest_event(cx, key),
                Some(Owner::Client(key)) => self.forwards.guest_event(cx, key),
                // It was closed meanwhile.
                None => {}
            }
        }
        self.changed = changed;
    }

    fn intercepted(&mut self) {
        let cx = &mut self.cx;
        let on = cx.plan.transports;
        while let Some(what) = cx.stack.intercept_next(self.interceptor) {
            match what {
                Intercepted::Tcp(offer) if on.tcp => self.relays.offered(cx, offer),
                Intercepted::Udp(flow) if on.udp => self.flows.begin(cx, flow),
                Intercepted::Echo(request) if on.echo => self.pings.request(cx, &request),
                // One that is gone needs nothing.
                Intercepted::Tcp(offer) => drop(cx.stack.offer_drop(offer.id)),
                Intercepted::Udp(flow) => cx.stack.close(flow.socket),
                Intercepted::Echo(_) => {}
            }
        }
    }

    fn transmit(&mut self) -> io::Result<()> {
        let now = self.cx.clock.now();
        let blocked = !self.wire.transmit(&mut self.cx.stack, now)?;
        if blocked != self.blocked
            && let Some(fd) = self.wire.fd()
        {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, blocked);
            let mut event = EpollEvent::new(flags, Token::Tap.to_u64());
            self.cx.epoll.modify(fd, &mut event)?;
            self.blocked = blocked;
        }
        Ok(())
    }
}

/// What `netstack stats` shows.
fn stats(cx: &Shared, tables: Value) -> Value {
    let own: Map<String, Value> = cx
        .counters
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "program": cx.program,
        "tables": tables,
        "counters": own,
        "stack": crate::stats::of_stack(&cx.stack),
    })
}
