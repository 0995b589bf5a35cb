use super::*;
use crate::ast::*;

fn events(text: &str) -> Vec<Event> {
    parse(text)
        .unwrap_or_else(|error| panic!("{text}: {error} at {:?}", error.pos))
        .events
}

fn tcp(text: &str) -> (Packet, Tcp) {
    let Action::Packet(packet) = events(text).remove(0).action else {
        panic!("{text} is no packet");
    };
    let Body::Tcp(tcp) = packet.body.clone() else {
        panic!("{text} is no TCP packet");
    };
    (packet, tcp)
}

#[test]
fn a_syn_with_options_and_ports() {
    let (packet, tcp) = tcp(
        "+0 < 1001 > 8080 SEW 0:0(0) win 32792 <mss 1000,sackOK,nop,TS val 5 ecr 0,wscale 7,FO 0a1b,eol>",
    );
    assert_eq!(packet.ports, Some((1001, 8080)));
    assert_eq!(packet.direction, Direction::In);
    assert_eq!(tcp.flags.0, Flags::SYN | Flags::ECE | Flags::CWR);
    assert_eq!((tcp.win, tcp.ack), (Some(32792), None));
    assert_eq!(
        tcp.options.unwrap(),
        [
            TcpOption::Mss(1000),
            TcpOption::SackPermitted,
            TcpOption::Nop,
            TcpOption::Timestamp { val: 5, ecr: 0 },
            TcpOption::WindowScale(7),
            TcpOption::FastOpen(vec![0x0a, 0x1b]),
            TcpOption::Eol
        ]
    );
}

#[test]
fn an_ack_with_ecn_and_any_options() {
    let (packet, tcp) = tcp("0.1~0.2 > [ect0] P. 1:1001(1000) ack 1 <...>");
    assert_eq!(packet.ip.tos, Some(Tos::Ecn(2)));
    assert_eq!((tcp.seq, tcp.len, tcp.options), (1, 1000, None));
}

#[test]
fn times_of_every_kind() {
    let text =
        "0 close(3) = 0 +.1 close(3) = 0 1~2 close(3) = 0 +1~+2.5 close(3) = 0 * close(3) = 0";
    let times: Vec<When> = events(text).iter().map(|event| event.time).collect();
    assert_eq!(
        times,
        [
            When::At(0),
            When::After(100_000),
            When::Between(1_000_000, 2_000_000),
            When::AfterBetween(1_000_000, 2_500_000),
            When::Any
        ]
    );
}

#[test]
fn calls_with_every_kind_of_argument() {
    let text = r#"0...0.5 setsockopt(3, SOL_SOCKET | 1, SO_LINGER, {onoff=1, linger=5}, 8) = -1 EINVAL (Invalid argument)
        +0 sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=0}, 0) = 10
        +0 connect(3, {sa_family = AF_INET, sin_port = htons(8080), sin_addr = inet_addr("1.2.3.4")}, ...) = 0
        +0 read(4, "ab" "\x41"..., 3) = 3"#;
    let calls: Vec<Call> = events(text)
        .into_iter()
        .map(|event| match event.action {
            Action::Call(call) => call,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(calls[0].end, Some(500_000));
    assert_eq!(calls[0].errno.as_deref(), Some("EINVAL"));
    assert_eq!(
        calls[0].args[3],
        Expr::Struct(vec![
            ("onoff".into(), Expr::Int(1)),
            ("linger".into(), Expr::Int(5))
        ])
    );
    assert_eq!(calls[3].args[1], Expr::Str(b"abA".to_vec()));
    assert_eq!(calls.len(), 4);
}

#[test]
fn udp_icmp_commands_and_code() {
    let script = parse(
        "--tolerance_usecs=100\n`sysctl -q a=1`\n0 > udp 1 > 2 (100)\n+0 < icmp unreachable frag_needed mtu 1200 [1:11(10)]\n+0 %{ assert 1 }%\n+0 `true`\n`cleanup`",
    )
    .unwrap();
    assert_eq!(script.options[0].value.as_deref(), Some("100"));
    assert!(script.init.is_some() && script.cleanup.is_some());
    assert_eq!(script.events.len(), 4);
    let Action::Packet(Packet {
        body: Body::Icmp(icmp),
        ..
    }) = &script.events[1].action
    else {
        panic!("no ICMP");
    };
    assert_eq!((icmp.kind, icmp.code, icmp.mtu), (3, 4, Some(1200)));
    assert_eq!(icmp.echoed, Some(Echoed::Tcp(1, 10)));
}

#[test]
fn errors_name_the_place() {
    let cases = [
        ("0 < X 0:0(0)", 1),
        ("0 close(3) = 0\n+0 < S 0:5(0)", 2),
        ("0 close(3", 1),
        ("0 < S 0:0(0) <foo>", 1),
        ("2~1 close(3) = 0", 1),
        ("0 < udp (70000)", 1),
        ("0", 1),
        ("0 f([[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 1),
    ];
    for (text, line) in cases {
        let error = parse(text).expect_err(text);
        assert_eq!(error.pos.line, line, "{text}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([-+0-9.:<>(){}\\[\\]~*|=,\"`%#/ \n]|S|ack|mss|sack|TS|val|udp|icmp|\\.\\.\\.|--a){0,60}") {
        let _ = parse(&text);
    }
}

#[test]
fn names_stand_for_text() {
    let script = "--define=SIZE=1460\n+0 > S. 0:0(0) ack 1 <mss SIZE,FO COOKIE>\n";
    let defines = [("COOKIE", "3021b9d889017eeb"), ("SIZE", "7")];
    let defines = defines.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let plain = "--define=SIZE=1460\n+0 > S. 0:0(0) ack 1 <mss 1460,FO 3021b9d889017eeb>\n";
    let with = parse_with(script, &defines).expect("defined");
    let without = parse(plain).expect("written out");
    assert_eq!(
        format!("{:?}", with.events[0].action),
        format!("{:?}", without.events[0].action)
    );
    assert!(parse(script).is_err(), "no cookie of that name");
    assert!(parse("--define=SIZE\n+0 close(3) = 0").is_err());
}

#[test]
fn a_script_without_events_is_an_error() {
    for text in [
        "",
        "// nothing\n",
        "--lenient\n",
        "`sysctl -q net.ipv4.tcp_sack=1`",
    ] {
        let error = parse(text).expect_err("it would pass");
        assert!(error.message.contains("no events"), "{error}");
    }
}
