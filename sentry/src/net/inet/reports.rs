//! What TCP sockets tell beside their data: the error queue (MSG_ERRQUEUE), SO_TIMESTAMPING, TCP_INQ.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use netstack::socket::tcp::TxStamps;
use netstack::socket::{Family, Readiness, ReportOrigin};
use sentry_abi::Errno;

use super::endpoint::Endpoint;
use super::errors;
use crate::net::control::Control;
use crate::net::{Received, option_int};
use crate::time::realtime_ns;

/// linux/tcp.h: the option, and the type of the message that it asks for.
pub(super) const TCP_INQ: i32 = 36;

/// linux/net_tstamp.h: the flags that there are.
const STAMPING_ALL: u32 = (1 << 19) - 1;
const OPT_ID_TCP: u32 = 1 << 16;
const OPT_ID: u32 = 1 << 7;
const TX_SOFTWARE: u32 = 1 << 1;
const REPORT_SOFTWARE: u32 = 1 << 4;
const TX_SCHED: u32 = 1 << 8;
const TX_ACK: u32 = 1 << 9;

/// What was asked for.
#[derive(Default)]
pub(super) struct Wishes {
    /// SO_TIMESTAMPING
    stamping: AtomicU32,
    /// TCP_INQ
    inq: AtomicBool,
}

impl Wishes {
    /// SO_TIMESTAMPING's flags.
    pub(super) fn stamping(&self) -> u32 {
        self.stamping.load(Ordering::Relaxed)
    }

    /// Keeps SO_TIMESTAMPING's flags, and says what the stack has to do for them
    /// (`sock_set_timestamping`).
    pub(super) fn parse_stamping(value: &[u8]) -> Result<(u32, TxStamps), Errno> {
        let flags = option_int(value)?.cast_unsigned();
        if flags & !STAMPING_ALL != 0 || flags & OPT_ID_TCP != 0 && flags & OPT_ID == 0 {
            return Err(Errno::EINVAL);
        }
        let pairs = [
            (TX_SCHED, TxStamps::SCHEDULED),
            (TX_SOFTWARE, TxStamps::SENT),
            (TX_ACK, TxStamps::ACKNOWLEDGED),
            (OPT_ID, TxStamps::NUMBERED),
            (OPT_ID_TCP, TxStamps::NUMBERED_FROM_WRITTEN),
        ];
        let wanted = pairs.into_iter().filter(|(flag, _)| flags & flag != 0);
        Ok((flags, wanted.map(|(_, stamps)| stamps).collect()))
    }

    pub(super) fn set_stamping(&self, flags: u32) {
        self.stamping.store(flags, Ordering::Relaxed);
    }

    pub(super) fn inq(&self) -> bool {
        self.inq.load(Ordering::Relaxed)
    }

    /// TCP_INQ: 0 or 1.
    pub(super) fn set_inq(&self, value: &[u8]) -> Result<(), Errno> {
        let on = match option_int(value)? {
            0 => false,
            1 => true,
            _ => return Err(Errno::EINVAL),
        };
        self.inq.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Adds how much there is left to read, the end of the stream included (`tcp_inq_hint`).
    pub(super) fn tell_inq(&self, endpoint: &Endpoint, control: &mut Control) {
        if !self.inq() {
            return;
        }
        let left = endpoint.look(|stack, id| {
            let ended = stack
                .readiness(id)
                .is_some_and(|ready| ready.contains(Readiness::RDHUP));
            stack.tcp_readable_bytes(id) + usize::from(ended)
        });
        let left = i32::try_from(left).unwrap_or(i32::MAX);
        let message = (libc::IPPROTO_TCP, TCP_INQ, left.to_ne_bytes().to_vec());
        control.other.push(message);
    }
}

/// recv(MSG_ERRQUEUE): the oldest report (`ip_recv_error`). Timestamps come without the packet that they
/// are about, as with SOF_TIMESTAMPING_OPT_TSONLY.
pub(super) fn receive(
    endpoint: &Endpoint,
    family: Family,
    wishes: &Wishes,
) -> Result<Received, Errno> {
    let report = endpoint.look(|stack, id| stack.take_report(id));
    let report = report.ok_or(Errno::EAGAIN)?;
    let mut control = Control::default();
    let stamped = matches!(report.origin, ReportOrigin::Timestamp(_));
    if stamped && wishes.stamping() & REPORT_SOFTWARE != 0 {
        let ago = endpoint.net().now().since(report.at).as_nanos();
        let at = realtime_ns().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX));
        // struct scm_timestamping: in software, and two of hardware.
        let words = [at / 1_000_000_000, at % 1_000_000_000, 0, 0, 0, 0];
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        control
            .other
            .push((libc::SOL_SOCKET, libc::SO_TIMESTAMPING, bytes));
    }
    control.other.push(errors::message(family, &report));
    Ok(Received {
        flags: libc::MSG_ERRQUEUE,
        control,
        ..Received::default()
    })
}
