//! Control messages in scripts: `{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=9000}`, with
//! `struct sock_extended_err` and `struct scm_timestamping` by the names of their fields.

use super::super::target::Control;
use super::super::times;
use super::{Args, Row, values};
use crate::ast::{Expr, Micros};

/// A message as a script says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    level: i32,
    kind: i32,
    data: Data,
}

/// What it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    /// An `int`.
    Int(i32),
    /// The first six fields of `struct sock_extended_err`.
    Error([u32; 6]),
    /// The first time of `struct scm_timestamping`, since the start of the script.
    Time(Micros),
    /// Other bytes, which only messages that came may have.
    Other(Vec<u8>),
}

/// `ee_errno` to `ee_data`, in their order.
const ERROR_FIELDS: [&str; 6] = [
    "ee_errno",
    "ee_origin",
    "ee_type",
    "ee_code",
    "ee_info",
    "ee_data",
];

/// The messages of a `msg_control=[...]`.
pub(super) fn messages(expr: &Expr) -> Args<Vec<Message>> {
    let Expr::Array(items) = expr else {
        return Err("msg_control is an array of {cmsg_level=, cmsg_type=, cmsg_data=}".to_owned());
    };
    items.iter().map(message).collect()
}

fn message(expr: &Expr) -> Args<Message> {
    let Expr::Struct(fields) = expr else {
        return Err("a control message is {cmsg_level=, cmsg_type=, cmsg_data=}".to_owned());
    };
    let get = |name: &str| {
        let found = values::field(fields, name);
        found.ok_or_else(|| format!("a control message needs {name}"))
    };
    Ok(Message {
        level: values::int32(get("cmsg_level")?)?,
        kind: values::int32(get("cmsg_type")?)?,
        data: data(get("cmsg_data")?)?,
    })
}

fn data(expr: &Expr) -> Args<Data> {
    let Expr::Struct(fields) = expr else {
        return values::int32(expr).map(Data::Int);
    };
    let number = |name: &str| match values::field(fields, name) {
        Some(expr) => values::int(expr),
        None => Err(format!("this cmsg_data has no {name}")),
    };
    if let (Ok(seconds), Ok(nanos)) = (number("scm_sec"), number("scm_nsec")) {
        let micros = seconds.checked_mul(1_000_000);
        let micros = micros.and_then(|micros| micros.checked_add(nanos / 1_000));
        return micros
            .map(Data::Time)
            .ok_or_else(|| "this time is out of range".to_owned());
    }
    let mut values = [0; 6];
    for (value, name) in values.iter_mut().zip(ERROR_FIELDS) {
        let found = number(name)?;
        // Errors of a report are positive numbers, by name or not.
        *value = u32::try_from(found).map_err(|_| format!("{name} is out of range"))?;
    }
    Ok(Data::Error(values))
}

