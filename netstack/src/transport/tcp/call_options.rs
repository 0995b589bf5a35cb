//! Setting and reading options.

use super::Cx;
use super::ecn;
use super::engine::TcpEngine;
use super::fast_open::setting;
use super::options::{SocketOptions, seconds_to_timeouts, timeouts_to_seconds};
use super::slot::{Socket, State};
use super::state::{Connection, Phase};
use crate::error::SocketError;
use crate::socket::SocketId;
use crate::socket::tcp::{TcpOption, TcpOptionName, TxStamps};
use crate::time::Duration;
use crate::transport::ports::Claim;

/// Bounds of Linux (`do_tcp_setsockopt`).
const KEEP_TIME_MAX: u32 = 32_767;
const COUNT_MAX: u32 = 127;
const MSS_MIN: u32 = 88;
const MSS_MAX: u32 = 32_767;
/// Least buffers, overhead included (Linux `SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`).
const RCVBUF_MIN: u32 = 2304;
const SNDBUF_MIN: u32 = 4608;
/// Largest value of SO_RCVBUF and SO_SNDBUF that is not cut (`rmem_max`, `wmem_max`, raised).
const BUFFER_MAX: u32 = 16 * 1024 * 1024;

impl TcpEngine {
    /// Sets an option.
    ///
    /// # Errors
    /// `Invalid` if the value is out of range or there is no such socket.
    pub fn set_option(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        option: TcpOption,
    ) -> Result<(), SocketError> {
        let somaxconn = cx.config.somaxconn;
        let socket = self.owned(id)?;
        allowed_now(cx, socket, option)?;
        if let TcpOption::FastOpenKey(keys) = option {
            socket.fast_open_keys = Some(Box::new(keys));
            return Ok(());
        }
        if let TcpOption::TxStamps(stamps) = option {
            number_stamps(socket, stamps)?;
        }
        store(socket.options_mut(), option)?;
        socket.opts.fast_open_queue = socket.opts.fast_open_queue.min(somaxconn);
        let opts = *socket.options();
        if let Some(claim) = socket.claim {
            // A bound socket's claim follows its reuse options (they matter to later binders).
            let new = Claim {
                reuse_addr: opts.reuse_addr,
                reuse_port: opts.reuse_port,
                ..claim
            };
            if new != claim {
                socket.claim = Some(new);
                self.ports.release(&claim);
                self.ports.share(new);
            }
        }
        let socket = self.owned(id)?;
        if let Some(connection) = socket.connection_mut() {
            connection.on_option(cx, option);
        } else if let (TcpOption::QuickAck(_), State::Listen(_)) = (option, &socket.state) {
            return Ok(());
        }
        self.settle(cx, id);
        Ok(())
    }

    /// Reads an option.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn option(
        &self,
        cx: &Cx<'_>,
        id: SocketId,
        name: TcpOptionName,
    ) -> Result<TcpOption, SocketError> {
        let socket = self.held(id)?;
        if name == TcpOptionName::FastOpenKey {
            return Ok(TcpOption::FastOpenKey(self.keys_of(cx, socket)));
        }
        Ok(load(cx, socket, name))
    }
}

/// Some options of Fast Open are for a socket that is not connected (Linux `do_tcp_setsockopt`).
fn allowed_now(cx: &Cx<'_>, socket: &Socket, option: TcpOption) -> Result<(), SocketError> {
    let closed = match &socket.state {
        State::Idle => true,
        State::Connected(connection) => connection.phase == Phase::Closed,
        _ => false,
    };
    let listens = matches!(socket.state, State::Listen(_));
    let client = cx.config.tcp_fastopen & setting::CLIENT != 0;
    match option {
        TcpOption::FastOpenConnect(_) if !client => Err(SocketError::NotSupported),
        TcpOption::FastOpenConnect(_) if !closed => Err(SocketError::Invalid),
        TcpOption::FastOpen(_) | TcpOption::FastOpenNoCookie(_) if !closed && !listens => {
            Err(SocketError::Invalid)
        }
        _ => Ok(()),
    }
}

/// Numbering begins when it is switched on, which only a connection can (Linux `sock_set_timestamping`).
fn number_stamps(socket: &mut Socket, stamps: TxStamps) -> Result<(), SocketError> {
    let begins = stamps.contains(TxStamps::NUMBERED)
        && !socket.options().tx_stamps.contains(TxStamps::NUMBERED);
    if !begins {
        return Ok(());
    }
    let from_written = stamps.contains(TxStamps::NUMBERED_FROM_WRITTEN);
    match &mut socket.state {
        State::Idle | State::Listen(_) => return Err(SocketError::Invalid),
        State::Connected(connection) if connection.phase == Phase::Closed => {
            return Err(SocketError::Invalid);
        }
        State::Connected(connection) => connection.number_stamps(from_written),
        // Numbers begin with the first byte.
        State::SynSent(_) | State::SynReceived(_) => {}
    }
    Ok(())
}

