//! A flood: bounded memory, bounded work, and correct shares of the heaviest sources.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use firewall_common::DENIALS_SIZE;
use firewall_tests::packets::frame;

use crate::setup::{ORDERS, SERVER, in_force};

const HEAVY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const HALF_AS_HEAVY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const LONG: Duration = Duration::from_secs(3);
/// Offset of the source address in an Ethernet frame with an IPv4 header.
const SOURCE: usize = 14 + 12;

/// Of eight packets four are the heavy source's, two the other's, and two come from new sources. They take turns, and a
/// sampler with a fixed stride would lock onto them.
#[test]
fn flood_of_new_sources_preserves_shares_of_heavy_sources() {
    let loaded = in_force();
    let heavy = frame().ipv4(HEAVY, SERVER).tcp(40_000, ORDERS).build();
    let other = frame().ipv4(HALF_AS_HEAVY, SERVER).tcp(40_000, ORDERS).build();
    let mut fresh = other.clone();
    let (started, mut sent, mut source) = (Instant::now(), 0u64, 0x6400_0000_u32);
    while started.elapsed() < LONG {
        for turn in 0..8 {
            let frame = match turn {
                0..4 => &heavy,
                4..6 => &other,
                _ => {
                    source += 1;
                    fresh[SOURCE..SOURCE + 4].copy_from_slice(&source.to_be_bytes());
                    &fresh
                }
            };
            loaded.firewall.run(frame, None).unwrap();
            sent += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let (denied, totals) = (loaded.kernel.denied().unwrap(), loaded.kernel.denied_totals().unwrap());
    let per_second = totals.records as f64 / seconds;
    println!(
        "{:.0} packets/s refused, {per_second:.0} records/s, {} entries, {totals:?}",
        sent as f64 / seconds,
        denied.len()
    );
    assert_eq!(totals.seen, sent, "the sampler saw every denied packet");
    assert!(totals.recorded + totals.unrecorded <= sent && totals.records > 100, "{totals:?}");
    assert!(sent - totals.recorded - totals.unrecorded < sent / 50, "few packets await a record: {totals:?}");
    assert!(totals.records < sent / 4, "records are bounded by time, not by packets: {totals:?}");
    assert!(denied.len() <= DENIALS_SIZE as usize, "{}", denied.len());

    let mut by_source: BTreeMap<IpAddr, u64> = BTreeMap::new();
    denied.iter().for_each(|one| *by_source.entry(one.what.source.unwrap()).or_default() += one.packets);
    for (source, share) in [(HEAVY, 0.5), (HALF_AS_HEAVY, 0.25)] {
        let found = by_source[&IpAddr::V4(source)] as f64 / sent as f64;
        println!("{source}: {:.1} % of the flood, estimated as {:.1} %", share * 100.0, found * 100.0);
        assert!((found - share).abs() < 0.1 * share, "{source}: {found} instead of {share}");
    }
    let most =
        by_source.iter().filter(|(source, _)| ![HEAVY, HALF_AS_HEAVY].map(IpAddr::V4).contains(source));
    let most = *most.map(|(_, packets)| packets).max().unwrap();
    assert!(most < sent / 20, "a source of one packet is estimated to have sent {most} of {sent}");
}

/// A packet after a flood does not carry the flood's unrecorded remainder.
#[test]
fn a_lone_packet_after_a_flood_is_one_packet() {
    let loaded = in_force();
    let heavy = frame().ipv4(HEAVY, SERVER).tcp(40_000, ORDERS).build();
    for _ in 0..200_000 {
        loaded.firewall.run(&heavy, None).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let lone = frame().ipv4(HALF_AS_HEAVY, SERVER).tcp(40_000, ORDERS).build();
    loaded.firewall.run(&lone, None).unwrap();
    let denied = loaded.kernel.denied().unwrap();
    let of = |source: Ipv4Addr| denied.iter().find(|one| one.what.source == Some(source.into())).unwrap();
    assert_eq!(of(HALF_AS_HEAVY).packets, 1, "{denied:?}");
    let totals = loaded.kernel.denied_totals().unwrap();
    assert_eq!((totals.seen, of(HEAVY).packets + 1), (200_001, totals.recorded), "{totals:?}");
    // Each CPU that ran the flood may retain a remainder; that of the last one is recorded.
    assert!(totals.recorded + totals.unrecorded <= totals.seen, "{totals:?}");
}
