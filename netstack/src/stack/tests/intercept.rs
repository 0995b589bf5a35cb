use super::*;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::socket::intercept::{InterceptConfig, Intercepted, TcpOffer, UdpFlow, Unreachable};
use crate::socket::tcp::TcpState;
use crate::socket::{RawKind, Shutdown};

/// Two hosts; everything that A sends goes to B, which takes it.
fn intercepting(medium: Medium, config: InterceptConfig) -> (Wire, SocketId) {
    let mut wire = Wire::new(medium);
    let (iface, gateway) = (wire.hosts[A].iface, wire.hosts[B].addr);
    wire.stack(A).add_default_route(iface, gateway).unwrap();
    let iface = wire.hosts[B].iface;
    let id = wire.stack(B).intercept(iface, config).unwrap();
    (wire, id)
}

fn open(config: InterceptConfig) -> (Wire, SocketId) {
    intercepting(Medium::Ip, config)
}

fn far(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

fn connect(wire: &mut Wire, to: SocketAddr) -> SocketId {
    let id = wire.stack(A).tcp_open();
    let begun = wire.stack(A).tcp_connect(id, to);
    assert_eq!(begun, Err(SocketError::InProgress));
    wire.run();
    id
}

fn next_offer(wire: &mut Wire, id: SocketId) -> TcpOffer {
    match wire.stack(B).intercept_next(id) {
        Some(Intercepted::Tcp(offer)) => offer,
        other => panic!("{other:?} instead of an offer"),
    }
}

fn next_flow(wire: &mut Wire, id: SocketId) -> UdpFlow {
    match wire.stack(B).intercept_next(id) {
        Some(Intercepted::Udp(flow)) => flow,
        other => panic!("{other:?} instead of a flow"),
    }
}

#[test]
fn a_connection_to_any_address_waits_for_the_decision() {
    for medium in [Medium::Ip, Medium::Ethernet] {
        let (mut wire, id) = intercepting(medium, InterceptConfig::default());
        let client = connect(&mut wire, far(4242));
        let seen = events(wire.stack(B));
        assert_eq!(seen, [(id, Readiness::READABLE)]);
        // The SYN again is no second offer, and nothing has been answered.
        wire.hosts[B].sent.clear();
        assert!(wire.tick());
        assert!(wire.hosts[B].sent.is_empty());
        let offer = next_offer(&mut wire, id);
        assert_eq!(offer.to, far(4242));
        assert_eq!(Ok(offer.from), wire.stack(A).local_addr(client));
        assert_eq!(wire.stack(B).intercept_next(id), None);
        assert_eq!(
            wire.stack(B).intercept_readiness(id),
            Some(Readiness::empty())
        );

        let server = wire.stack(B).offer_accept(offer.id).unwrap();
        assert_eq!(
            wire.stack(B).offer_accept(offer.id),
            Err(SocketError::Invalid)
        );
        assert_eq!(wire.stack(B).tcp_state(server), Ok(TcpState::SynReceived));
        wire.run();
        let ready = wire.stack(B).readiness(server);
        assert_eq!(ready, Some(Readiness::WRITABLE));
        assert_eq!(wire.stack(B).local_addr(server), Ok(far(4242)));
        assert_eq!(wire.stack(B).peer_addr(server), Ok(offer.from));
        super::tcp::transfer(&mut wire, (A, client), (B, server), 1 << 20);
        super::tcp::transfer(&mut wire, (B, server), (A, client), 1 << 20);
        // Half close carries on.
        wire.stack(A).shutdown(client, Shutdown::Write).unwrap();
        wire.run();
        assert_eq!(wire.stack(B).tcp_recv(server, &mut [0; 9], false), Ok(0));
        super::tcp::transfer(&mut wire, (B, server), (A, client), 5000);
        wire.stack(B).close(server);
        wire.stack(A).close(client);
        wire.run();
        assert_eq!(wire.stack(B).usage().tcp_sockets, 0);
    }
}

#[test]
fn an_offer_is_refused_dropped_or_called_unreachable() {
    let (mut wire, id) = open(InterceptConfig::default());
    let client = connect(&mut wire, far(1));
    let offer = next_offer(&mut wire, id);
    wire.stack(B).offer_refuse(offer.id).unwrap();
    wire.run();
    assert_eq!(wire.stack(A).take_error(client), Some(SocketError::Refused));

    let client = connect(&mut wire, far(2));
    let offer = next_offer(&mut wire, id);
    let why = Unreachable::Prohibited;
    wire.stack(B).offer_unreachable(offer.id, why).unwrap();
    wire.run();
    // The quote is believed: it names a segment in flight.
    let error = wire.stack(A).take_error(client);
    assert_eq!(error, Some(SocketError::HostUnreachable));

    connect(&mut wire, far(3));
    let first = next_offer(&mut wire, id);
    wire.stack(B).offer_drop(first.id).unwrap();
    assert_eq!(wire.stack(B).intercept_next(id), None);
    assert!(wire.tick(), "the SYN is sent again");
    let second = next_offer(&mut wire, id);
    assert_eq!((second.to, second.from), (first.to, first.from));
    assert!(!wire.stack(B).is_offered(first.id) && wire.stack(B).is_offered(second.id));
}

#[test]
fn offers_are_bounded_in_number_and_time() {
    let (mut wire, id) = open(InterceptConfig {
        tcp_offers_max: 2,
        tcp_offer_timeout: Duration::from_secs(3),
        ..InterceptConfig::default()
    });
    let clients: Vec<_> = (1..=3).map(|port| connect(&mut wire, far(port))).collect();
    assert_eq!(wire.stack(B).stats().tcp.offers_dropped, 1);
    let offer = next_offer(&mut wire, id);
    for client in clients {
        // A connect that is given up sends nothing: the offer stays until its time is over.
        wire.stack(A).close(client);
    }
    while wire.tick() {}
    assert_eq!(wire.stack(B).stats().tcp.offers_expired, 2);
    assert!(!wire.stack(B).is_offered(offer.id));
    assert_eq!(
        wire.stack(B).offer_accept(offer.id),
        Err(SocketError::Invalid)
    );
    assert_eq!(wire.stack(B).intercept_next(id), None);
    assert_eq!(wire.stack(B).usage().flows, 0);
}

#[test]
fn a_reset_takes_an_offer_back() {
    let (mut wire, id) = open(InterceptConfig::default());
    connect(&mut wire, far(80));
    let mut reset = wire.hosts[A].sent.last().unwrap().clone();
    // The same segment with RST for SYN, and the checksum that follows (RFC 1624).
    reset[33] = 0x04;
    let sum = !(u16::from_be_bytes([reset[36], reset[37]]));
    let sum = u32::from(sum) + u32::from(!0x0002_u16) + 0x0004;
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    reset[36..38].copy_from_slice(&sum.to_be_bytes());
    wire.inject(B, reset);
    assert_eq!(wire.stack(B).stats().tcp.in_errs, 0);
    assert_eq!(wire.stack(B).intercept_next(id), None);
    assert_eq!(wire.stack(B).usage().flows, 0);
}

#[test]
fn sockets_of_the_stacks_own_come_first() {
    let (mut wire, id) = open(InterceptConfig::default());
    let listener = wire.stack(B).tcp_open();
    wire.stack(B).tcp_bind(listener, any_addr(80)).unwrap();
    wire.stack(B).tcp_listen(listener, 5).unwrap();
    let own = wire.at(B, 80);
    for to in [own, far(80)] {
        connect(&mut wire, to);
        let (server, _) = wire.stack(B).tcp_accept(listener).unwrap();
        assert_eq!(wire.stack(B).local_addr(server), Ok(to));
    }
    assert_eq!(wire.stack(B).intercept_next(id), None);
    // Another port of our own address is nobody's, and so is offered.
    let to = wire.at(B, 81);
    connect(&mut wire, to);
    assert_eq!(next_offer(&mut wire, id).to, to);
}

#[test]
fn udp_flows_have_the_addresses_that_the_peer_used() {
    let (mut wire, id) = open(InterceptConfig::default());
    let client = wire.bind(A, 5000);
    for text in ["one", "two"] {
        wire.stack(A).udp_send(client, text, Some(far(53))).unwrap();
    }
    wire.run();
    let flow = next_flow(&mut wire, id);
    assert_eq!((flow.from, flow.to), (wire.at(A, 5000), far(53)));
    assert_eq!(wire.stack(B).intercept_next(id), None);
    assert_eq!(wire.stack(B).local_addr(flow.socket), Ok(far(53)));
    for text in ["one", "two"] {
        let got = wire.stack(B).udp_recv(flow.socket).unwrap();
        assert_eq!((&got.data[..], got.to), (text.as_bytes(), far(0).ip()));
    }
    wire.stack(B).udp_send(flow.socket, "back", None).unwrap();
    wire.run();
    assert_eq!(wire.stack(A).udp_recv(client).unwrap().from, far(53));
    // Its addresses are fixed.
    let elsewhere = wire.stack(B).udp_connect(flow.socket, far(9));
    assert_eq!(elsewhere, Err(SocketError::Invalid));
    // What is closed begins anew.
    wire.stack(B).close(flow.socket);
    wire.stack(A)
        .udp_send(client, "three", Some(far(53)))
        .unwrap();
    wire.run();
    let again = next_flow(&mut wire, id);
    assert_ne!(again.socket, flow.socket);
}

#[test]
fn udp_flows_are_bounded_and_end_when_idle() {
    let (mut wire, id) = open(InterceptConfig {
        udp_flows_max: 2,
        udp_idle_timeout: Duration::from_secs(10),
        ..InterceptConfig::default()
    });
    let client = wire.bind(A, 5000);
    for port in [1, 2, 3] {
        wire.stack(A)
            .udp_send(client, "x", Some(far(port)))
            .unwrap();
    }
    wire.run();
    assert_eq!(wire.stack(B).stats().udp.v4.flow_drops, 1);
    let (first, second) = (next_flow(&mut wire, id), next_flow(&mut wire, id));
    wire.elapse(Duration::from_secs(6));
    wire.stack(B)
        .udp_send(second.socket, "kept alive", None)
        .unwrap();
    wire.run();
    wire.elapse(Duration::from_secs(5));
    let now = wire.now;
    wire.stack(B).handle_timeout(now);
    let over = Readiness::HUP | Readiness::RDHUP;
    assert!(
        wire.stack(B)
            .readiness(first.socket)
            .unwrap()
            .contains(over)
    );
    assert!(
        events(wire.stack(B))
            .iter()
            .any(|(id, ready)| *id == first.socket && ready.contains(over))
    );
    assert!(
        !wire
            .stack(B)
            .readiness(second.socket)
            .unwrap()
            .contains(Readiness::HUP)
    );
    // It counts until it is closed.
    wire.stack(A).udp_send(client, "x", Some(far(3))).unwrap();
    wire.run();
    assert_eq!(wire.stack(B).stats().udp.v4.flow_drops, 2);
    wire.stack(B).close(first.socket);
    wire.stack(A).udp_send(client, "x", Some(far(3))).unwrap();
    wire.run();
    assert_eq!(next_flow(&mut wire, id).to, far(3));
    assert_eq!(wire.stack(B).stats().udp.v4.flows_expired, 1);
}

#[test]
fn port_unreachable_reaches_the_peer_of_a_flow_and_a_flow() {
    let (mut wire, id) = open(InterceptConfig::default());
    let client = wire.bind(A, 5000);
    wire.stack(A).udp_connect(client, far(53)).unwrap();
    wire.stack(A).udp_send(client, "x", None).unwrap();
    wire.run();
    let flow = next_flow(&mut wire, id);
    wire.stack(B)
        .flow_unreachable(flow.socket, Unreachable::Port)
        .unwrap();
    wire.run();
    assert_eq!(wire.stack(A).take_error(client), Some(SocketError::Refused));
    // The other way: the peer has closed its socket.
    wire.stack(A).close(client);
    wire.stack(B).udp_send(flow.socket, "late", None).unwrap();
    wire.run();
    assert_eq!(
        wire.stack(B).take_error(flow.socket),
        Some(SocketError::Refused)
    );
}

#[test]
fn echo_requests_are_offered_but_for_our_own_address() {
    let (mut wire, id) = open(InterceptConfig {
        echoes_max: 2,
        ..InterceptConfig::default()
    });
    let ping = wire.stack(A).raw_open(Family::V4, RawKind::Echo).unwrap();
    wire.stack(A).raw_bind(ping, any_addr(77)).unwrap();
    let request = |seq: u8| Bytes::from(vec![8, 0, 0, 0, 0, 0, 0, seq, b'h', b'i']);
    for seq in 1..=3 {
        wire.stack(A)
            .raw_send(ping, request(seq), Some(far(0)))
            .unwrap();
    }
    let own = wire.at(B, 0).ip();
    wire.stack(A)
        .raw_send(ping, request(9), Some((own, 0).into()))
        .unwrap();
    wire.run();
    assert_eq!(wire.stack(B).stats().net.icmp4.in_echo_drops, 1);
    assert_eq!(wire.stack(A).raw_recv(ping).unwrap().from.ip(), own);
    let Some(Intercepted::Echo(echo)) = wire.stack(B).intercept_next(id) else {
        panic!("no echo request");
    };
    assert_eq!(
        (echo.to, echo.ident, echo.seq, &echo.data[..]),
        (far(0).ip(), 77, 1, &b"hi"[..])
    );
    assert!(wire.stack(B).intercept_echo_reply(&echo, echo.data.clone()));
    wire.run();
    let reply = wire.stack(A).raw_recv(ping).unwrap();
    assert_eq!(
        (reply.from.ip(), &reply.data[8..]),
        (far(0).ip(), &b"hi"[..])
    );
}

/// A UDP datagram from A to `dst`, as bytes.
fn datagram(dst: [u8; 4]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 1], dst, 64).udp(5, 6);
    let mut packet = Vec::new();
    builder.write(&mut packet, b"x").unwrap();
    packet
}

