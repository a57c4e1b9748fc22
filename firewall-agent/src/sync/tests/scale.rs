//! Cost of a publish against the number of databases, endpoints, tombstones and removed databases.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use ipnet::Ipv4Net;
use jiff::Timestamp;

use super::counted::comparisons;
use crate::rules::{CounterKey, DatabaseId, Mode, Protocol, RuleSet};
use crate::sync::model::{
    CounterId, CounterKind, DatabaseSlot, Destination, Guards, Live, Ports, RuleCounter,
};
use crate::sync::table::Table;
use crate::sync::{BlockReplacement, DataPlane, Desired, DesiredDatabase, Replacement, Sizes, publish};

/// A data plane that accepts every write and stores nothing.
#[derive(Debug, Default)]
struct Sink {
    writes: usize,
    tables: usize,
}

impl Sink {
    fn write(&mut self) -> Result<()> {
        self.writes += 1;
        Ok(())
    }
}

impl DataPlane for Sink {
    fn sizes(&self) -> Sizes {
        Sizes { databases: 256, counters: 400_000, prefix_counters: 200_000 }
    }

    fn set_ports(&mut self, _: &Ports, _: &Guards) -> Result<()> {
        self.write()
    }

    fn set_counter(&mut self, _: CounterId, _: &RuleCounter) -> Result<()> {
        self.write()
    }

    fn free_counter(&mut self, _: CounterId) -> Result<()> {
        self.write()
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        together.iter().map(|_| self.write()).collect()
    }

    fn synchronize(&mut self) -> Result<()> {
        self.write()
    }

    fn free_database(&mut self, _: DatabaseSlot) -> Result<()> {
        self.write()
    }

    fn publish_table(&mut self, _: &Table) -> Result<()> {
        self.tables += 1;
        self.write()
    }

    fn publish_blocks(&mut self, _: &BlockReplacement<'_>) -> Result<()> {
        self.write()
    }
}

/// Quantities of one measurement.
#[derive(Debug, Clone, Copy)]
struct Size {
    databases: u32,
    prefixes: u32,
    tombstones: u32,
    removed: u32,
}

fn address(network: u8, number: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from_bits(u32::from(network) << 24 | number).into())
}

fn id(number: u32) -> DatabaseId {
    format!("database-{number:06}").parse().unwrap()
}

fn database(number: u32, revision: u64, prefixes: u32) -> DesiredDatabase {
    let mut set = RuleSet::default();
    let (rule, range) =
        (CounterKey::Rule("own".parse().unwrap()), CounterKey::Rule("range".parse().unwrap()));
    set.allow(Ipv4Net::from(Ipv4Addr::new(10, 0, 0, revision.to_le_bytes()[0])).into(), &rule);
    for prefix in 0..prefixes {
        set.allow(Ipv4Net::from(Ipv4Addr::from_bits(11 << 24 | prefix << 4)).into(), &range);
    }
    let counters = [(rule, CounterKind::Custom), (range, CounterKind::Managed("region".to_owned()))];
    DesiredDatabase {
        is_closed: false,
        name: String::new(),
        revision,
        mode: Mode::Enforce,
        destinations: [Destination { address: address(20, number), port: 8000, protocol: Protocol::Tcp }]
            .into(),
        set,
        counters: counters.map(|(key, kind)| (key, (kind, String::new()))).into(),
    }
}

fn desired(size: Size, guarded: Guards) -> Desired {
    Desired {
        databases: (0..size.databases).map(|one| (id(one), database(one, 1, size.prefixes).into())).collect(),
        removed: (0..size.removed).map(|one| id(1_000_000 + one)).collect(),
        closed: super::claimed((0..size.tombstones).map(|one| Destination {
            address: address(30, one),
            port: 5432,
            protocol: Protocol::Tcp,
        })),
        guarded,
        ..Desired::default()
    }
}

/// Milliseconds of the fastest of several publishes.
fn fastest(times: usize, mut publish: impl FnMut(u64)) -> f64 {
    let each = (0..times).map(|time| {
        let started = Instant::now();
        publish(u64::try_from(time).unwrap());
        started.elapsed().as_secs_f64() * 1000.0
    });
    each.fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "a measurement: cargo test --release -p firewall-agent --lib sync::tests::scale -- --ignored --nocapture"]
