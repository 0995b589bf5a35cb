//! Packets as bytes: what is injected is built here, what the target sent is taken apart here.

mod icmp6;
mod tcp_options;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::ast::{Flags, TcpOption};
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel,
    Ipv6Header, NetSlice, SlicedPacket, TcpHeader, TransportSlice, UdpHeader,
};

/// A packet on the wire: the IP fields that scripts speak of, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Sender; the port is 0 for ICMP.
    pub source: SocketAddr,
    /// Receiver; the port is 0 for ICMP.
    pub destination: SocketAddr,
    /// TOS byte or traffic class.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// What it carries.
    pub transport: Transport,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Segment),
    /// A UDP payload.
    Udp(Vec<u8>),
    /// An ICMP message; one of ICMPv6 is shown as the ICMP message that means the same.
    Icmp {
        /// Type number.
        kind: u8,
        /// Code number.
        code: u8,
        /// Bytes 4 to 8 of the header (identifier, MTU).
        rest: [u8; 4],
        /// What follows the header.
        payload: Vec<u8>,
    },
}

/// A TCP segment with its numbers as they are on the wire, or in script space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Flags.
    pub flags: Flags,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, 0 without the flag.
    pub ack: u32,
    /// Window field.
    pub win: u16,
    /// Urgent pointer.
    pub urg: u16,
    /// Options in order.
    pub options: Vec<TcpOption>,
    /// Data.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// The packet's bytes, checksums complete.
    ///
    /// # Errors
    /// It does not fit into a packet.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let (protocol, transport) = match &self.transport {
            Transport::Tcp(segment) => (IpNumber::TCP, self.encode_tcp(segment)?),
            Transport::Udp(payload) => (IpNumber::UDP, self.encode_udp(payload)?),
            Transport::Icmp {
                kind,
                code,
                rest,
                payload,
            } => self.encode_icmp((*kind, *code), *rest, payload)?,
        };
        let len = u16::try_from(transport.len()).map_err(|_| "the packet is too long")?;
        let mut bytes = match self.addresses()? {
            Pair::V4(source, destination) => {
                let mut ip = Ipv4Header::new(len, self.ttl, protocol, source, destination)
                    .map_err(|error| error.to_string())?;
                ip.dscp = etherparse::IpDscp::try_new(self.tos >> 2).unwrap_or_default();
                ip.ecn = etherparse::IpEcn::try_new(self.tos & 3).unwrap_or_default();
                ip.header_checksum = ip.calc_header_checksum();
                ip.to_bytes().to_vec()
            }
            Pair::V6(source, destination) => Ipv6Header {
                traffic_class: self.tos,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: len,
                next_header: protocol,
                hop_limit: self.ttl,
                source,
                destination,
            }
            .to_bytes()
            .to_vec(),
        };
        bytes.extend_from_slice(&transport);
        Ok(bytes)
    }

    fn addresses(&self) -> Result<Pair, String> {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Ok(Pair::V4(source.octets(), destination.octets()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Ok(Pair::V6(source.octets(), destination.octets()))
            }
            _ => Err("the two addresses are of different families".to_owned()),
        }
    }

    fn encode_tcp(&self, segment: &Segment) -> Result<Vec<u8>, String> {
        let mut header = TcpHeader::new(
            self.source.port(),
            self.destination.port(),
            segment.seq,
            segment.win,
        );
        header.acknowledgment_number = segment.ack;
        header.urgent_pointer = segment.urg;
        header.fin = segment.flags.has(Flags::FIN);
        header.syn = segment.flags.has(Flags::SYN);
        header.rst = segment.flags.has(Flags::RST);
        header.psh = segment.flags.has(Flags::PSH);
        header.ack = segment.flags.has(Flags::ACK);
        header.urg = segment.flags.has(Flags::URG);
        header.ece = segment.flags.has(Flags::ECE);
        header.cwr = segment.flags.has(Flags::CWR);
        // AE has the bit of the nonce sum of old.
        header.ns = segment.flags.has(Flags::AE);
        header
            .set_options_raw(&tcp_options::encode(&segment.options))
            .map_err(|_| "the TCP options take more than 40 bytes")?;
        header.checksum = match self.addresses()? {
            Pair::V4(from, to) => header.calc_checksum_ipv4_raw(from, to, &segment.payload),
            Pair::V6(from, to) => header.calc_checksum_ipv6_raw(from, to, &segment.payload),
        }
        .map_err(|error| error.to_string())?;
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&segment.payload);
        Ok(bytes)
    }

    fn encode_udp(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let len = u16::try_from(payload.len() + 8).map_err(|_| "the datagram is too long")?;
        let mut header = UdpHeader {
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            length: len,
            checksum: 0,
        };
        header.checksum = match self.addresses()? {
            Pair::V4(from, to) => header.calc_checksum_ipv4_raw(from, to, payload),
            Pair::V6(from, to) => header.calc_checksum_ipv6_raw(from, to, payload),
        }
        .map_err(|error| error.to_string())?;
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        Ok(bytes)
    }

    fn encode_icmp(
        &self,
        (kind, code): (u8, u8),
        rest: [u8; 4],
        payload: &[u8],
    ) -> Result<(IpNumber, Vec<u8>), String> {
        let (source, destination) = match self.addresses()? {
            Pair::V4(..) => return Ok((IpNumber::ICMP, encode_icmpv4(kind, code, rest, payload))),
            Pair::V6(source, destination) => (source, destination),
        };
        let (type_u8, code_u8, bytes5to8) = icmp6::to_v6(kind, code, rest);
        let message = Icmpv6Type::Unknown {
            type_u8,
            code_u8,
            bytes5to8,
        };
        let header = message.to_header(source, destination, payload);
        let mut bytes = header.map_err(|e| e.to_string())?.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        Ok((IpNumber::IPV6_ICMP, bytes))
    }

    /// Takes a packet apart; with `checksummed`, its transport checksum must be right.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8], checksummed: bool) -> Result<Self, String> {
        let packet = SlicedPacket::from_ip(bytes).map_err(|error| error.to_string())?;
        let (pair, tos, ttl) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                if header.to_header().calc_header_checksum() != header.header_checksum() {
                    return Err("the checksum of the IP header is wrong".to_owned());
                }
                let tos = header.dcp().value() << 2 | header.ecn().value();
                let pair = Pair::V4(header.source(), header.destination());
                (pair, tos, header.ttl())
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let pair = Pair::V6(header.source(), header.destination());
                (pair, header.traffic_class(), header.hop_limit())
            }
            _ => return Err("the packet is not of IP".to_owned()),
        };
        let (ports, transport) = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let good = match pair {
                    Pair::V4(from, to) => tcp.calc_checksum_ipv4(from, to),
                    Pair::V6(from, to) => tcp.calc_checksum_ipv6(from, to),
                };
                if checksummed && good.as_ref().ok() != Some(&tcp.checksum()) {
                    return Err("the TCP checksum is wrong".to_owned());
                }
                let ports = (tcp.source_port(), tcp.destination_port());
                (ports, Transport::Tcp(decode_tcp(tcp)?))
            }
            Some(TransportSlice::Udp(udp)) => (
                (udp.source_port(), udp.destination_port()),
                Transport::Udp(udp.payload().to_vec()),
            ),
            Some(TransportSlice::Icmpv4(icmp)) => (
                (0, 0),
                Transport::Icmp {
                    kind: icmp.type_u8(),
                    code: icmp.code_u8(),
                    rest: icmp.bytes5to8(),
                    payload: icmp.payload().to_vec(),
                },
            ),
            Some(TransportSlice::Icmpv6(icmp)) => {
                let (kind, code) = icmp6::to_v4(icmp.type_u8(), icmp.code_u8());
                let transport = Transport::Icmp {
                    kind,
                    code,
                    rest: icmp.bytes5to8(),
                    payload: icmp.payload().to_vec(),
                };
                ((0, 0), transport)
            }
            _ => return Err("the protocol of the packet is not known here".to_owned()),
        };
        let (source, destination) = match pair {
            Pair::V4(from, to) => (IpAddr::from(from), IpAddr::from(to)),
            Pair::V6(from, to) => (IpAddr::from(from), IpAddr::from(to)),
        };
        Ok(Self {
            source: SocketAddr::new(source, ports.0),
            destination: SocketAddr::new(destination, ports.1),
            tos,
            ttl,
            transport,
        })
    }
}

