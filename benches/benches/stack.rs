//! What the stack costs by itself: two stacks in one thread, in virtual time, over a link without delay or
//! limit. Criterion measures the processor, not the link.

use std::net::Ipv4Addr;
use std::time::Duration;

use benches::Pair;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::addr::Cidr;
use netstack::network::route::Route;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use netstack::testing::{LinkConfig, fuzz};
use netstack::wire::checksum::checksum;

/// A link that adds nothing.
fn wire() -> LinkConfig {
    LinkConfig {
        rate: None,
        delay: Duration::from_micros(10),
        ..LinkConfig::default()
    }
}

/// One MiB from stack to stack: headers, checksums, both copies and the acknowledgements of 725 segments.
fn bulk(c: &mut Criterion) {
    const LEN: usize = 1 << 20;
    let mut group = c.benchmark_group("tcp");
    group.throughput(Throughput::Bytes(LEN as u64));
    let mut pair = Pair::new(wire(), &[], 1);
    group.bench_function("bulk of 1 MiB", |b| b.iter(|| pair.transfer(LEN)));
    group.finish();
}

/// Request and response of one connection.
fn request(c: &mut Criterion) {
    let mut group = c.benchmark_group("tcp");
    for len in [1, 128, 16 << 10] {
        group.throughput(Throughput::Elements(1));
        let mut pair = Pair::new(wire(), &[], 1);
        group.bench_function(format!("request and response of {len} B"), |b| {
            b.iter(|| pair.round_trip(len));
        });
    }
    group.finish();
}

/// Handshake, end in both directions, TIME-WAIT.
fn connection(c: &mut Criterion) {
    let mut group = c.benchmark_group("tcp");
    group.throughput(Throughput::Elements(1));
    group.bench_function("connection from SYN to the last FIN", |b| {
        b.iter_batched(
            || Pair::stacks(wire(), &[], 1),
            |mut world| world.connect_and_close(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// The Internet checksum, and the parsers over a segment with all options.
fn bytes(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    for len in [64, 1_460, 65_536] {
        let data = vec![0xa5u8; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("checksum of {len} B"), |b| {
            b.iter(|| checksum(std::hint::black_box(&data)));
        });
    }
    let options = [
        1, 2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    group.throughput(Throughput::Elements(1));
    group.bench_function("options of a SYN, parsed and written", |b| {
        b.iter(|| fuzz::tcp_options(std::hint::black_box(&options)));
    });
    group.finish();
}

/// The way to an address of many, with more and more routes.
fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("routes");
    for count in [1_u32, 1_000, 100_000] {
        let mut stack = Stack::new(StackConfig::default(), [1; 16]);
        let caps = DeviceCaps {
            medium: Medium::Ip,
            mtu: 1500,
            tx_checksum: false,
            gso_max: 0,
        };
        let config = InterfaceConfig {
            name: "eth0".to_owned(),
            mac: MacAddr::default(),
            caps,
        };
        let iface = stack.add_interface(config).expect("the first one");
        let own = "10.0.0.1/24".parse().expect("an address");
        stack.add_address(iface, own).expect("a new one");
        // Scattered, with lengths as tables of the internet have them.
        let at = |n: u32| n.wrapping_mul(2_654_435_761) | 0x2000_0000;
        for n in 0..count {
            let len = 16 + (n % 9) as u8;
            let dest = Cidr::new(Ipv4Addr::from(at(n)).into(), len).expect("a prefix");
            stack.add_route(Route::new(dest, iface)).expect("a route");
        }
        let mut n = 0;
        group.bench_function(format!("lookup among {count}"), |b| {
            b.iter(|| {
                n = (n + 7919) % count;
                stack.route_get(Ipv4Addr::from(at(n)).into(), None, None)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bulk, request, connection, bytes, routes);
criterion_main!(benches);