#[test]
fn only_addresses_that_a_host_can_have_are_taken() {
    let (mut wire, id) = open(InterceptConfig::default());
    let never = [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [239, 1, 2, 3],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [10, 0, 0, 255],
    ];
    for dst in never {
        wire.inject(B, datagram(dst));
        assert_eq!(wire.stack(B).intercept_next(id), None, "{dst:?}");
    }
    wire.inject(B, datagram([223, 255, 255, 255]));
    assert!(wire.stack(B).intercept_next(id).is_some());
}

#[test]
fn without_an_interceptor_nothing_is_taken() {
    let (mut wire, id) = open(InterceptConfig::default());
    let iface = wire.hosts[B].iface;
    let again = wire.stack(B).intercept(iface, InterceptConfig::default());
    assert_eq!(again, Err(ConfigError::Exists));
    let loopback = wire
        .stack(B)
        .intercept(LOOPBACK, InterceptConfig::default());
    assert_eq!(loopback, Err(ConfigError::NoInterface));
    connect(&mut wire, far(1));
    let client = wire.bind(A, 5000);
    wire.stack(A).udp_send(client, "x", Some(far(1))).unwrap();
    wire.run();
    wire.stack(B).close(id);
    assert_eq!(wire.stack(B).readiness(id), None);
    assert_eq!(wire.stack(B).usage().flows, 0, "offers are forgotten");
    wire.hosts[B].sent.clear();
    let before = wire.stack(B).stats().net.ip4.in_addr_errors;
    wire.stack(A).udp_send(client, "x", Some(far(1))).unwrap();
    wire.run();
    assert_eq!(wire.stack(B).stats().net.ip4.in_addr_errors, before + 1);
    assert!(wire.hosts[B].sent.is_empty());
    assert!(
        wire.stack(B)
            .intercept(iface, InterceptConfig::default())
            .is_ok()
    );
}