/// Source and destination of a packet.
#[derive(Clone, Copy)]
enum Pair {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

fn encode_icmpv4(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let icmp_type = match (kind, code) {
        (8, 0) => Icmpv4Type::EchoRequest(IcmpEchoHeader::from_bytes(rest)),
        (0, 0) => Icmpv4Type::EchoReply(IcmpEchoHeader::from_bytes(rest)),
        _ => Icmpv4Type::Unknown {
            type_u8: kind,
            code_u8: code,
            bytes5to8: rest,
        },
    };
    let mut bytes = Icmpv4Header::with_checksum(icmp_type, payload)
        .to_bytes()
        .to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn decode_tcp(tcp: &etherparse::TcpSlice<'_>) -> Result<Segment, String> {
    let bit = |on: bool, bit: u16| if on { bit } else { 0 };
    let flags = bit(tcp.fin(), Flags::FIN)
        | bit(tcp.syn(), Flags::SYN)
        | bit(tcp.rst(), Flags::RST)
        | bit(tcp.psh(), Flags::PSH)
        | bit(tcp.ack(), Flags::ACK)
        | bit(tcp.urg(), Flags::URG)
        | bit(tcp.ece(), Flags::ECE)
        | bit(tcp.cwr(), Flags::CWR)
        | bit(tcp.ns(), Flags::AE);
    Ok(Segment {
        flags: Flags(flags),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        win: tcp.window_size(),
        urg: tcp.urgent_pointer(),
        options: tcp_options::decode(tcp.options())?,
        payload: tcp.payload().to_vec(),
    })
}

/// Flags as scripts write them.
pub(crate) fn flags_text(flags: Flags) -> String {
    let letters: String = Flags::LETTERS
        .iter()
        .filter(|(_, bit)| flags.has(*bit))
        .map(|(letter, _)| *letter)
        .collect();
    if letters.is_empty() {
        "-".to_owned()
    } else {
        letters
    }
}

/// Options as scripts write them, without the angle brackets.
pub(crate) fn options_text(options: &[TcpOption]) -> String {
    if options.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = options.iter().map(tcp_options::text).collect();
    texts.join(",")
}

/// As scripts write it, ports and all.
impl fmt::Display for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = (self.source.port(), self.destination.port());
        match &self.transport {
            Transport::Tcp(segment) => {
                let (seq, len) = (segment.seq, segment.payload.len());
                write!(
                    f,
                    "{source} > {destination} {} {seq}:{}({len})",
                    flags_text(segment.flags),
                    seq.wrapping_add(len as u32)
                )?;
                if segment.flags.has(Flags::ACK) {
                    write!(f, " ack {}", segment.ack)?;
                }
                write!(f, " win {}", segment.win)?;
                if !segment.options.is_empty() {
                    write!(f, " <{}>", options_text(&segment.options))?;
                }
                Ok(())
            }
            Transport::Udp(payload) => {
                write!(f, "udp {source} > {destination} ({})", payload.len())
            }
            Transport::Icmp { kind, code, .. } => write!(f, "icmp type {kind} code {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(options: Vec<TcpOption>) -> Datagram {
        Datagram {
            source: "192.0.2.1:1001".parse().unwrap(),
            destination: "192.168.0.1:8080".parse().unwrap(),
            tos: 0x41,
            ttl: 64,
            transport: Transport::Tcp(Segment {
                flags: Flags(Flags::PSH | Flags::ACK | Flags::ECE),
                seq: 7,
                ack: 9,
                win: 100,
                urg: 0,
                options,
                payload: vec![1, 2, 3],
            }),
        }
    }

    #[test]
    fn ipv6_is_built_and_read_back() {
        let mut packet = segment(vec![TcpOption::Mss(1440)]);
        packet.source = "[2001:db8::1]:1001".parse().unwrap();
        packet.destination = "[fd3d:fa7b:d17d::1]:8080".parse().unwrap();
        let mut bytes = packet.encode().unwrap();
        assert_eq!(Datagram::decode(&bytes, true).unwrap(), packet);
        *bytes.last_mut().unwrap() ^= 1;
        assert!(Datagram::decode(&bytes, true).is_err());
        packet.destination = "192.168.0.1:8080".parse().unwrap();
        assert!(packet.encode().is_err());
    }

    #[test]
    fn what_is_built_is_read_back() {
        let packet = segment(vec![
            TcpOption::Mss(1460),
            TcpOption::SackPermitted,
            TcpOption::Timestamp { val: 5, ecr: 6 },
            TcpOption::Nop,
            TcpOption::WindowScale(7),
            TcpOption::Sack(vec![(1, 2)]),
            TcpOption::Nop,
            TcpOption::Nop,
        ]);
        let bytes = packet.encode().unwrap();
        assert_eq!(Datagram::decode(&bytes, true).unwrap(), packet);
    }

    #[test]
    fn a_wrong_checksum_is_told() {
        let mut bytes = segment(Vec::new()).encode().unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(Datagram::decode(&bytes, true).is_err());
        assert!(Datagram::decode(&bytes, false).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let _ = Datagram::decode(&bytes, true);
        }
    }
}
