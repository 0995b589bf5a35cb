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

#[test]
fn accurate_ecn_in_flags_and_options() {
    let (_, counted) = tcp("+0 > P5. 1:1001(1000) ack 1 <ECN e1b 1 ceb 0 e0b 16777215,nop>");
    let ace5 = Flags::AE | Flags::ECE;
    assert_eq!(counted.flags.0, ace5 | Flags::PSH | Flags::ACK);
    let option = TcpOption::AccEcn {
        e1b_first: true,
        counters: vec![1, 0, 0xff_ffff],
    };
    assert_eq!(counted.options.unwrap(), [option, TcpOption::Nop]);
    let (_, bare) = tcp("+0 > .2 1:1(0) ack 1 <ECN e0b 7>");
    assert_eq!(bare.flags.0, Flags::CWR | Flags::ACK);
    let (_, letters) = tcp("+0 < SEWA 0:0(0) win 100");
    let all = Flags::SYN | Flags::ECE | Flags::CWR | Flags::AE;
    assert_eq!(letters.flags.0, all);
    for bad in [
        "+0 > .8 1:1(0)",
        "+0 > .55 1:1(0)",
        "+0 > . 1:1(0) <ECN e0b 16777216>",
        "+0 > . 1:1(0) <ECN ceb 1>",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn signatures_in_options() {
    let (_, tcp) = tcp("+0 < . 1:1(0) ack 1 <md5 0001ff,nop,nop,TCP-AO 1 2 abcd>");
    assert_eq!(
        tcp.options.unwrap(),
        [
            TcpOption::Md5(vec![0, 1, 255]),
            TcpOption::Nop,
            TcpOption::Nop,
            TcpOption::Ao {
                key_id: 1,
                next_key_id: 2,
                mac: vec![0xab, 0xcd]
            }
        ]
    );
}

#[test]
fn headers_around_a_packet() {
    let (packet, syn) = tcp(
        "+0 < ipv4 192.0.2.1 > 192.168.0.1: gre flags [key present],sum 0,off 0,key=7,seq 0: \
         mpls (label 0,tc 0,ttl 0) (label 1048575,tc 3,[S],ttl 64): S 0:0(0)",
    );
    assert_eq!(syn.flags.0, Flags::SYN);
    let names: Vec<_> = packet
        .encapsulation
        .iter()
        .map(Encapsulation::name)
        .collect();
    assert_eq!(names, ["ipv4", "gre", "mpls"]);
    let [
        _,
        Encapsulation::Gre { flags, key, .. },
        Encapsulation::Mpls(labels),
    ] = &packet.encapsulation[..]
    else {
        panic!("{packet:?}");
    };
    assert_eq!((*flags, *key), (0x2000, 7));
    assert!(!labels[0].bottom && labels[1].bottom && labels[1].label == 0xf_ffff);
    let (packet, _) = tcp("+0 > [ect0] ipv6 2001:db8::1 > ::1: . 1:1(0) ack 1");
    let addresses = Encapsulation::Ip {
        source: "2001:db8::1".parse().unwrap(),
        destination: "::1".parse().unwrap(),
    };
    assert_eq!(packet.encapsulation, [addresses]);
    for bad in [
        "+0 < ipv4 ::1 > ::2: S 0:0(0)",
        "+0 < ipv4 1.2.3 > 1.2.3.4: S 0:0(0)",
        "+0 < mpls: S 0:0(0)",
        "+0 < mpls (label 1048576,tc 0,ttl 0): S 0:0(0)",
        "+0 < gre flags [no]: S 0:0(0)",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn icmp_by_the_names_of_both_families() {
    let icmp = |text: &str| match events(text).remove(0).action {
        Action::Packet(Packet {
            body: Body::Icmp(icmp),
            ..
        }) => icmp,
        other => panic!("{text}: {other:?}"),
    };
    let of_v4 = icmp("+0 < icmp unreachable frag_needed mtu 1400 [1:1001(1000)]");
    assert_eq!(
        icmp("+0 < icmp packet_too_big mtu 1400 [1:1001(1000)]"),
        of_v4
    );
    let host = icmp("+0 < icmp unreachable host_unreachable");
    assert_eq!(icmp("+0 < icmp unreachable address_unreachable"), host);
    assert_eq!(
        icmp("+0 < icmp unreachable [raw (8)]").echoed,
        Some(Echoed::Raw(8))
    );
}