/// `value` if it lies in `low..=high`.
fn in_range(value: u32, low: u32, high: u32) -> Result<u32, SocketError> {
    (low..=high)
        .contains(&value)
        .then_some(value)
        .ok_or(SocketError::Invalid)
}

fn store(opts: &mut SocketOptions, option: TcpOption) -> Result<(), SocketError> {
    match option {
        TcpOption::NoDelay(on) => opts.nodelay = on,
        TcpOption::Cork(on) => opts.cork = on,
        TcpOption::QuickAck(_) => {}
        TcpOption::KeepAlive(on) => opts.keepalive = on,
        TcpOption::KeepIdle(secs) => opts.keep_idle = Some(in_range(secs, 1, KEEP_TIME_MAX)?),
        TcpOption::KeepInterval(secs) => opts.keep_intvl = Some(in_range(secs, 1, KEEP_TIME_MAX)?),
        TcpOption::KeepCount(count) => opts.keep_count = Some(in_range(count, 1, COUNT_MAX)?),
        TcpOption::Linger(time) => opts.linger = time,
        TcpOption::Linger2(secs) => opts.linger2 = (secs != 0).then_some(secs),
        TcpOption::DeferAccept(secs) => opts.defer_accept = seconds_to_timeouts(secs),
        TcpOption::SynCount(count) => opts.syn_count = in_range(count, 1, COUNT_MAX)? as u8,
        TcpOption::UserTimeout(ms) => opts.user_timeout = Duration::from_millis(u64::from(ms)),
        TcpOption::MaxSegment(0) => opts.maxseg = 0,
        TcpOption::MaxSegment(bytes) => opts.maxseg = in_range(bytes, MSS_MIN, MSS_MAX)? as u16,
        TcpOption::WindowClamp(0) => opts.window_clamp = 0,
        TcpOption::WindowClamp(bytes) => opts.window_clamp = bytes.max(RCVBUF_MIN / 2),
        TcpOption::NotSentLowat(bytes) => opts.notsent_lowat = bytes,
        TcpOption::Congestion(kind) => opts.congestion = kind,
        TcpOption::ReuseAddr(on) => opts.reuse_addr = on,
        TcpOption::ReusePort(on) => opts.reuse_port = on,
        TcpOption::ReceiveBuffer(bytes) => {
            opts.rcvbuf = Some((bytes.min(BUFFER_MAX) * 2).max(RCVBUF_MIN));
        }
        TcpOption::SendBuffer(bytes) => {
            opts.sndbuf = Some((bytes.min(BUFFER_MAX) * 2).max(SNDBUF_MIN));
        }
        TcpOption::ReceiveLowat(bytes) => opts.rcvlowat = bytes.clamp(1, i32::MAX as u32),
        TcpOption::OobInline(on) => opts.oob_inline = on,
        TcpOption::ZeroCopy(on) => opts.zero_copy = on,
        TcpOption::TxStamps(stamps) => opts.tx_stamps = stamps,
        TcpOption::ReceiveErrors(on) => opts.recv_errors = on,
        TcpOption::Tos(tos) => opts.ip.tos = ecn::without_bits(tos),
        TcpOption::Ttl(ttl) => opts.ip.ttl = ttl,
        TcpOption::BindToInterface(iface) => opts.ip.iface = iface,
        TcpOption::MtuDiscover(mode) => opts.ip.mtu_discover = mode,
        TcpOption::FastOpen(most) => opts.fast_open_queue = most,
        TcpOption::FastOpenConnect(on) => opts.fast_open_connect = on,
        TcpOption::FastOpenNoCookie(on) => opts.fast_open_no_cookie = on,
        // It is kept with the socket.
        TcpOption::FastOpenKey(_) => {}
    }
    Ok(())
}

