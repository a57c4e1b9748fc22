//! A flood of denied packets at the sender's maximum rate: allowed sources are unaffected, and `denied` names the
//! flooding ones.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firewall_tests::packets::Wire;

use firewall_tests::lab::TestHost;

use crate::setup::{PORT, SERVERS, builder};
use crate::traffic::Traffic;

/// A separate wire: on the other one a full queue would drop packets before the program sees them.
const SECOND: &str = "eth1";
const HEAVY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const HALF_AS_HEAVY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
const LONG: Duration = Duration::from_secs(5);
const SOURCE: usize = 14 + 12;
/// Number of entries in the kernel's table.
const TABLE: usize = 8192;

/// Sends until `stop`: half from one source, a quarter from another, the rest from new ones; returns the packet count.
fn flood(wire: &Wire, mut frame: Vec<u8>, stop: &AtomicBool) -> u64 {
    let (mut sent, mut fresh) = (0u64, 0x6500_0000_u32);
    while !stop.load(Ordering::Relaxed) {
        let source = match sent % 4 {
            0 | 1 => HEAVY.octets(),
            2 => HALF_AS_HEAVY.octets(),
            _ => {
                fresh += 1;
                fresh.to_be_bytes()
            }
        };
        frame[SOURCE..SOURCE + 4].copy_from_slice(&source);
        // A full queue is no error.
        sent += u64::from(wire.send(&frame).is_ok());
    }
    sent
}

/// Returns user and system time of a process in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn flood_changes_no_verdict_and_is_reported_by_source() {
    let host = builder().interfaces(&["eth*"]).build();
    host.lab
        .link(host.db.end(SECOND, &["192.0.3.10/24"]), host.outside.end(SECOND, &["192.0.3.66/24"]))
        .unwrap();
    let mut agent = host.start_agent();
    agent
        .wait_until("both interfaces are filtered", || {
            host.status()["interfaces"].as_array().is_some_and(|all| all.len() == 2)
        })
        .unwrap();
    let (wire, server) = (host.wire(SECOND), SERVERS[0].parse().unwrap());
    let syn = host.frame(SECOND).ipv4(HEAVY, server).tcp(40_000, PORT).build();
    let refused =
        |host: &TestHost| host.json(&["denied", "--top", "1"])["totals"]["denied"].as_u64().unwrap();

    let traffic = Traffic::start(&host);
    let (before, busy, lines) = (refused(&host), ticks(agent.pid()), agent.log().lines().count());
    let (started, stop) = (Instant::now(), AtomicBool::new(false));
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| flood(&wire, syn, &stop));
        thread::sleep(LONG);
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    let seconds = started.elapsed().as_secs_f64();
    let (busy, lines) = (ticks(agent.pid()) - busy, agent.log().lines().count() - lines);
    let count = traffic.end_after(Duration::from_millis(300));
    let report = host.json(&["denied", "--top", "10000"]);
    let arrived = refused(&host) - before;
    let share = busy as f64 / seconds;
    println!(
        "sent {:.0} packets/s, refused {:.0} packets/s; the agent used {share:.1} % of a core and wrote {lines} lines; {} \
         rows; {}; beside it {count:?}",
        sent as f64 / seconds,
        arrived as f64 / seconds,
        report["denied"].as_array().unwrap().len(),
        report["totals"]
    );
    assert_eq!(count.leaked, 0, "{count:?}");
    assert!(count.rounds > 500 && count.lost * 100 <= count.rounds, "{count:?}");
    assert!(lines as f64 <= 10.0 * seconds, "{lines} log lines");
    assert!(share < 20.0, "the agent used {share} % of a core");

    let rows = report["denied"].as_array().unwrap();
    assert!(rows.len() <= TABLE, "{} rows", rows.len());
    // The denied part of the other traffic is far smaller; the flood's new sources start with 101.
    let mut packets: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        *packets.entry(row["source"].as_str().unwrap()).or_default() += row["packets"].as_u64().unwrap();
    }
    assert_eq!(rows[0]["source"], HEAVY.to_string(), "{}", rows[0]);
    for (source, part) in [(HEAVY, 0.5), (HALF_AS_HEAVY, 0.25)] {
        let found = packets[source.to_string().as_str()] as f64 / arrived as f64;
        println!("{source}: {:.1} % of what was refused", found * 100.0);
        assert!((found - part).abs() < 0.2 * part, "{source}: {found} instead of {part}");
    }
    let totals = &report["totals"];
    let [recorded, unrecorded, all] =
        ["recorded", "unrecorded", "denied"].map(|name| totals[name].as_u64().unwrap());
    assert!(recorded + unrecorded <= all && (recorded + unrecorded) * 100 >= all * 95, "{totals}");
}
