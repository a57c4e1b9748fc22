//! Performance for an allowed client: pgbench against PostgreSQL on a separate host, without a firewall, through the
//! firewall, and while strangers flood the same endpoint.

mod flood;
mod pgbench;
mod report;
mod sockets;

use std::path::Path;

use anyhow::Result;
use aya::programs::CgroupSkb;
use firewall_common::{fast_path, names};
use firewall_tests::bench::Machine;
use firewall_tests::lab::{Host, Postgres};

use crate::rules::{ADDRESS4, Bench, FRIEND4, PORT};
use firewall_tests::bench::say;
use flood::Flood;
use pgbench::{Felt, pgbench};

pub const ROUNDS: usize = 12;
pub const SECONDS: u32 = 2;
/// Packets per second.
pub const FLOOD: u32 = 300_000;

/// The filter between client and server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// An XDP program that passes everything: without one, veth uses another code path.
    Nothing,
    Firewall,
    /// The same with the socket filter on the server's sockets.
    SocketFilter,
    /// The same rule, at its earliest hook.
    Nftables,
}

pub struct Series {
    pub name: &'static str,
    pub between: Between,
    pub flooded: bool,
    pub felt: Vec<Felt>,
}

const SERIES: [(&str, Between, bool); 6] = [
    ("no firewall", Between::Nothing, false),
    ("this firewall", Between::Firewall, false),
    ("this firewall with its socket filter", Between::SocketFilter, false),
    ("no firewall, flood", Between::Nothing, true),
    ("this firewall, flood", Between::Firewall, true),
    ("nftables netdev ingress, flood", Between::Nftables, true),
];

pub fn measure(directory: &Path) -> Result<()> {
    let machine = Machine::detect()?;
    let mut bench = Bench::new(1, fast_path::ALL);
    bench.publish(1, 30);
    let (server, clients) = (bench.lab.host("db")?, bench.lab.host("clients")?);
    let (here, there) = (format!("{ADDRESS4}/24"), format!("{FRIEND4}/32"));
    bench.lab.link(server.end("eth0", &[&here]), clients.end("eth0", &[&there]))?;
    server.run("ip route add default dev eth0")?;
    clients.run("ip route add default dev eth0")?;
    let _postgres = Postgres::start(&bench.lab, &server, PORT)?;
    let flood = Flood::new(&bench, &clients, server.mac("eth0")?)?;
    let mut all: Vec<Series> = SERIES
        .iter()
        .map(|(name, between, flooded)| Series {
            name,
            between: *between,
            flooded: *flooded,
            felt: Vec::new(),
        })
        .collect();
    for round in 0..ROUNDS {
        for series in &mut all {
            say(&format!("round {round}: {}", series.name));
            let _set_up = series.between.set_up(&bench, &server)?;
            let felt = if series.flooded {
                flood.during(|| pgbench(&bench.lab, &clients))??
            } else {
                pgbench(&bench.lab, &clients)?
            };
            series.felt.push(felt);
        }
    }
    say("cost of a packet at its socket");
    let set_up = Between::Firewall.set_up(&bench, &server)?;
    let costs = sockets::costs(&bench.pins, || pgbench(&bench.lab, &clients).map(drop))?;
    drop(set_up);
    report::write(directory, &machine, &all, &costs)
}

impl Between {
    /// Sets the filter up, until the guard is dropped.
    fn set_up<'a>(self, bench: &Bench, server: &'a Host) -> Result<SetUp<'a>> {
        let program = match self {
            Self::Firewall | Self::SocketFilter => names::FIREWALL,
            Self::Nothing | Self::Nftables => "empty_pass",
        };
        let pin = bench.pins.program(program);
        // `ip netns` would hide this bpffs; a command on a host sees it.
        server.run(&format!("ip link set dev eth0 xdpdrv pinned {}", pin.display()))?;
        if self == Self::Nftables {
            crate::flood::ingress().set_up(bench.lab.dir(), server, &crate::rules::networks(30))?;
        }
        let filter = match self {
            Self::SocketFilter => Some(sockets::attach(&bench.pins, names::SOCKET_FILTER)?),
            Self::Nothing | Self::Firewall | Self::Nftables => None,
        };
        Ok(SetUp { between: self, server, _filter: filter })
    }
}

struct SetUp<'a> {
    between: Between,
    server: &'a Host,
    /// Its drop detaches it.
    _filter: Option<CgroupSkb>,
}

impl Drop for SetUp<'_> {
    fn drop(&mut self) {
        self.server.run("ip link set dev eth0 xdp off").unwrap();
        if self.between == Between::Nftables {
            self.server.run("nft flush ruleset").unwrap();
        }
    }
}