fn measure_publish_cost() {
    let small = Size { databases: 1, prefixes: 10, tombstones: 0, removed: 0 };
    let sizes = [
        ("one database", small),
        ("10,000 tombstones", Size { tombstones: 10_000, ..small }),
        ("20,000 removed", Size { removed: 20_000, ..small }),
        ("256 databases", Size { databases: 256, ..small }),
        ("256 databases of 500 prefixes", Size { databases: 256, prefixes: 500, ..small }),
        ("everything", Size { databases: 256, prefixes: 500, tombstones: 10_000, removed: 20_000 }),
    ];
    for (what, size) in sizes {
        let (mut live, mut data_plane) = (Live::default(), Sink::default());
        let mut wanted = desired(size, Guards::default());
        let mut run = |wanted: &Desired, live: &mut Live| {
            let done = publish(wanted, live, &mut data_plane, Timestamp::UNIX_EPOCH);
            assert!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
        };
        let first = fastest(1, |_| run(&wanted, &mut live));
        let again = fastest(3, |_| run(&wanted, &mut live));
        let rule = fastest(3, |time| {
            wanted.databases.insert(id(0), database(0, 2 + time, size.prefixes).into());
            run(&wanted, &mut live);
        });
        let endpoint = fastest(3, |time| {
            let moved = address(21, u32::try_from(time).unwrap());
            let one = DesiredDatabase {
                is_closed: false,
                destinations: [Destination { address: moved, port: 8000, protocol: Protocol::Tcp }].into(),
                ..database(0, 10 + time, size.prefixes)
            };
            wanted.databases.insert(id(0), one.into());
            run(&wanted, &mut live);
        });
        println!(
            "{what:<32} first {first:8.2} ms, again {again:8.2} ms, a rule {rule:8.2} ms, \
             an endpoint {endpoint:8.2} ms"
        );
    }
}

/// Comparisons of destinations in the first publish, a repetition, a rule change and an endpoint move.
fn costs(databases: u32, tombstones: u32, guarded: Guards) -> [u64; 4] {
    let size = Size { databases, prefixes: 0, tombstones, removed: databases };
    let (mut live, mut data_plane) = (Live::default(), Sink::default());
    let mut wanted = desired(size, guarded);
    let mut run = |wanted: &Desired, tables: usize| {
        let before = data_plane.tables;
        let cost = comparisons(|| {
            let done = publish(wanted, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
            assert!(done.failed.is_empty() && !done.refused_writes, "{done:?}");
        });
        assert_eq!(data_plane.tables - before, tables, "tables written");
        cost
    };
    let first = run(&wanted, if tombstones == 0 { 1 } else { 2 });
    let again = run(&wanted, 0);
    wanted.databases.insert(id(0), database(0, 2, 0).into());
    let rule = run(&wanted, 0);
    let destinations = [Destination { address: address(21, 0), port: 8000, protocol: Protocol::Tcp }].into();
    Arc::make_mut(&mut wanted.closed).extend(wanted.databases[&id(0)].destinations.clone());
    wanted.databases.insert(id(0), DesiredDatabase { destinations, ..database(0, 3, 0) }.into());
    let endpoint = run(&wanted, 2);
    [first, again, rule, endpoint]
}

#[test]
fn the_cost_of_a_publish_is_linear_in_databases_and_tombstones() {
    // Eight times as much of one quantity: n log n stays below twelve times, a square is sixty-four times.
    for [small, large] in [[(32, 0), (256, 0)], [(8, 1_250), (8, 10_000)]] {
        let cost = |(databases, tombstones)| costs(databases, tombstones, Guards::default());
        for (less, more) in cost(small).into_iter().zip(cost(large)) {
            assert!(more < less * 12, "{small:?}: {less} comparisons, {large:?}: {more}");
        }
    }
    // The control: a linear search per destination is detected.
    let all: Vec<_> =
        desired(Size { databases: 0, prefixes: 0, tombstones: 1_000, removed: 0 }, Guards::default())
            .closed
            .iter()
            .copied()
            .collect();
    let search = comparisons(|| assert!(all.iter().all(|to| all.iter().any(|other| other.covers(to)))));
    assert!(search > 1_000 * 1_000 / 2, "{search} comparisons");
    // Unchanged state is traversed once: a few comparisons per tombstone, for any number of them.
    let [_, again, rule, _] = costs(1, 10_000, Guards::default());
    assert!(
        again < 10_000 * 12 && rule < 10_000 * 12,
        "{again} and {rule} comparisons for 10,000 tombstones"
    );
}

#[test]
fn tombstones_at_a_guarded_port_cost_no_row_and_no_members() {
    let size = Size { databases: 1, prefixes: 0, tombstones: 10_000, removed: 0 };
    let (mut live, mut data_plane) = (Live::default(), Sink::default());
    publish(&desired(size, Guards::from([5432])), &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert_eq!((live.table.endpoints.len(), live.table.members.len()), (1, 2));
    // Unguarded, each has its row; it needs an address index entry only where no other port is closed everywhere.
    publish(&desired(size, Guards::from([1])), &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert_eq!((live.table.endpoints.len(), live.table.members.len()), (10_001, 2));
}
