//! Scripts that must not pass do not, and say why: the other tests can fail.

use packetdrill_tests::report::{Blame, Failure};
use packetdrill_tests::run::Config;
use packetdrill_tests::{Against, run_text};

/// A listener on the script's address.
const LISTENER: &str = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 1000 <mss 1000>
";

fn failure(rest: &str) -> Failure {
    let script = format!("{LISTENER}{rest}");
    match run_text(&script, Against::Netstack, &Config::default()) {
        Ok(()) => panic!("this passes:\n{script}"),
        Err(failure) => *failure,
    }
}

/// The names of the rows that differ.
fn differing(failure: &Failure) -> Vec<&'static str> {
    let rows = failure.rows.iter();
    rows.filter(|row| !row.agrees).map(|row| row.name).collect()
}

#[test]
fn each_field_of_a_packet_is_compared() {
    let cases = [
        ("+0 > S 0:0(0) <mss 1460>", "flags"),
        ("+0 > S. 0:0(0) ack 2 <mss 1460>", "ack"),
        ("+0 > S. 0:0(0) ack 1 win 1 <mss 1460>", "win"),
        ("+0 > S. 0:0(0) ack 1 <mss 1459>", "options"),
        ("+0 > S. 0:0(0) ack 1", "options"),
        ("+0 > S. 0:1(1) ack 1 <mss 1460>", "data"),
        ("+0 > [ect0] S. 0:0(0) ack 1 <mss 1460>", "ecn"),
        ("+.1 > S. 0:0(0) ack 1 <mss 1460>", "time"),
        ("+0 > 8080 > 5 S. 0:0(0) ack 1 <mss 1460>", "ports"),
    ];
    for (line, row) in cases {
        let failure = failure(line);
        assert_eq!(failure.blame, Blame::Target, "{line}");
        assert_eq!(failure.pos.line, 5, "{line}");
        assert!(differing(&failure).contains(&row), "{line}: {failure:?}");
    }
}

#[test]
fn sequence_numbers_of_later_segments_are_compared() {
    let failure = failure(
        "+0 > S. 0:0(0) ack 1 <mss 1460>
+0 < . 1:1(0) ack 1 win 1000
+0 accept(3, ..., ...) = 4
+0 write(4, ..., 10) = 10
+0 > P. 2:12(10) ack 1",
    );
    assert!(differing(&failure).contains(&"seq"));
    assert!(
        failure
            .history
            .iter()
            .any(|line| line.contains("write(...) = 10"))
    );
}

#[test]
fn a_packet_that_no_line_expects_is_told() {
    let missing = failure("+.5 accept(3, ..., ...) = 4");
    assert!(missing.summary.contains("does not expect"), "{missing:?}");
    let trailing = failure("+0 close(3) = 0");
    assert!(trailing.summary.contains("does not expect"), "{trailing:?}");
}

#[test]
fn a_packet_that_does_not_come_is_told() {
    let failure = failure(
        "+0 > S. 0:0(0) ack 1 <mss 1460>
+0 > . 1:1(0) ack 1",
    );
    assert!(failure.summary.contains("no packet"), "{failure:?}");
}

#[test]
fn calls_are_compared() {
    let synack = "+0 > S. 0:0(0) ack 1 <mss 1460>\n";
    let cases = [
        ("+0 accept(3, ..., ...) = 4", "returns"),
        ("+0 close(3) = -1 EBADF", "returns"),
        ("+0...0.2 accept(3, ..., ...) = 4", "time"),
        (
            "+0 getsockopt(3, SOL_TCP, TCP_SYNCNT, [77], [4]) = 0",
            "value",
        ),
        (
            "+0 poll([{fd=3, events=POLLIN, revents=POLLIN}], 1, 0) = 1",
            "revents",
        ),
    ];
    for (line, row) in cases {
        let failure = failure(&format!("{synack}{line}"));
        assert!(differing(&failure).contains(&row), "{line}: {failure:?}");
    }
}

#[test]
fn what_is_not_supported_is_an_error_and_never_a_pass() {
    let cases = [
        "+0 %{ import os }%",
        "+0 %{ assert tcpi_no_such_field == 0 }%",
        "+0 `tc qdisc add dev tun0 root fq`",
        "+0 `sysctl -q net.ipv4.no_such_setting=1`",
        "+0 setsockopt(3, SOL_SOCKET, SO_BUSY_POLL, [1], 4) = 0",
        "+0 < gre: . 1:1(0) ack 1",
        "+0 splice(3, NULL, 4, NULL, 1, 0) = 1",
        "+0 close(3) = NO_SUCH_NAME",
    ];
    for line in cases {
        let failure = failure(&format!("+0 > S. 0:0(0) ack 1 <mss 1460>\n{line}"));
        assert_eq!(failure.blame, Blame::Script, "{line}: {failure:?}");
    }
}

#[test]
fn a_failing_assertion_shows_the_values() {
    let failure = failure(
        "+0 > S. 0:0(0) ack 1 <mss 1460>
+0 < . 1:1(0) ack 1 win 1000
+0 accept(3, ..., ...) = 4
+0 %{ assert tcpi_state == TCP_CLOSE, tcpi_state }%",
    );
    assert_eq!(failure.blame, Blame::Target);
    assert!(
        failure.rows[0].seen.contains("tcpi_state = 1"),
        "{failure:?}"
    );
}

#[test]
fn the_report_shows_both_sides() {
    let failure = failure("+0 > R. 0:0(0) ack 1");
    let text = failure.render("x.pkt", &format!("{LISTENER}+0 > R. 0:0(0) ack 1"));
    assert!(text.starts_with("FAIL x.pkt:5: "), "{text}");
    assert!(text.contains("5 | +0 > R. 0:0(0) ack 1"), "{text}");
    let flags = text
        .lines()
        .find(|line| line.trim_start().starts_with("flags"));
    let flags = flags.expect("a line about flags");
    assert!(flags.contains("R.") && flags.contains("S.") && flags.contains("differs"));
}
