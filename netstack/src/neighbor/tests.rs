use super::*;

const IFACE: IfaceId = IfaceId(1);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

struct Bench {
    table: NeighborTable,
    config: NeighborConfig,
    rng: Rng,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            table: NeighborTable::new(&mut Rng::from_seed([4; 16])),
            config: NeighborConfig::default(),
            rng: Rng::from_seed([5; 16]),
            now: Instant::from_millis(1000),
        }
    }

    fn addr(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn send(&mut self, last: u8) -> Resolution {
        let resolution = self
            .table
            .resolve(self.now, IFACE, Self::addr(last), &self.config);
        if matches!(resolution, Resolution::Hold { .. }) {
            let packet = TxPacket::default();
            assert_eq!(
                self.table
                    .hold(IFACE, Self::addr(last), packet, &self.config),
                0
            );
        }
        resolution
    }

    fn learn(&mut self, last: u8, mac: MacAddr, evidence: Evidence) -> usize {
        let key = (IFACE, Self::addr(last));
        let (now, config) = (self.now, self.config);
        self.table
            .learn(now, key, mac, evidence, &config, &mut self.rng)
            .len()
    }

    fn state(&self, last: u8) -> Option<NeighborState> {
        let mut entries = self.table.iter(self.now);
        entries
            .find(|(_, addr, ..)| *addr == Self::addr(last))
            .map(|(_, _, state, _)| state)
    }

    /// Goes from timer to timer until one asks for something, or none is left.
    fn tick(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(at) = self.table.poll_timeout().filter(|_| actions.is_empty()) {
            self.now = self.now.max(at);
            self.table
                .handle_timeout(self.now, &self.config, &mut actions);
        }
        actions
    }
}

#[test]
fn asks_three_times_and_gives_the_packets_up() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(1), Resolution::Hold { solicit: true });
    assert_eq!(bench.send(1), Resolution::Hold { solicit: false });
    for _ in 0..2 {
        assert!(matches!(
            bench.tick()[..],
            [Action::Solicit { mac: None, .. }]
        ));
    }
    let actions = bench.tick();
    assert!(matches!(&actions[..], [Action::Unreachable { packets, .. }] if packets.len() == 2));
    assert_eq!(bench.state(1), Some(NeighborState::Failed));
    assert_eq!(bench.now, Instant::from_millis(4000));
    assert_eq!(bench.send(1), Resolution::Hold { solicit: true });
}

#[test]
fn an_answer_releases_the_packets_and_lasts_a_while() {
    let mut bench = Bench::new();
    bench.send(1);
    assert_eq!(bench.learn(1, MAC, Evidence::Reply), 1);
    assert_eq!(bench.state(1), Some(NeighborState::Reachable));
    bench.now += Duration::from_secs(46);
    assert_eq!(bench.state(1), Some(NeighborState::Stale));
    assert_eq!(bench.send(1), Resolution::Known(MAC));
    assert_eq!(bench.state(1), Some(NeighborState::Delay));
    for _ in 0..3 {
        assert!(matches!(
            bench.tick()[..],
            [Action::Solicit { mac: Some(MAC), .. }]
        ));
        assert_eq!(bench.send(1), Resolution::Known(MAC));
    }
    let given_up = bench.tick();
    assert!(matches!(&given_up[..], [Action::Unreachable { packets, .. }] if packets.is_empty()));
    assert_eq!(bench.state(1), Some(NeighborState::Failed));
}

#[test]
fn progress_of_a_transport_confirms() {
    let mut bench = Bench::new();
    bench.learn(1, MAC, Evidence::Request);
    assert_eq!(bench.state(1), Some(NeighborState::Stale));
    bench.send(1);
    let (now, config) = (bench.now, bench.config);
    bench
        .table
        .confirm(now, IFACE, Bench::addr(1), &config, &mut bench.rng);
    assert_eq!(bench.state(1), Some(NeighborState::Reachable));
    assert!(bench.tick().is_empty(), "the delay timer has nothing to do");
}

#[test]
fn an_address_changes_once_a_second_but_for_announcements() {
    let mut bench = Bench::new();
    bench.send(1);
    bench.learn(1, MAC, Evidence::Reply);
    bench.learn(1, OTHER, Evidence::Reply);
    assert_eq!(bench.send(1), Resolution::Known(MAC));
    bench.learn(1, OTHER, Evidence::Announcement);
    assert_eq!(bench.send(1), Resolution::Known(OTHER));
    bench.now += Duration::from_secs(2);
    bench.learn(1, MAC, Evidence::Reply);
    assert_eq!(bench.send(1), Resolution::Known(MAC));
}

#[test]
fn strangers_earn_an_entry_only_by_asking_for_us() {
    let mut bench = Bench::new();
    bench.learn(1, MAC, Evidence::Reply);
    bench.learn(2, MAC, Evidence::Announcement);
    assert_eq!((bench.state(1), bench.state(2)), (None, None));
    bench.learn(3, MAC, Evidence::Request);
    assert_eq!(bench.state(3), Some(NeighborState::Stale));
}

#[test]
fn bounded_in_entries_and_packets() {
    let mut bench = Bench::new();
    bench.config.gc_thresh3 = 2;
    bench.config.unres_qlen_bytes = 2 * 512;
    bench.send(1);
    bench.send(1);
    let packet = TxPacket::default();
    assert_eq!(
        bench
            .table
            .hold(IFACE, Bench::addr(1), packet, &bench.config),
        1
    );
    bench.learn(2, MAC, Evidence::Request);
    bench.learn(3, MAC, Evidence::Request);
    assert_eq!(
        (bench.state(2), bench.state(3)),
        (None, Some(NeighborState::Stale))
    );
    bench.send(4);
    assert_eq!(bench.send(5), Resolution::Full);
}
