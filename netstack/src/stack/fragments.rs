//! Fragments in: from the wire to the reassembly queue, and what comes out of it.

use std::net::IpAddr;

use super::Stack;
use super::ingress::Inbound;
use super::net::LOOPBACK;
use crate::buf::{Bytes, BytesMut};
use crate::network::IpMeta;
use crate::network::reassembly::{Fragment, FragmentKey, Reassembled};
use crate::wire::icmpv4::Icmpv4Repr;
use crate::wire::ipv4::{Ipv4Repr, Ipv4View};

impl Stack {
    pub(super) fn fragment_in(&mut self, inbound: Inbound, repr: &Ipv4Repr) {
        self.net.stats.ip_reasm_reqds += 1;
        let key = FragmentKey {
            src: inbound.meta.src,
            dst: inbound.meta.dst,
            id: u32::from(repr.id),
            proto: repr.proto,
        };
        let fragment = Fragment {
            offset: usize::from(repr.fragment_offset),
            more: repr.more_fragments,
            header: inbound.packet.slice(..inbound.header_len),
            payload: inbound.payload(),
        };
        let config = &self.net.config;
        let (time, budget) = (config.ipfrag_time, config.ipfrag_high_thresh);
        match self
            .reassembly
            .insert(self.net.now, key, fragment, time, budget)
        {
            Reassembled::Waiting => {}
            Reassembled::Whole { packet, header_len } => {
                self.net.stats.ip_reasm_oks += 1;
                self.deliver(Inbound {
                    packet,
                    header_len,
                    meta: IpMeta {
                        // What the link knew of a fragment says nothing of the datagram.
                        checksum_valid: false,
                        gro_size: 0,
                        ..inbound.meta
                    },
                    ..inbound
                });
            }
            Reassembled::Overlap => {
                self.net.stats.ip_reasm_overlaps += 1;
                self.net.stats.ip_reasm_fails += 1;
            }
            Reassembled::Refused => self.net.stats.ip_reasm_fails += 1,
        }
    }

    /// Drops datagrams whose time has ended, and says so to those who sent the first fragment
    /// (RFC 1122 section 3.3.2).
    pub(super) fn reassembly_timers(&mut self) {
        while let Some(first) = self.reassembly.expire_one(self.net.now) {
            self.net.stats.ip_reasm_timeout += 1;
            self.net.stats.ip_reasm_fails += 1;
            if let Some((header, payload)) = first {
                self.time_exceeded(&header, &payload);
            }
        }
    }

    fn time_exceeded(&mut self, header: &[u8], payload: &[u8]) {
        let mut packet = BytesMut::with_capacity(header.len() + payload.len());
        packet.extend_from_slice(header);
        packet.extend_from_slice(payload);
        let packet: Bytes = packet.freeze();
        let Ok(view) = Ipv4View::new_quoted(&packet) else {
            return;
        };
        let repr = Ipv4Repr::parse(&view);
        let about = Inbound {
            header_len: view.header_len(),
            proto: repr.proto,
            meta: IpMeta {
                src: IpAddr::V4(repr.src),
                dst: IpAddr::V4(repr.dst),
                iface: LOOPBACK,
                tos: repr.tos,
                ttl: repr.ttl,
                not_unicast: false,
                arrival: self.net.now,
                checksum_valid: false,
                gro_size: 0,
            },
            packet: packet.clone(),
        };
        self.send_icmp_error(&about, Icmpv4Repr::TimeExceeded { code: 1 });
    }
}