fn load(cx: &Cx<'_>, socket: &Socket, name: TcpOptionName) -> TcpOption {
    let opts = socket.options();
    let config = cx.config;
    let connection = socket.connection();
    match name {
        TcpOptionName::NoDelay => TcpOption::NoDelay(opts.nodelay),
        TcpOptionName::Cork => TcpOption::Cork(opts.cork),
        TcpOptionName::QuickAck => {
            TcpOption::QuickAck(connection.is_none_or(|c| !c.acks.interactive))
        }
        TcpOptionName::KeepAlive => TcpOption::KeepAlive(opts.keepalive),
        TcpOptionName::KeepIdle => {
            TcpOption::KeepIdle(opts.keep_idle.unwrap_or(config.tcp_keepalive_time))
        }
        TcpOptionName::KeepInterval => {
            TcpOption::KeepInterval(opts.keep_intvl.unwrap_or(config.tcp_keepalive_intvl))
        }
        TcpOptionName::KeepCount => {
            TcpOption::KeepCount(opts.keep_count.unwrap_or(config.tcp_keepalive_probes))
        }
        TcpOptionName::Linger => TcpOption::Linger(opts.linger),
        TcpOptionName::Linger2 => {
            TcpOption::Linger2(opts.linger2.unwrap_or(config.tcp_fin_timeout as i32))
        }
        TcpOptionName::DeferAccept => {
            TcpOption::DeferAccept(timeouts_to_seconds(opts.defer_accept))
        }
        TcpOptionName::SynCount => TcpOption::SynCount(match opts.syn_count {
            0 => config.tcp_syn_retries,
            count => u32::from(count),
        }),
        TcpOptionName::UserTimeout => TcpOption::UserTimeout(opts.user_timeout.as_millis() as u32),
        TcpOptionName::MaxSegment => TcpOption::MaxSegment(match connection {
            Some(connection) => connection.snd.mss,
            None if opts.maxseg != 0 => u32::from(opts.maxseg),
            None => 536,
        }),
        TcpOptionName::WindowClamp => TcpOption::WindowClamp(opts.window_clamp),
        TcpOptionName::NotSentLowat => TcpOption::NotSentLowat(opts.notsent_lowat),
        TcpOptionName::Congestion => TcpOption::Congestion(opts.congestion),
        TcpOptionName::ReuseAddr => TcpOption::ReuseAddr(opts.reuse_addr),
        TcpOptionName::ReusePort => TcpOption::ReusePort(opts.reuse_port),
        TcpOptionName::ReceiveBuffer => TcpOption::ReceiveBuffer(
            connection.map_or(opts.initial_rcvbuf(config), |connection| {
                connection.rcv.window.buffer
            }),
        ),
        TcpOptionName::SendBuffer => TcpOption::SendBuffer(
            connection.map_or(opts.sndbuf.unwrap_or(config.tcp_wmem[1]), |connection| {
                connection.snd.buffer
            }),
        ),
        TcpOptionName::ReceiveLowat => TcpOption::ReceiveLowat(opts.rcvlowat),
        TcpOptionName::OobInline => TcpOption::OobInline(opts.oob_inline),
        TcpOptionName::ZeroCopy => TcpOption::ZeroCopy(opts.zero_copy),
        TcpOptionName::TxStamps => TcpOption::TxStamps(opts.tx_stamps),
        TcpOptionName::ReceiveErrors => TcpOption::ReceiveErrors(opts.recv_errors),
        TcpOptionName::Tos => TcpOption::Tos(opts.ip.tos),
        TcpOptionName::Ttl => TcpOption::Ttl(opts.ip.ttl),
        TcpOptionName::BindToInterface => TcpOption::BindToInterface(opts.ip.iface),
        TcpOptionName::MtuDiscover => TcpOption::MtuDiscover(opts.ip.mtu_discover),
        TcpOptionName::FastOpen => TcpOption::FastOpen(opts.fast_open_queue),
        TcpOptionName::FastOpenConnect => TcpOption::FastOpenConnect(opts.fast_open_connect),
        TcpOptionName::FastOpenNoCookie => TcpOption::FastOpenNoCookie(opts.fast_open_no_cookie),
        TcpOptionName::FastOpenKey => {
            let keys = socket.fast_open_keys.as_deref().copied();
            TcpOption::FastOpenKey(keys.or(config.tcp_fastopen_key).unwrap_or_default())
        }
    }
}

impl Connection {
    /// What setting an option does to a living connection beside storing it.
    fn on_option(&mut self, cx: &mut Cx<'_>, option: TcpOption) {
        match option {
            TcpOption::Cork(false) => self.output(cx),
            TcpOption::NoDelay(true) => {
                // It pushes what waits, corked or not (Linux `__tcp_sock_set_nodelay`).
                let corked = core::mem::replace(&mut self.opts.cork, false);
                self.output(cx);
                self.opts.cork = corked;
            }
            TcpOption::QuickAck(on) => {
                self.acks.set_quick(on);
                if on && self.acks.pending {
                    self.send_ack(cx);
                }
            }
            TcpOption::KeepAlive(_) | TcpOption::KeepIdle(_) => self.rearm_keepalive(cx),
            TcpOption::MaxSegment(_) => self.update_mss(cx),
            TcpOption::Congestion(kind) => self.cc.switch(kind),
            TcpOption::ReceiveBuffer(_) => {
                if let Some(buffer) = self.opts.rcvbuf {
                    self.rcv.window.buffer = buffer;
                    self.rcv.window.fixed = true;
                }
            }
            TcpOption::SendBuffer(_) => {
                if let Some(buffer) = self.opts.sndbuf {
                    self.snd.buffer = buffer;
                }
            }
            TcpOption::WindowClamp(0) => self.rcv.window.clamp = u32::MAX,
            TcpOption::WindowClamp(_) => {
                self.rcv.window.clamp = self.opts.window_clamp;
                self.rcv.window.ssthresh = self.rcv.window.ssthresh.min(self.opts.window_clamp);
            }
            _ => {}
        }
    }
}
