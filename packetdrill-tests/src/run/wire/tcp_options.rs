//! TCP options as bytes and as text. Order and padding are kept as they are: scripts compare them.

use crate::ast::TcpOption;

/// Kind of the experimental option, and the magic number of Fast Open in it (RFC 6994, RFC 7413).
const EXPERIMENT: u8 = 254;
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];

/// Kinds of accurate ECN's option: ECT(0) first, ECT(1) first (RFC 9768).
const ACC_ECN: [u8; 2] = [172, 174];
const MD5: u8 = 19;
const AO: u8 = 29;

/// The options' bytes, padded with end-of-list to a multiple of four.
pub(super) fn encode(options: &[TcpOption]) -> Vec<u8> {
    let mut out = Vec::new();
    for option in options {
        match option {
            TcpOption::Nop => out.push(1),
            TcpOption::Eol => out.push(0),
            TcpOption::Mss(mss) => push(&mut out, 2, &mss.to_be_bytes()),
            TcpOption::WindowScale(shift) => push(&mut out, 3, &[*shift]),
            TcpOption::SackPermitted => push(&mut out, 4, &[]),
            TcpOption::Sack(blocks) => {
                let bytes: Vec<u8> = blocks
                    .iter()
                    .flat_map(|(left, right)| [left.to_be_bytes(), right.to_be_bytes()])
                    .flatten()
                    .collect();
                push(&mut out, 5, &bytes);
            }
            TcpOption::Timestamp { val, ecr } => {
                let bytes = [val.to_be_bytes(), ecr.to_be_bytes()].concat();
                push(&mut out, 8, &bytes);
            }
            TcpOption::Md5(digest) => push(&mut out, MD5, digest),
            TcpOption::Ao {
                key_id,
                next_key_id,
                mac,
            } => push(&mut out, AO, &[&[*key_id, *next_key_id], &mac[..]].concat()),
            TcpOption::AccEcn {
                e1b_first,
                counters,
            } => {
                let bytes = counters
                    .iter()
                    .flat_map(|count| count.to_be_bytes()[1..].to_vec());
                let kind = ACC_ECN[usize::from(*e1b_first)];
                push(&mut out, kind, &bytes.collect::<Vec<u8>>());
            }
            TcpOption::FastOpen(cookie) => push(&mut out, 34, cookie),
            TcpOption::FastOpenExp(cookie) => {
                push(
                    &mut out,
                    EXPERIMENT,
                    &[&FAST_OPEN_MAGIC[..], cookie].concat(),
                );
            }
            TcpOption::Unknown(kind, data) => push(&mut out, *kind, data),
        }
    }
    while out.len() % 4 != 0 {
        out.push(0);
    }
    out
}

fn push(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    out.push(kind);
    out.push((data.len() + 2).min(255) as u8);
    out.extend_from_slice(data);
}

/// The options in order; end-of-list bytes are padding and are left out.
///
/// # Errors
/// A length that is too short or runs past the header.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<TcpOption>, String> {
    let mut options = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        match kind {
            0 => {
                if rest.iter().any(|byte| *byte != 0) {
                    return Err("something follows the end of the TCP options".to_owned());
                }
                break;
            }
            1 => {
                options.push(TcpOption::Nop);
                bytes = rest;
            }
            _ => {
                let len = rest.first().map_or(0, |len| usize::from(*len));
                if len < 2 || len > bytes.len() {
                    return Err(format!("TCP option {kind} has a wrong length"));
                }
                options.push(decode_one(*kind, &bytes[2..len]));
                bytes = &bytes[len..];
            }
        }
    }
    Ok(options)
}

fn decode_one(kind: u8, data: &[u8]) -> TcpOption {
    let word = |at: usize| {
        let bytes = [data[at], data[at + 1], data[at + 2], data[at + 3]];
        u32::from_be_bytes(bytes)
    };
    match (kind, data.len()) {
        (2, 2) => TcpOption::Mss(u16::from_be_bytes([data[0], data[1]])),
        (3, 1) => TcpOption::WindowScale(data[0]),
        (4, 0) => TcpOption::SackPermitted,
        (5, len) if len > 0 && len % 8 == 0 => TcpOption::Sack(
            (0..len)
                .step_by(8)
                .map(|at| (word(at), word(at + 4)))
                .collect(),
        ),
        (8, 8) => TcpOption::Timestamp {
            val: word(0),
            ecr: word(4),
        },
        (MD5, _) => TcpOption::Md5(data.to_vec()),
        (AO, 2..) => TcpOption::Ao {
            key_id: data[0],
            next_key_id: data[1],
            mac: data[2..].to_vec(),
        },
        (172 | 174, len) if len % 3 == 0 => TcpOption::AccEcn {
            e1b_first: kind == ACC_ECN[1],
            counters: data
                .chunks(3)
                .map(|count| u32::from_be_bytes([0, count[0], count[1], count[2]]))
                .collect(),
        },
        (34, _) => TcpOption::FastOpen(data.to_vec()),
        (EXPERIMENT, len) if len >= 2 && data[..2] == FAST_OPEN_MAGIC => {
            TcpOption::FastOpenExp(data[2..].to_vec())
        }
        _ => TcpOption::Unknown(kind, data.to_vec()),
    }
}

/// One option as scripts write it.
pub(super) fn text(option: &TcpOption) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    match option {
        TcpOption::Nop => "nop".to_owned(),
        TcpOption::Eol => "eol".to_owned(),
        TcpOption::Mss(mss) => format!("mss {mss}"),
        TcpOption::WindowScale(shift) => format!("wscale {shift}"),
        TcpOption::SackPermitted => "sackOK".to_owned(),
        TcpOption::Sack(blocks) => blocks
            .iter()
            .fold("sack".to_owned(), |text, (left, right)| {
                format!("{text} {left}:{right}")
            }),
        TcpOption::Timestamp { val, ecr } => format!("TS val {val} ecr {ecr}"),
        TcpOption::Md5(digest) => format!("md5 {}", hex(digest)),
        TcpOption::Ao {
            key_id,
            next_key_id,
            mac,
        } => format!("TCP-AO {key_id} {next_key_id} {}", hex(mac)),
        TcpOption::AccEcn {
            e1b_first,
            counters,
        } => {
            let names = match e1b_first {
                true => ["e1b", "ceb", "e0b"],
                false => ["e0b", "ceb", "e1b"],
            };
            names
                .iter()
                .zip(counters)
                .fold("ECN".to_owned(), |text, (name, count)| {
                    format!("{text} {name} {count}")
                })
        }
        TcpOption::FastOpen(cookie) => format!("FO {}", hex(cookie)),
        TcpOption::FastOpenExp(cookie) => format!("FOEXP {}", hex(cookie)),
        TcpOption::Unknown(kind, data) => format!("option {kind} {}", hex(data)),
    }
}
