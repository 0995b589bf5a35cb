//! Several flows over one bottleneck share it, in virtual time (Jain's index).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use netstack::testing::{LinkConfig, Sim};

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn stack(last: u8, congestion: &str) -> (Stack, IfaceId) {
    let mut stack = Stack::new(StackConfig::default(), [last; 16]);
    stack
        .set_setting("tcp_congestion_control", congestion)
        .unwrap();
    let caps = DeviceCaps {
        medium: Medium::Ethernet,
        mtu: 1_500,
        tx_checksum: false,
        gso_max: 0,
    };
    let config = InterfaceConfig {
        name: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, last]),
        caps,
    };
    let iface = stack.add_interface(config).unwrap();
    stack
        .add_address(iface, format!("10.0.0.{last}/24").parse().unwrap())
        .unwrap();
    (stack, iface)
}

/// Bytes that each of `flows` has got in the last two thirds of `seconds`; they begin 300 ms apart.
fn shares(flows: usize, congestion: &str, seconds: u64) -> Vec<u64> {
    let link = LinkConfig {
        rate: Some(20_000_000),
        delay: Duration::from_millis(5),
        queue_bytes: 64 << 10,
        ..LinkConfig::default()
    };
    let mut sim = Sim::new();
    let ((client, a), (server, b)) = (stack(1, congestion), stack(2, congestion));
    let (client, server) = (sim.add_stack(client), sim.add_stack(server));
    sim.connect((client, a), (server, b), link, [1; 16]);
    let to = SocketAddr::new(ip(2), 80);
    let listener = sim.stack(server).tcp_open();
    sim.stack(server).tcp_bind(listener, to).unwrap();
    sim.stack(server).tcp_listen(listener, 64).unwrap();
    let (mut senders, mut receivers, mut got) = (Vec::new(), Vec::new(), vec![0; flows]);
    let (data, mut buffer) = (vec![7; 64 << 10], vec![0; 64 << 10]);
    let start = sim.now();
    for slice in 0..seconds * 10 {
        if slice % 3 == 0 && senders.len() < flows {
            let now = sim.now();
            sim.stack(client).set_now(now);
            let socket = sim.stack(client).tcp_open();
            let _ = sim.stack(client).tcp_connect(socket, to);
            senders.push(socket);
        }
        if slice == seconds * 10 / 3 {
            got.fill(0);
        }
        sim.run(Duration::from_millis(100), |sim| {
            let now = sim.now();
            sim.stack(client).set_now(now);
            for sender in &senders {
                while sim.stack(client).tcp_send(*sender, &data, false).is_ok() {}
            }
            sim.stack(server).set_now(now);
            while let Ok((socket, _)) = sim.stack(server).tcp_accept(listener) {
                receivers.push(socket);
            }
            for (receiver, got) in receivers.iter().zip(&mut got) {
                while let Ok(count @ 1..) =
                    sim.stack(server).tcp_recv(*receiver, &mut buffer, false)
                {
                    *got += count as u64;
                }
            }
            false
        });
    }
    assert!(sim.now().since(start) >= Duration::from_secs(seconds));
    got
}

/// Jain's index of fairness: 1 if all are equal, 1/n if one has all.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn flows_share_a_bottleneck() {
    for congestion in ["cubic", "reno"] {
        for flows in [2, 8] {
            let shares = shares(flows, congestion, 60);
            let (index, sum) = (jain(&shares), shares.iter().sum::<u64>());
            println!("{congestion}, {flows} flows: {index:.3}, {sum} bytes {shares:?}");
            assert!(
                index >= 0.95,
                "{congestion}, {flows} flows: {index:.3} {shares:?}"
            );
            // 40 s at 20 Mbit/s are 100 MB with all headers.
            assert!(sum > 85_000_000, "{congestion}, {flows} flows: {sum}");
        }
    }
}
