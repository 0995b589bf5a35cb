//! UDP: datagrams in.

use std::net::SocketAddr;

use super::Stack;
use super::ingress::Inbound;
use super::intercept::Intercepting;
use crate::buf::Bytes;
use crate::network::icmp_error::Problem;
use crate::network::{IpMeta, proto};
use crate::socket::{ReceivedDatagram, SocketId};
use crate::wire::checksum::Checksum;
use crate::wire::udp::{HEADER_LEN, UdpView};

impl Stack {
    pub(super) fn udp_in(&mut self, inbound: &Inbound) {
        let bytes = inbound.payload();
        let meta = &inbound.meta;
        let Ok(view) = UdpView::new(&bytes) else {
            self.udp_stats.of(meta.src).in_hdr_errors += 1;
            self.udp_stats.of(meta.src).in_errors += 1;
            return;
        };
        // Over IPv4 a zero field means that the sender made no checksum (RFC 768; RFC 8200 section 8.1).
        let has_sum = view.checksum() != 0 || meta.src.is_ipv6();
        if !meta.checksum_valid && has_sum {
            let len = view.datagram().len() as u32;
            let mut sum = Checksum::pseudo(meta.src, meta.dst, proto::UDP, len);
            sum.add_bytes(view.datagram());
            if !sum.is_valid() || view.checksum() == 0 {
                self.udp_stats.of(meta.src).in_csum_errors += 1;
                self.udp_stats.of(meta.src).in_errors += 1;
                return;
            }
        }
        let (src_port, dst_port) = (view.src_port(), view.dst_port());
        let data = bytes.slice(HEADER_LEN..view.datagram().len());
        let mut receivers = self.udp.receivers(meta, src_port, dst_port);
        if receivers.is_empty() {
            match self.intercept_udp(inbound, src_port, dst_port) {
                Intercepting::Flow(id) => receivers.push(id),
                Intercepting::Full => return,
                Intercepting::Nobody => {}
            }
        }
        if receivers.is_empty() {
            self.udp_stats.of(meta.src).no_ports += 1;
            self.send_icmp_error(inbound, Problem::Port);
            return;
        }
        for id in receivers {
            if let Some(data) = self.udp_filtered(id, inbound, &data) {
                self.udp_queue_all(id, meta, (src_port, dst_port), &data);
            }
        }
    }

    /// What the filter of a socket leaves of a datagram; `None` drops it. It sees the UDP header, which is not
    /// cut.
    fn udp_filtered(&mut self, id: SocketId, inbound: &Inbound, data: &Bytes) -> Option<Bytes> {
        let socket = self.udp.get(id).ok()?;
        if !socket.filter.is_some() {
            return Some(data.clone());
        }
        let hardware = self.hardware_of(inbound.meta.iface);
        let view = inbound.filter_view(inbound.header_len, hardware);
        let kept = socket.filter.keep(&view, HEADER_LEN + data.len());
        if kept.is_none() {
            self.udp_stats.of(inbound.meta.src).in_errors += 1;
        }
        let kept = kept?.max(HEADER_LEN) - HEADER_LEN;
        Some(data.slice(..kept.min(data.len())))
    }

    /// Queues what may be several datagrams in one (GRO) with one socket.
    fn udp_queue_all(&mut self, id: SocketId, meta: &IpMeta, ports: (u16, u16), data: &Bytes) {
        let merged = self.udp.get(id).is_ok_and(|socket| socket.options.gro);
        let (step, gro_size) = match meta.gro_size {
            0 => (data.len().max(1), 0),
            size if merged => (data.len().max(1), size),
            size => (usize::from(size), 0),
        };
        let count = data.len().div_ceil(step).max(1);
        for at in (0..count).map(|n| n * step) {
            let datagram = ReceivedDatagram {
                from: SocketAddr::new(meta.src, ports.0),
                to: meta.dst,
                to_port: ports.1,
                iface: meta.iface,
                tos: meta.tos,
                ttl: meta.ttl,
                arrival: meta.arrival,
                gro_size,
                drops: 0,
                data: data.slice(at..(at + step).min(data.len())),
            };
            self.udp_queue(id, datagram);
        }
    }

    fn udp_queue(&mut self, id: SocketId, mut datagram: ReceivedDatagram) {
        let now = self.net.now;
        let src = datagram.from.ip();
        let Ok(socket) = self.udp.get_mut(id) else {
            return;
        };
        socket.touch(now);
        let (from, iface) = (datagram.from, Some(datagram.iface));
        datagram.from = socket.names.outward(from, iface);
        let budget = socket.options.recv_budget;
        if !socket.read_shut && socket.queue.push(datagram, budget) {
            self.udp_stats.of(src).in_datagrams += 1;
            self.events.mark(id);
        } else {
            self.udp_stats.of(src).rcvbuf_errors += 1;
            self.udp_stats.of(src).in_errors += 1;
        }
    }
}