/// A message that came, as a script would say it. `like` is what the script expects in its place.
fn seen(control: &Control, like: Option<&Data>) -> Message {
    let word = |at: usize| {
        let bytes = control.data.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let long = |at: usize| {
        let bytes = control.data.get(at..at + 8)?;
        Some(i64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let error = || {
        let bytes = control.data.get(4..8)?;
        let [origin, kind, code] = [0, 1, 2].map(|at| u32::from(bytes[at]));
        Some(Data::Error([
            word(0)?,
            origin,
            kind,
            code,
            word(8)?,
            word(12)?,
        ]))
    };
    let time = || {
        let micros = long(0)?.checked_mul(1_000_000)?;
        Some(Data::Time(micros.checked_add(long(8)? / 1_000)?))
    };
    let data = match like {
        Some(Data::Time(_)) => time(),
        Some(Data::Error(_)) => error(),
        Some(Data::Int(_)) => word(0).map(|word| Data::Int(word.cast_signed())),
        _ => None,
    };
    Message {
        level: control.level,
        kind: control.kind,
        data: data.unwrap_or_else(|| Data::Other(control.data.clone())),
    }
}

/// A row for each message that is expected or came. Times may be off by `tolerance`.
pub(super) fn rows(expected: &[Message], came: &[Control], tolerance: Micros) -> Vec<Row> {
    let count = expected.len().max(came.len());
    (0..count)
        .map(|index| {
            let wanted = expected.get(index);
            let seen = came
                .get(index)
                .map(|control| seen(control, wanted.map(|message| &message.data)));
            let text = |message: Option<&Message>| message.map_or("none".to_owned(), describe);
            let mut row = Row::new("cmsg", text(wanted), text(seen.as_ref()));
            if let (Some(wanted), Some(seen)) = (wanted, &seen) {
                row.agrees = agree(wanted, seen, tolerance);
            }
            row
        })
        .collect()
}

fn agree(wanted: &Message, seen: &Message, tolerance: Micros) -> bool {
    let data = match (&wanted.data, &seen.data) {
        (Data::Time(wanted), Data::Time(seen)) => (wanted - seen).abs() <= tolerance,
        (wanted, seen) => wanted == seen,
    };
    data && (wanted.level, wanted.kind) == (seen.level, seen.kind)
}

fn describe(message: &Message) -> String {
    let data = match &message.data {
        Data::Int(value) => value.to_string(),
        Data::Time(micros) => times::text(*micros),
        Data::Error(values) => {
            let fields = ERROR_FIELDS.iter().zip(values);
            let texts: Vec<String> = fields.map(|(name, v)| format!("{name}={v}")).collect();
            texts.join(",")
        }
        Data::Other(bytes) => format!("{} bytes", bytes.len()),
    };
    format!("level {} type {}: {data}", message.level, message.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    /// The messages of a `msg_control` written as a script has it.
    fn script(text: &str) -> Args<Vec<Message>> {
        let script = parse(&format!("0 f({{msg_control={text}}}) = 0")).expect("it parses");
        let crate::ast::Action::Call(call) = &script.events[0].action else {
            panic!("a call");
        };
        let Expr::Struct(fields) = &call.args[0] else {
            panic!("a structure");
        };
        messages(&fields[0].1)
    }

    #[test]
    fn messages_of_every_kind_are_compared() {
        let wanted = script(
            "[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=9000},
              {cmsg_level=SOL_SOCKET, cmsg_type=SCM_TIMESTAMPING, cmsg_data={scm_sec=1,scm_nsec=20000000}},
              {cmsg_level=SOL_IP, cmsg_type=IP_RECVERR, cmsg_data={ee_errno=ENOMSG,
                ee_origin=SO_EE_ORIGIN_TIMESTAMPING, ee_type=0, ee_code=0,
                ee_info=SCM_TSTAMP_ACK, ee_data=7}}]",
        )
        .expect("messages");
        let control = |level, kind, data: Vec<u8>| Control { level, kind, data };
        let time = [1_i64, 20_000_500, 0, 0, 0, 0]
            .map(i64::to_ne_bytes)
            .concat();
        let mut error = 42_u32.to_ne_bytes().to_vec();
        error.extend([4, 0, 0, 0]);
        error.extend([2_u32, 7].map(u32::to_ne_bytes).concat());
        // The address of who said so may follow.
        error.extend([0; 16]);
        let mut came = vec![
            control(6, 36, 9000_i32.to_ne_bytes().to_vec()),
            control(1, 37, time),
            control(0, 11, error),
        ];
        let agrees = |came: &[Control], tolerance| -> Vec<bool> {
            let rows = rows(&wanted, came, tolerance);
            rows.iter().map(|row| row.agrees).collect()
        };
        assert_eq!(agrees(&came, 0), [true, true, true]);
        assert_eq!(agrees(&came[..2], 0), [true, true, false]);
        came[0].data[0] ^= 1;
        came[1].data[8..16].copy_from_slice(&30_000_000_i64.to_ne_bytes());
        came[2].data[12] = 8;
        assert_eq!(agrees(&came, 9_000), [false, false, false]);
        assert_eq!(agrees(&came, 10_000), [false, true, false]);
        came.push(control(1, 2, vec![1]));
        assert_eq!(agrees(&came, 0).len(), 4, "one that nobody expects is told");
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for text in [
            "5",
            "[5]",
            "[{cmsg_level=1, cmsg_type=2}]",
            "[{cmsg_level=1, cmsg_type=2, cmsg_data={ee_errno=0}}]",
            "[{cmsg_level=1, cmsg_type=2, cmsg_data={scm_sec=9223372036854775807,scm_nsec=0}}]",
        ] {
            assert!(script(text).is_err(), "{text}");
        }
        assert_eq!(script("[]"), Ok(Vec::new()));
    }
}
