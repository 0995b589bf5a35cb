//! What UDP, raw and echo sockets learn of errors on the way (IP_RECVERR).

use super::Stack;
use super::ingress::Inbound;
use super::raw_calls::sent_by;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::icmp_error::IcmpError;
use crate::network::proto;
use crate::network::quote::Quoted;
use crate::socket::{
    ErrorQueue, ErrorReport, RawKind, ReceiveQueue, ReportOrigin, SocketId, SocketKind,
};
use crate::wire::udp;

impl Stack {
    /// Queues an ICMP error with the sockets that want all of them; `quote_at`: where the packet begins that
    /// it quotes.
    pub(super) fn report_icmp(
        &mut self,
        inbound: &Inbound,
        (message, quote_at): (&Bytes, usize),
        quoted: &Quoted<'_>,
        error: &IcmpError,
    ) {
        let (kind, code) = (message[0], message[1]);
        let origin = match inbound.meta.src.is_ipv4() {
            true => ReportOrigin::Icmp { kind, code },
            false => ReportOrigin::Icmp6 { kind, code },
        };
        let report = ErrorReport {
            error: Some(error.cause.error),
            info: error.cause.mtu.unwrap_or(0),
            offender: Some(inbound.meta.src),
            iface: Some(inbound.meta.iface),
            ..ErrorReport::new(origin, inbound.meta.arrival)
        };
        let payload = |header: usize| {
            let at = quote_at + quoted.header_len + header;
            message.slice(at.min(message.len())..)
        };
        match quoted.proto {
            proto::TCP => {}
            proto::UDP => self.report_udp(error, report, payload(udp::HEADER_LEN)),
            other => self.report_raw(other, error, &report, &payload(0)),
        }
    }

    fn report_udp(&mut self, error: &IcmpError, mut report: ErrorReport, payload: Bytes) {
        let Some(id) = self.udp.owner(error) else {
            return;
        };
        if let Ok(socket) = self.udp.get_mut(id)
            && socket.options.recv_errors
        {
            report.payload = payload;
            report.to = Some(socket.names.outward(error.remote, report.iface));
            socket.errors.push(report, socket.options.recv_budget);
            self.events.mark(id);
        }
    }

    fn report_raw(
        &mut self,
        protocol: u8,
        error: &IcmpError,
        report: &ErrorReport,
        payload: &Bytes,
    ) {
        for (id, socket) in self.raw.iter_mut() {
            let peer = socket
                .remote
                .is_none_or(|remote| remote == error.remote.ip());
            if !socket.options.recv_errors || !peer || !sent_by(socket, protocol, error) {
                continue;
            }
            // Of an echo socket the identifier is no port of the peer's.
            let mut to = error.remote;
            if socket.kind == RawKind::Echo {
                to.set_port(0);
            }
            let report = ErrorReport {
                to: Some(socket.names.outward(to, report.iface)),
                payload: payload.clone(),
                ..report.clone()
            };
            socket.errors.push(report, socket.options.recv_budget);
            self.events.mark(id);
        }
    }

    /// Takes the oldest report of a UDP, raw or echo socket (MSG_ERRQUEUE).
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn datagram_report(&mut self, id: SocketId) -> Result<ErrorReport, SocketError> {
        let (errors, queue) = self.error_queues(id)?;
        let (report, pending) = errors.pop().ok_or(SocketError::WouldBlock)?;
        pending.apply(queue.error_mut());
        Ok(report)
    }

    /// Forgets all reports (IP_RECVERR is switched off).
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn clear_reports(&mut self, id: SocketId) -> Result<(), SocketError> {
        *self.error_queues(id)?.0 = ErrorQueue::default();
        Ok(())
    }

    fn error_queues(
        &mut self,
        id: SocketId,
    ) -> Result<(&mut ErrorQueue, &mut ReceiveQueue), SocketError> {
        match id.kind() {
            SocketKind::Udp => {
                let socket = self.udp.get_mut(id)?;
                Ok((&mut socket.errors, &mut socket.queue))
            }
            SocketKind::Raw => {
                let socket = self.raw.get_mut(id).ok_or(SocketError::Invalid)?;
                Ok((&mut socket.errors, &mut socket.queue))
            }
            _ => Err(SocketError::Invalid),
        }
    }
}
