//! The error queue of netstack's sockets, and SO_TIMESTAMPING, in the shapes of Linux.

use super::super::target::{Control, Received, SysResult};
use super::micros;
use super::sockets::errno;
use netstack::socket::tcp::TxStamps;
use netstack::socket::{ErrorReport, Readiness, ReportOrigin, SocketId};
use netstack::stack::Stack;
use netstack::time::Instant;
use nix::errno::Errno;

/// `IPV6_RECVERR`.
const IPV6_RECVERR: i32 = 25;

/// Bits of SO_TIMESTAMPING about what is sent, with what each asks for. SOFTWARE asks for the times
/// themselves.
const STAMPS: [(u32, TxStamps); 5] = [
    (1 << 1, TxStamps::SENT),
    (1 << 8, TxStamps::SCHEDULED),
    (1 << 9, TxStamps::ACKNOWLEDGED),
    (1 << 7, TxStamps::NUMBERED),
    (1 << 16, TxStamps::NUMBERED_FROM_WRITTEN),
];
const SOFTWARE: u32 = 1 << 4;
/// SOF_TIMESTAMPING_OPT_TSONLY: receipts without the packet, as they always are here.
const WITHOUT_PACKET: u32 = 1 << 11;

/// `TCP_CM_INQ`, as the option.
const TCP_CM_INQ: i32 = 36;

/// What a socket wants to be told beside its data.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    /// TCP_INQ: how much there is left to read.
    pub(super) inq: bool,
    /// SOF_TIMESTAMPING_SOFTWARE: the times of receipts.
    pub(super) stamps: bool,
}

/// True if a value of SO_TIMESTAMPING asks for times in receipts.
pub(super) fn wants_software(value: &[u8]) -> SysResult<bool> {
    let bytes: [u8; 4] = value
        .get(..4)
        .and_then(|value| value.try_into().ok())
        .ok_or(Errno::EINVAL)?;
    Ok(u32::from_ne_bytes(bytes) & SOFTWARE != 0)
}

/// How much there is left to read, or 1 at the end of the stream (`tcp_inq_hint`).
pub(super) fn inq(stack: &Stack, id: SocketId) -> Control {
    let ready = stack.readiness(id);
    let ended = ready.is_some_and(|ready| ready.contains(Readiness::RDHUP));
    let left = match stack.tcp_readable_bytes(id) {
        0 => i32::from(ended),
        left => i32::try_from(left).unwrap_or(i32::MAX),
    };
    Control {
        level: libc::IPPROTO_TCP,
        kind: TCP_CM_INQ,
        data: left.to_ne_bytes().to_vec(),
    }
}

/// The stages that a value of SO_TIMESTAMPING asks for.
///
/// # Errors
/// ENOPROTOOPT for bits that the stack does not have.
pub(super) fn stamps(value: i32) -> SysResult<TxStamps> {
    let value = value.cast_unsigned();
    let known = STAMPS
        .iter()
        .fold(SOFTWARE | WITHOUT_PACKET, |known, (bit, _)| known | bit);
    if value & !known != 0 {
        return Err(Errno::ENOPROTOOPT);
    }
    let asked = STAMPS.iter().filter(|(bit, _)| value & bit != 0);
    Ok(asked.fold(TxStamps::empty(), |all, (_, stamps)| all | *stamps))
}

/// recvmsg(MSG_ERRQUEUE).
pub(super) fn take(
    stack: &mut Stack,
    id: SocketId,
    len: usize,
    wishes: Wishes,
) -> SysResult<Received> {
    let report = stack.take_report(id).ok_or(Errno::EAGAIN)?;
    let v6 = stack.local_addr(id).is_ok_and(|local| local.is_ipv6());
    let mut data = report.payload.to_vec();
    let truncated = data.len() > len;
    data.truncate(len);
    let mut control = Vec::new();
    if matches!(report.origin, ReportOrigin::Timestamp(_)) && wishes.stamps {
        control.push(Control {
            level: libc::SOL_SOCKET,
            kind: libc::SO_TIMESTAMPING,
            data: timestamps(report.at),
        });
    }
    control.push(Control {
        level: if v6 { libc::SOL_IPV6 } else { libc::SOL_IP },
        kind: if v6 { IPV6_RECVERR } else { libc::IP_RECVERR },
        data: extended_error(&report),
    });
    Ok(Received {
        len: data.len(),
        data,
        flags: libc::MSG_ERRQUEUE | if truncated { libc::MSG_TRUNC } else { 0 },
        source: report.to,
        control,
    })
}

/// `struct scm_timestamping`: three times, of which software gives the first.
fn timestamps(at: Instant) -> Vec<u8> {
    const SECOND: i64 = 1_000_000;
    let at = micros(at);
    [
        at.div_euclid(SECOND),
        at.rem_euclid(SECOND) * 1_000,
        0,
        0,
        0,
        0,
    ]
    .map(i64::to_ne_bytes)
    .concat()
}

/// `struct sock_extended_err`.
fn extended_error(report: &ErrorReport) -> Vec<u8> {
    let error = match (report.error, report.origin) {
        (Some(error), _) => errno(error) as u32,
        (None, ReportOrigin::Timestamp(_)) => Errno::ENOMSG as u32,
        (None, _) => 0,
    };
    let (origin, kind, code) = report.origin.numbers();
    let mut bytes = error.to_ne_bytes().to_vec();
    bytes.extend([origin, kind, code, 0]);
    bytes.extend([report.info, report.data].map(u32::to_ne_bytes).concat());
    bytes
}