/// Who looks for somebody on its own network finds the interceptor, but nobody at its own address.
#[test]
fn arp_requests_for_the_peers_network_are_answered_if_asked_for() {
    for proxy in [false, true] {
        let mut wire = Wire::new(Medium::Ethernet);
        let IpAddr::V4(peer) = wire.hosts[A].addr else {
            panic!("the wire's addresses are IPv4");
        };
        let config = InterceptConfig {
            proxy_arp_except: proxy.then_some(peer),
            ..InterceptConfig::default()
        };
        let iface = wire.hosts[B].iface;
        let id = wire.stack(B).intercept(iface, config).unwrap();
        let octets = peer.octets();
        let near = SocketAddr::from(([octets[0], octets[1], octets[2], 77], 80));
        connect(&mut wire, near);
        let offered = wire.stack(B).intercept_next(id);
        let to = offered.map(|what| match what {
            Intercepted::Tcp(offer) => offer.to,
            other => panic!("{other:?}"),
        });
        assert_eq!(to, proxy.then_some(near));
        let asked = |target| {
            wire.hosts[B]
                .stack
                .net
                .iface(iface)
                .unwrap()
                .answers_for(target, [0; 4].into())
        };
        assert!(!asked(peer), "a probe for its own address (RFC 5227)");
        assert_eq!(asked([10, 1, 2, 3].into()), proxy);
        assert!(!asked([224, 0, 0, 1].into()));
    }
}

