//! Arguments of calls as numbers, bytes and addresses.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::symbols;
use crate::ast::Expr;

/// A number: literal, symbol, bits or'ed together, or a byte-order macro around one.
pub(super) fn int(expr: &Expr) -> Result<i64, String> {
    match expr {
        Expr::Int(value) => Ok(*value),
        Expr::Word(name) => symbols::value(name).ok_or_else(|| format!("{name} is not known here")),
        Expr::Or(left, right) => Ok(int(left)? | int(right)?),
        // A pointer to one number.
        Expr::Array(items) if items.len() == 1 => int(&items[0]),
        Expr::Apply(name, args) if (name == "htons" || name == "htonl") && args.len() == 1 => {
            int(&args[0])
        }
        _ => Err("a number is needed here".to_owned()),
    }
}

/// A number that fits in an `i32`, or in a `u32` whose bits are taken.
pub(super) fn int32(expr: &Expr) -> Result<i32, String> {
    let value = int(expr)?;
    i32::try_from(value)
        .or_else(|_| u32::try_from(value).map(u32::cast_signed))
        .map_err(|_| format!("{value} does not fit in 32 bits"))
}

/// A buffer length, bounded so that a script cannot ask for all memory.
pub(super) fn length(expr: &Expr) -> Result<usize, String> {
    const LENGTH_MAX: i64 = 64 << 20;
    let value = int(expr)?;
    if (0..=LENGTH_MAX).contains(&value) {
        Ok(value as usize)
    } else {
        Err(format!("{value} is no sensible length"))
    }
}

/// The field `name` of a structure.
pub(super) fn field<'a>(fields: &'a [(String, Expr)], name: &str) -> Option<&'a Expr> {
    fields
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
}

/// A socket address; `None` for an ellipsis or NULL.
pub(super) fn address(expr: &Expr) -> Result<Option<SocketAddrV4>, String> {
    match expr {
        Expr::Ellipsis => Ok(None),
        Expr::Int(0) => Ok(None),
        Expr::Word(name) if name == "NULL" => Ok(None),
        Expr::Struct(fields) => {
            let port = match field(fields, "sin_port") {
                Some(expr) => int(expr)?,
                None => return Err("an address needs sin_port".to_owned()),
            };
            let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
            let ip = match field(fields, "sin_addr") {
                Some(Expr::Apply(name, args)) if name == "inet_addr" => inet_addr(args)?,
                Some(expr) if int(expr)? == 0 => Ipv4Addr::UNSPECIFIED,
                _ => return Err("an address needs sin_addr = inet_addr(\"...\")".to_owned()),
            };
            Ok(Some(SocketAddrV4::new(ip, port)))
        }
        _ => Err("a socket address is needed here".to_owned()),
    }
}

fn inet_addr(args: &[Expr]) -> Result<Ipv4Addr, String> {
    let [Expr::Str(text)] = args else {
        return Err("inet_addr takes one string".to_owned());
    };
    let text = String::from_utf8_lossy(text);
    text.parse()
        .map_err(|_| format!("{text} is no IPv4 address"))
}

/// The bytes of an option's value, `len` of them where it is a plain number.
pub(super) fn option_bytes(expr: &Expr, len: usize) -> Result<Vec<u8>, String> {
    match expr {
        Expr::Str(text) => {
            let mut bytes = text.clone();
            bytes.truncate(len);
            Ok(bytes)
        }
        Expr::Struct(fields) => fields
            .iter()
            .try_fold(Vec::new(), |mut bytes, (name, value)| {
                let value = int(value)?;
                if name.starts_with("tv_") {
                    bytes.extend_from_slice(&value.to_le_bytes());
                } else {
                    bytes.extend_from_slice(&(value as i32).to_le_bytes());
                }
                Ok(bytes)
            }),
        Expr::Array(items) if matches!(items.first(), Some(Expr::Struct(_) | Expr::Str(_))) => {
            option_bytes(&items[0], len)
        }
        Expr::Array(items) if items.len() > 1 => {
            items.iter().try_fold(Vec::new(), |mut bytes, item| {
                bytes.extend_from_slice(&int32(item)?.to_le_bytes());
                Ok(bytes)
            })
        }
        Expr::Ellipsis => Ok(vec![0; len]),
        expr => {
            let mut bytes = int(expr)?.to_le_bytes().to_vec();
            bytes.resize(len, 0);
            Ok(bytes)
        }
    }
}

/// A buffer of an iovec: its content, if given, and length.
pub(super) type Buffer = (Option<Vec<u8>>, usize);

/// The buffers of an iovec array: `[{..., 10}, {"abc", 3}]`.
pub(super) fn iovec(expr: &Expr) -> Result<Vec<Buffer>, String> {
    let Expr::Array(items) = expr else {
        return Err("an array of {buffer, length} is needed here".to_owned());
    };
    items
        .iter()
        .map(|item| match item {
            Expr::Struct(fields) if fields.len() == 2 => {
                Ok((content(&fields[0].1)?, length(&fields[1].1)?))
            }
            _ => Err("an iovec is {buffer, length}".to_owned()),
        })
        .collect()
}

/// What a buffer holds, if the script says it.
pub(super) fn content(expr: &Expr) -> Result<Option<Vec<u8>>, String> {
    match expr {
        Expr::Ellipsis => Ok(None),
        Expr::Str(bytes) => Ok(Some(bytes.clone())),
        _ => Err("a buffer is ... or a string".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses() {
        let or = Expr::Or(
            Box::new(Expr::Word("O_RDWR".into())),
            Box::new(Expr::Word("O_NONBLOCK".into())),
        );
        assert_eq!(int(&or), Ok(2 | 0x800));
        assert_eq!(int32(&Expr::Int(0xffff_ffff)), Ok(-1));
        assert!(int(&Expr::Word("NOPE".into())).is_err());
        assert!(length(&Expr::Int(-1)).is_err());
        let sockaddr = Expr::Struct(vec![
            ("sa_family".into(), Expr::Word("AF_INET".into())),
            (
                "sin_port".into(),
                Expr::Apply("htons".into(), vec![Expr::Int(80)]),
            ),
            (
                "sin_addr".into(),
                Expr::Apply("inet_addr".into(), vec![Expr::Str(b"1.2.3.4".to_vec())]),
            ),
        ]);
        assert_eq!(
            address(&sockaddr),
            Ok(Some("1.2.3.4:80".parse().expect("an address")))
        );
    }
}
