//! `netstack stats`: the counters of a running program, from its control socket.

use netstack::stack::Stack;
use serde_json::{Map, Value, json};

/// All that a stack can tell of itself: what it holds, and every counter that is not zero.
pub(crate) fn of_stack(stack: &Stack) -> Value {
    let usage = stack.usage();
    let stats = stack.stats();
    let all = stats
        .net
        .iter()
        .chain(stats.tcp.iter())
        .chain(stats.udp.iter());
    let counters: Map<String, Value> = all
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let interfaces: Map<String, Value> = stack
        .interfaces()
        .map(|info| {
            let counters = json!({
                "rx_packets": info.counters.rx_packets,
                "rx_bytes": info.counters.rx_bytes,
                "tx_packets": info.counters.tx_packets,
                "tx_bytes": info.counters.tx_bytes,
            });
            (info.name, counters)
        })
        .collect();
    json!({
        "usage": {
            "tcp_sockets": usage.tcp_sockets,
            "half_open": usage.half_open,
            "offers": usage.offers,
            "time_wait": usage.time_wait,
            "flows": usage.flows,
            "fragment_bytes": usage.fragment_bytes,
            "neighbors": usage.neighbors,
        },
        "interfaces": interfaces,
        "counters": counters,
    })
}
