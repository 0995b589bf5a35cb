//! What the stack costs by itself: two stacks in one thread, in virtual time, over a link without delay or
//! limit. Criterion measures the processor, not the link.

use std::time::Duration;

use benches::Pair;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group!(benches, bulk, request, connection, bytes);
criterion_main!(benches);
