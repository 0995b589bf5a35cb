//! The virtio network header (virtio 1.2, section 5.1.6) in front of each packet of a TUN or
//! AF_PACKET descriptor: how the kernel and we leave checksums and segmentation to each other.

use crate::buf::{GsoKind, RxChecksum, TxPacket};

/// Length of the header without `num_buffers`, which only a real virtio queue has.
pub(crate) const VNET_HEADER_LEN: usize = 10;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// TCP's CWR flag, in byte 13 of its header.
const TCP_CWR: u8 = 0x80;

/// The header that tells the kernel what is left to do for `packet`.
pub(crate) fn encode(packet: &TxPacket) -> [u8; VNET_HEADER_LEN] {
    let mut header = [0; VNET_HEADER_LEN];
    let Some(partial) = packet.offload.checksum else {
        return header;
    };
    let transport = usize::from(packet.link_header_len) + usize::from(partial.start);
    header[0] = F_NEEDS_CSUM;
    put(&mut header, 6, transport as u16);
    put(&mut header, 8, partial.offset);
    let head_len = packet.head.len();
    let gso_size = packet.offload.gso_size;
    if gso_size > 0 && packet.len() - head_len > usize::from(gso_size) {
        header[1] = gso_type(packet, transport);
        put(&mut header, 2, head_len as u16);
        put(&mut header, 4, gso_size);
    }
    header
}

fn gso_type(packet: &TxPacket, transport: usize) -> u8 {
    let kind = match packet.offload.gso_kind {
        GsoKind::None => return 0,
        GsoKind::Tcp4 => GSO_TCPV4,
        GsoKind::Tcp6 => GSO_TCPV6,
        GsoKind::Udp => return GSO_UDP_L4,
    };
    let flags = packet.head.as_slice().get(transport + 13);
    match flags {
        Some(flags) if flags & TCP_CWR != 0 => kind | GSO_ECN,
        _ => kind,
    }
}

/// What the kernel says of a received packet: is its checksum known to be good, and how many
/// payload bytes each merged segment had (0: a single packet).
pub(crate) fn decode(header: &[u8; VNET_HEADER_LEN]) -> (RxChecksum, u16) {
    let checksum = if header[0] & (F_NEEDS_CSUM | F_DATA_VALID) != 0 {
        RxChecksum::Valid
    } else {
        RxChecksum::Unverified
    };
    // A kind that we did not ask for says nothing of how its payload is to be cut.
    let gso_size = match header[1] & !GSO_ECN {
        GSO_TCPV4 | GSO_TCPV6 | GSO_UDP_L4 => u16::from_ne_bytes([header[4], header[5]]),
        _ => 0,
    };
    (checksum, gso_size)
}

fn put(header: &mut [u8; VNET_HEADER_LEN], at: usize, value: u16) {
    header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::{Bytes, PartialChecksum, TxOffload};

    fn packet(payload: usize, gso_size: u16) -> TxPacket {
        let mut packet = TxPacket {
            link_header_len: 14,
            offload: TxOffload {
                checksum: Some(PartialChecksum {
                    start: 20,
                    offset: 16,
                }),
                gso_size,
                gso_kind: GsoKind::Tcp4,
            },
            ..TxPacket::default()
        };
        packet.head.push_front(14 + 20 + 20);
        packet.body.push(Bytes::from(vec![0; payload]));
        packet
    }

    #[test]
    fn offsets_count_from_the_frame() {
        let header = encode(&packet(3_000, 1_448));
        assert_eq!(header[0], F_NEEDS_CSUM);
        assert_eq!(header[1], GSO_TCPV4);
        let at = |i: usize| u16::from_ne_bytes([header[i], header[i + 1]]);
        assert_eq!((at(2), at(4), at(6), at(8)), (54, 1_448, 34, 16));
    }

    #[test]
    fn a_packet_that_fits_one_segment_is_not_cut() {
        assert_eq!(encode(&packet(1_448, 1_448))[1], 0);
    }

    #[test]
    fn cwr_is_announced() {
        let mut packet = packet(3_000, 1_448);
        packet.head.as_mut_slice()[34 + 13] = TCP_CWR;
        assert_eq!(encode(&packet)[1], GSO_TCPV4 | GSO_ECN);
    }

    #[test]
    fn what_we_write_is_understood() {
        assert_eq!(
            decode(&encode(&packet(3_000, 1_448))),
            (RxChecksum::Valid, 1_448)
        );
        assert_eq!(decode(&[0; VNET_HEADER_LEN]), (RxChecksum::Unverified, 0));
    }

    #[test]
    fn unknown_kinds_are_single_packets() {
        for kind in 0..=255 {
            let header = [0, kind, 9, 9, 7, 0, 9, 9, 9, 9];
            let known = [GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4].contains(&(kind & !GSO_ECN));
            assert_eq!(decode(&header).1 != 0, known, "{kind}");
        }
    }
}
