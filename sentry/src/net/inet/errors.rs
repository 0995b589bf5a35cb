//! recv(MSG_ERRQUEUE): errors that the network told of (`ip_recv_error`, `ipv6_recv_error`).

use netstack::host::errno;
use netstack::socket::{ErrorReport, Family, ReportOrigin};
use sentry_abi::Errno;

use super::datagram::DatagramSocket;
use crate::mm::io::IoDst;
use crate::net::Received;
use crate::net::addr::emit_inet;
use crate::net::control::Control;

/// The oldest report.
///
/// # Errors
/// EAGAIN if there is none.
pub(super) fn receive(socket: &DatagramSocket, dst: &mut dyn IoDst) -> Result<Received, Errno> {
    let report = socket
        .endpoint
        .call(|stack, id| stack.datagram_report(id))?;
    let full = report.payload.len();
    let len = if full == 0 {
        0
    } else {
        dst.put(&report.payload)?
    };
    let truncated = if len < full { libc::MSG_TRUNC } else { 0 };
    let mut control = Control::default();
    control.other.push(message(socket.family, &report));
    Ok(Received {
        len,
        from: report.to.map_or_else(Vec::new, emit_inet),
        flags: libc::MSG_ERRQUEUE | truncated,
        control,
    })
}

/// A report as a control message: IP_RECVERR or IPV6_RECVERR with `struct sock_extended_err`, and the
/// address of who said so.
pub(super) fn message(family: Family, report: &ErrorReport) -> (i32, i32, Vec<u8>) {
    const EXTENDED_ERR: usize = 16;
    let (level, kind, sockaddr) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVERR, 16),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 28),
    };
    let number = match (report.origin, report.error) {
        (ReportOrigin::Timestamp(_), _) => libc::ENOMSG,
        (_, error) => error.map_or(0, errno),
    };
    let (origin, icmp_type, code) = report.origin.numbers();
    let mut bytes = number.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&[origin, icmp_type, code, 0]);
    bytes.extend_from_slice(&report.info.to_ne_bytes());
    bytes.extend_from_slice(&report.data.to_ne_bytes());
    let offender = report.offender.map(|addr| emit_inet((addr, 0).into()));
    bytes.extend_from_slice(&offender.unwrap_or_default());
    bytes.resize(EXTENDED_ERR + sockaddr, 0);
    (level, kind, bytes)
}