/// The other way, connections and datagrams come from any address.
#[test]
fn what_goes_to_the_peer_may_come_from_any_address() {
    let (mut wire, _) = open(InterceptConfig::default());
    let peer = wire.hosts[A].addr;
    let listener = wire.stack(A).tcp_open();
    wire.stack(A)
        .tcp_bind(listener, SocketAddr::new(peer, 80))
        .unwrap();
    wire.stack(A).tcp_listen(listener, 1).unwrap();
    let server = wire.stack(A).udp_open(Family::V4);
    wire.stack(A)
        .udp_bind(server, SocketAddr::new(peer, 53))
        .unwrap();
    let client = wire.stack(B).tcp_open();
    wire.stack(B).tcp_bind(client, far(0)).unwrap();
    let begun = wire.stack(B).tcp_connect(client, SocketAddr::new(peer, 80));
    assert_eq!(begun, Err(SocketError::InProgress));
    wire.run();
    let (_, from) = wire.stack(A).tcp_accept(listener).unwrap();
    assert_eq!(from.ip(), far(0).ip());
    let asker = wire.stack(B).udp_open(Family::V4);
    wire.stack(B).udp_bind(asker, far(0)).unwrap();
    wire.stack(B)
        .udp_connect(asker, SocketAddr::new(peer, 53))
        .unwrap();
    wire.stack(B)
        .udp_send(asker, Bytes::from_static(b"?"), None)
        .unwrap();
    wire.run();
    let asked = wire.stack(A).udp_recv(server).unwrap();
    assert_eq!(asked.from.ip(), far(0).ip());
    wire.stack(A)
        .udp_send(server, Bytes::from_static(b"!"), Some(asked.from))
        .unwrap();
    wire.run();
    assert_eq!(wire.stack(B).udp_recv(asker).unwrap().data[..], b"!"[..]);
}
