//! Sending: what may leave now, as how large a segment, and the acknowledgements that go alone.

use super::Cx;
use super::chrono::Waits;
use super::config::TcpConfig;
use super::emit::Sending;
use super::recovery::{Belief, Next, Probe};
use super::sack::Sent;
use super::seq::Seq;
use super::state::{Connection, Phase};
use super::timers::Timer;
use crate::time::Instant;

/// Bytes of TCP and IP header that a super-segment leaves room for.
const HEADROOM: u32 = 40 + 60;
/// The largest payload of a super-segment: below 64 KiB with all headers.
pub(super) const SUPER_PAYLOAD_MAX: u32 = 65_535 - HEADROOM;

impl Connection {
    /// Sends everything that may leave now: retransmissions first, then new data, then what
    /// acknowledgement is due. Arms the timers that go with it.
    pub(super) fn output(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.phase, Phase::Closed | Phase::TimeWait) {
            return;
        }
        self.blocked = false;
        if self.send_in_turn(cx) == Sending::Blocked {
            self.blocked = true;
        } else if self.acks.now {
            self.send_ack(cx);
        }
        self.arm_persist(cx);
    }

    /// Retransmissions before new data, or after, or not at all, as the last acknowledgement says.
    fn send_in_turn(&mut self, cx: &mut Cx<'_>) -> Sending {
        let mut next = core::mem::replace(&mut self.recovery.next, Next::Lost);
        if next == Next::New {
            if self.send_new(cx) == Sending::Blocked {
                return Sending::Blocked;
            }
            next = match self.forward_sent() {
                true => return Sending::Done,
                false => Next::Lost,
            };
        }
        let again = next == Next::Lost && self.opening.is_none();
        if again && self.send_lost(cx) == Sending::Blocked {
            return Sending::Blocked;
        }
        self.send_new(cx)
    }

    /// Retransmits what is presumed lost, as far as the window allows (RFC 6675, 5).
    fn send_lost(&mut self, cx: &mut Cx<'_>) -> Sending {
        while self.flight.lost > 0 {
            let in_flight = self.in_flight();
            let room = self.cc.window.cwnd.saturating_sub(in_flight);
            if room == 0 {
                break;
            }
            let room = room.min(self.super_segments(cx));
            let Some(sent) = self.flight.next_to_retransmit(room, self.snd.mss) else {
                break;
            };
            let Some(sent) = self.fit(cx, sent.seq, room) else {
                break;
            };
            if self.retransmit(cx, sent) == Sending::Blocked {
                return Sending::Blocked;
            }
        }
        Sending::Done
    }

    /// What of the range at `seq` goes again: at most `segs` segments, as far as the peer's window
    /// reaches, with small segments that follow. The first byte goes in any case: it probes a window that
    /// has shut (Linux `tcp_retransmit_skb`). `None`: it is out of the window.
    fn fit(&mut self, cx: &Cx<'_>, seq: Seq, segs: u32) -> Option<Sent> {
        let mss = self.snd.mss;
        let end = self.snd.wnd_end();
        let window = match end.after(seq) {
            true => end - seq,
            false if seq == self.snd.una => mss,
            false => return None,
        };
        let mut len = segs.saturating_mul(mss);
        if len > window {
            len = match window / mss {
                0 => window,
                whole => whole * mss,
            };
        }
        let sent = self.flight.cut(seq, len, mss)?;
        let space = window.min(mss);
        if sent.end - seq >= space || cx.config.tcp_retrans_collapse == 0 {
            return Some(sent);
        }
        let limit = self.snd.records.record_end(seq).unwrap_or(self.snd.nxt);
        self.flight.collapse(seq, space, limit)
    }

    fn retransmit(&mut self, cx: &mut Cx<'_>, sent: Sent) -> Sending {
        let sending = self.transmit(cx, sent.seq, sent.end);
        if sending == Sending::Done {
            let then = self.rate_snapshot(cx.now);
            self.flight.retransmitted(sent.seq, cx.now, then);
            self.recovery.on_retransmit(sent.segs, cx.now);
            self.recovery.on_sent(sent.segs);
            self.counters.total_retrans += sent.segs;
            self.counters.bytes_retrans += u64::from(sent.end - sent.seq);
            cx.stats.retrans_segs += u64::from(sent.segs);
            if !self.timers.is_set(Timer::Retransmit) {
                self.arm_retransmit(cx.now);
            }
        }
        sending
    }

    /// Sends the first unacknowledged segment again, window or not (timeouts).
    pub(super) fn retransmit_head(&mut self, cx: &mut Cx<'_>) {
        let head = self.flight.first().map(|head| head.seq);
        if let Some(sent) = head.and_then(|seq| self.fit(cx, seq, 1))
            && self.retransmit(cx, sent) == Sending::Blocked
        {
            self.blocked = true;
        }
    }

    /// Sends new data while both windows, Nagle and the application allow it.
    fn send_new(&mut self, cx: &mut Cx<'_>) -> Sending {
        self.restart_after_idle(cx);
        let mut sent_any = false;
        while self.snd.nxt.before(self.snd.end()) {
            let Some(len) = self.next_length(cx) else {
                break;
            };
            let (seq, end) = (self.snd.nxt, self.snd.nxt + len);
            if self.transmit(cx, seq, end) == Sending::Blocked {
                return Sending::Blocked;
            }
            self.on_new_sent(cx, seq, end);
            sent_any = true;
        }
        self.note_window_use(sent_any);
        self.note_waits(sent_any, cx.now);
        if sent_any {
            self.acks.on_data_sent(cx.now);
        }
        if sent_any && self.opening.is_none() {
            self.schedule_probe(cx.now, cx.config.tcp_early_retrans >= 3);
        }
        Sending::Done
    }

    /// Notes whether the congestion window, and not the application or the peer, ends the sending.
    fn note_window_use(&mut self, sent_any: bool) {
        let waiting = self.snd.end() - self.snd.nxt;
        let window = self.snd.wnd_end();
        let window_open = window.after(self.snd.nxt) && window - self.snd.nxt >= self.snd.mss;
        let limited =
            self.in_flight() >= self.cc.window.cwnd || (waiting >= self.snd.mss && window_open);
        if sent_any || (limited && waiting > 0) {
            let out = self.flight.packets;
            self.cc.note_use(out, limited, self.snd.una, self.snd.nxt);
        }
    }

    /// Notes what sending waits for beside acknowledgements.
    fn note_waits(&mut self, sent_any: bool, now: Instant) {
        let room = self.in_flight() < self.cc.window.cwnd;
        let unsent = self.snd.queue.end().after(self.snd.nxt);
        let least = match unsent {
            true => self.bounded_mss().min(self.snd.queue.end() - self.snd.nxt),
            false => 0,
        };
        let short = self.snd.wnd_end().before(self.snd.nxt + least);
        if room && unsent && short {
            self.chrono.start(Waits::Window, now);
        } else {
            self.chrono.stop(Waits::Window, now);
        }
        if sent_any && room && !unsent && self.snd.no_space {
            self.chrono.start(Waits::Buffer, now);
        }
    }

    fn on_new_sent(&mut self, cx: &mut Cx<'_>, seq: Seq, end: Seq) {
        let was_empty = self.flight.is_empty();
        self.snd.nxt = end;
        self.receipts_on_sent(seq, end, cx.now);
        if !(end - seq).is_multiple_of(self.bounded_mss()) {
            self.snd.small_end = end;
        }
        let before = self.flight.packets;
        let then = self.rate_snapshot(cx.now);
        self.flight.push(seq, end, cx.now, self.snd.mss, then);
        self.recovery.on_sent(self.flight.packets - before);
        self.counters.bytes_sent += u64::from(end - seq);
        self.snd.last_sent = cx.now;
        if was_empty || !self.timers.is_set(Timer::Retransmit) {
            self.arm_retransmit(cx.now);
        }
        self.timers.stop(Timer::Persist);
    }

    /// After a pause the old window says nothing about the network (RFC 2861).
    fn restart_after_idle(&mut self, cx: &Cx<'_>) {
        let sending = self.snd.nxt.before(self.snd.end());
        if !sending || self.in_flight() > 0 {
            return;
        }
        let idle = cx.now.since(self.snd.last_sent);
        let rto = self.rtt.base_rto();
        let wanted = cx.config.tcp_slow_start_after_idle != 0 && !self.cc.has_own_control();
        if wanted && self.flight.is_empty() && idle > rto {
            self.cc.decay(idle, rto);
        }
        self.cc.on_start(cx.now, idle);
    }

    /// Segments that one super-segment may hold on this route.
    fn super_segments(&self, cx: &Cx<'_>) -> u32 {
        if self.in_urgent_mode() {
            // Whoever cuts a super-segment does not adjust its pointer.
            return 1;
        }
        let iface = self.opts.ip.iface;
        let gso_max = cx
            .out
            .route(self.key.remote.ip(), Some(self.key.local.ip()), iface)
            .map_or(0, |route| route.gso_max);
        let bytes = gso_max.saturating_sub(HEADROOM).min(SUPER_PAYLOAD_MAX);
        self.autosize(cx.config, bytes)
            .min(bytes / self.snd.mss)
            .max(1)
    }

    /// Segments in a super-segment: about a millisecond's worth, more where round trips are short
    /// (Linux `tcp_tso_autosize`). Slow flows so send no bursts, and get more acknowledgements.
    fn autosize(&self, config: &TcpConfig, bytes_max: u32) -> u32 {
        let near = match config.tcp_tso_rtt_log {
            0 => 0,
            log => {
                let min_rtt = self.rtt.min_rtt().as_micros().min(u128::from(u32::MAX)) as u32;
                let halvings = min_rtt.checked_shr(log).unwrap_or(0);
                bytes_max.checked_shr(halvings).unwrap_or(0)
            }
        };
        let per_millisecond = self.sending_rate(config) >> 10;
        let bytes = per_millisecond
            .saturating_add(u64::from(near))
            .min(u64::from(bytes_max)) as u32;
        (bytes / self.snd.mss).max(config.tcp_min_tso_segs)
    }

    /// Bytes per second at which the window lets data leave (Linux `tcp_update_pacing_rate`).
    pub(super) fn sending_rate(&self, config: &TcpConfig) -> u64 {
        let window = &self.cc.window;
        let ratio = match window.cwnd < window.ssthresh / 2 {
            true => config.tcp_pacing_ss_ratio,
            false => config.tcp_pacing_ca_ratio,
        };
        let segments = u64::from(window.cwnd.max(self.flight.packets));
        let bytes = segments.saturating_mul(u64::from(self.snd.mss));
        let srtt = self.rtt.srtt().as_micros().max(1) as u64;
        bytes
            .saturating_mul(u64::from(ratio))
            .saturating_mul(10_000)
            / srtt
    }

    /// How much may leave as the next segment or super-segment; `None`: nothing now.
    fn next_length(&self, cx: &Cx<'_>) -> Option<u32> {
        let mss = self.bounded_mss();
        let record_end = self.snd.records.record_end(self.snd.nxt);
        let last = record_end.is_none_or(|end| end == self.snd.queue.end());
        let data = record_end.unwrap_or(self.snd.queue.end()) - self.snd.nxt;
        let available = match last {
            true => self.snd.end() - self.snd.nxt,
            false => data,
        };
        let wnd_end = self.snd.wnd_end();
        let window = if wnd_end.after(self.snd.nxt) {
            wnd_end - self.snd.nxt
        } else {
            0
        };
        let room = self.cc.window.cwnd.saturating_sub(self.in_flight());
        if room == 0 || window < mss.min(available) {
            return None;
        }
        if data == 0 {
            return Some(available);
        }
        let most = match mss < self.snd.mss {
            true => 1,
            false => self.super_segments(cx),
        };
        // At least two super-segments in flight keep the acknowledgements coming (Linux
        // `tcp_cwnd_test`).
        let segments = room.min((self.cc.window.cwnd / 2).max(1)).min(most);
        let full = window.min(room.saturating_mul(mss)) >= most.saturating_mul(mss);
        let limit = data.min(window).min(segments.saturating_mul(mss));
        if limit < data {
            let whole = limit - limit % mss;
            let defer = self.should_defer(cx, limit, room, window, full);
            return (whole > 0 && !defer).then_some(whole);
        }
        // Everything goes; its last, small part only if Nagle has nothing against it.
        let tail = data % mss;
        let urgent = self.in_urgent_mode();
        let held = tail != 0 && last && !self.snd.fin && !urgent && self.nagle_holds();
        match (held, data - tail) {
            (true, 0) => None,
            (true, whole) => Some(whole),
            (false, _) if available > data && window > data => Some(available),
            (false, _) => Some(data),
        }
    }

    /// True if a segment smaller than the MSS has to wait (RFC 1122, 4.2.3.4, with Minshall's
    /// modification; TCP_CORK).
    fn nagle_holds(&self) -> bool {
        let small_out =
            self.snd.small_end.after(self.snd.una) && self.snd.small_end.at_or_before(self.snd.nxt);
        self.opts.cork || (!self.opts.nodelay && small_out)
    }

    /// True if waiting a moment will give a larger super-segment (Linux `tcp_tso_should_defer`).
    fn should_defer(&self, cx: &Cx<'_>, limit: u32, room: u32, window: u32, full: bool) -> bool {
        let (now, divisor) = (cx.now, cx.config.tcp_tso_win_divisor);
        if full || divisor == 0 || self.recovery.belief >= Belief::Recovery {
            return false;
        }
        let mss = self.snd.mss;
        let chunk = self.snd.wnd.min(self.cc.window.cwnd.saturating_mul(mss)) / divisor;
        if limit >= chunk || window < room.saturating_mul(mss) {
            return false;
        }
        // Only if the next acknowledgement is near, and the flow is running.
        let recent = now.since(self.snd.last_sent).as_micros() < 1000;
        let next_ack_near = self
            .flight
            .first()
            .is_some_and(|head| now.since(head.at) >= self.rtt.srtt() / 2);
        recent && next_ack_near
    }

    /// Probes a window that is shut or too small: with what fits, or with nothing new.
    pub(super) fn send_window_probe(&mut self, cx: &mut Cx<'_>) {
        let wnd_end = self.snd.wnd_end();
        let fits = if wnd_end.after(self.snd.nxt) {
            wnd_end - self.snd.nxt
        } else {
            0
        };
        let data = self.snd.queue.end() - self.snd.nxt;
        let len = fits.min(self.bounded_mss()).min(data);
        if len == 0 {
            self.send_probe(cx);
            return;
        }
        let (seq, end) = (self.snd.nxt, self.snd.nxt + len);
        // The peer should do something about it: a probe is pushed.
        self.snd.records.push_at(end);
        if self.transmit(cx, seq, end) == Sending::Done {
            self.on_new_sent(cx, seq, end);
        } else {
            self.blocked = true;
        }
    }

    /// A tail loss probe: new data if the window has room for it, else the last segment again.
    pub(super) fn send_loss_probe(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.probe.is_some() || self.flight.is_empty() {
            return;
        }
        let data_end = self.snd.queue.end();
        // Once the FIN is out, `nxt` lies beyond the data.
        let data = match data_end.after(self.snd.nxt) {
            true => data_end - self.snd.nxt,
            false => 0,
        };
        let wnd_end = self.snd.wnd_end();
        let fits = wnd_end.after(self.snd.nxt) && wnd_end - self.snd.nxt >= data.min(self.snd.mss);
        if data > 0 && fits {
            let (seq, end) = (self.snd.nxt, self.snd.nxt + data.min(self.bounded_mss()));
            if self.transmit(cx, seq, end) == Sending::Done {
                self.on_new_sent(cx, seq, end);
                self.recovery.probe = Some(Probe {
                    end: self.snd.nxt,
                    again: false,
                });
                cx.stats.loss_probes += 1;
            }
        } else if let Some(last) = self.flight.tail(self.snd.mss)
            && self.retransmit(cx, last) == Sending::Done
        {
            self.recovery.probe = Some(Probe {
                end: self.snd.nxt,
                again: true,
            });
            cx.stats.loss_probes += 1;
        }
        self.arm_retransmit(cx.now);
    }

    /// Nothing is in flight and something waits for the window (or for the end of TCP_CORK): probe
    /// from time to time.
    fn arm_persist(&mut self, cx: &Cx<'_>) {
        let waiting = self.snd.nxt.before(self.snd.end()) && self.flight.is_empty();
        let waiting = waiting && self.opening.is_none();
        if waiting && !self.blocked && !self.timers.is_set(Timer::Persist) {
            self.timers.set(Timer::Persist, cx.now + self.rtt.rto());
        }
    }
}
