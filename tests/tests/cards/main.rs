//! Network cards: the attached program judges what every receive queue of a card receives, in the mode that the driver
//! offers.
//!
//! The cards are a veth, which has native XDP, and a macvlan, which has none. `FIREWALL_CARD` names one of the machine
//! instead, which `cargo xtask kernels` sets in its guests.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod card;
mod queues;
mod service;

use std::collections::BTreeSet;

use firewall_common::names::{FIREWALL, LAYOUT};
use firewall_tests::lab::{Builder, INTERFACE, RuleFile, TestHost, records_denied_packets};
use serde_json::{Value, json};

use crate::card::Card;
use crate::queues::received;
use crate::service::{ALLOWED, DENIED, PORT, SERVERS, Service};

const DATABASE: &str = "orders";
/// Larger than the MTU: leaves in several fragments.
const FRAGMENTED: usize = 3_000;

fn builder() -> Builder<'static> {
    let destinations = [format!("{}:{PORT}", SERVERS[0]), format!("[{}]:{PORT}", SERVERS[1])];
    let endpoints =
        destinations.iter().fold(RuleFile::new(DATABASE, 1), |file, to| file.udp_endpoint(to).endpoint(to));
    TestHost::builder()
        .clients(&["192.0.2.20/24", "2001:db8:2::20/64", "192.0.2.66/24", "2001:db8:2::66/64"])
        .rules(endpoints.allow("192.0.2.20/32").allow("2001:db8:2::20/128"))
}

/// The mode to configure for a card: `native` refuses a card without native XDP.
fn configured(card: &Card) -> &'static str {
    if card.mode() == "native" { "native" } else { "auto" }
}

fn interface(host: &TestHost) -> Value {
    host.status()["interfaces"][0].clone()
}

/// Starts the agent and waits until the rules are in force on the card.
fn filter(host: &TestHost, mode: &str) {
    host.start();
    host.until_applied(DATABASE, 1);
    host.until("the card is filtered", |status| status["interfaces"][0]["mode"] == mode);
}

#[test]
fn every_queue_admits_allowed_sources_and_refuses_and_records_denied_ones() {
    for card in Card::all() {
        let host = card.plug(builder().xdp_mode(configured(&card)));
        let mut service = Service::new(&host);
        let (allowed, denied) = (service.send(&host, ALLOWED), service.send(&host, DENIED));
        service.await_all(&allowed);
        // The control: without the agent every denied source gets in.
        service.await_all(&denied);

        filter(&host, card.mode());
        let before = received(&host.db, INTERFACE);
        let denied = service.send(&host, DENIED);
        let allowed = service.send(&host, ALLOWED);
        service.await_all(&allowed);
        service.assert_none(&denied);
        let after = received(&host.db, INTERFACE);
        let idle: Vec<u32> = after
            .iter()
            .filter(|(queue, count)| before.get(queue) == Some(count))
            .map(|(queue, _)| *queue)
            .collect();
        match after.len() {
            0 => println!("card: {}", card.mode()),
            queues => println!("card: {}, {queues} receive queues", card.mode()),
        }
        assert_eq!(idle, [0; 0], "queues without a packet: {before:?}, {after:?}");

        let refused = host.json(&["databases"])["databases"][0]["packets_denied"].as_u64().unwrap();
        assert!(refused >= denied.len() as u64, "{refused} of {} counted", denied.len());
        let expected = if records_denied_packets() { recordable() } else { BTreeSet::new() };
        host.eventually("every denied source is recorded", || recorded(&host) == expected);
    }
}

/// Returns each denied source with its classes of packets.
fn recordable() -> BTreeSet<(String, String)> {
    let sources = DENIED.iter().flat_map(|source| ["syn", "udp"].map(|class| (*source, class)));
    sources.map(|(source, class)| (source.to_owned(), class.to_owned())).collect()
}

fn recorded(host: &TestHost) -> BTreeSet<(String, String)> {
    let denied = host.json(&["denied", "--by-kind"])["denied"].clone();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
    let denied = denied.as_array().unwrap().iter();
    denied.map(|one| (text(one, "source"), text(one, "class"))).collect()
}

#[test]
fn fragments_and_tagged_frames_are_judged() {
    for card in Card::all() {
        let host = card.plug(builder().xdp_mode(configured(&card)));
        // Emulated cards report wrong checksums of fragments, which the kernel would drop. A macvlan has no such setting.
        let checksums = ["-K", INTERFACE, "rx", "off"];
        let _ = host.db.command("ethtool").args(checksums).output().unwrap();
        let mut service = Service::new(&host);
        let sent = |service: &mut Service, sources| {
            let fragmented = service.send_datagrams(&host, sources, FRAGMENTED);
            [fragmented, service.send_tagged(&host, sources)].concat()
        };
        for sources in [ALLOWED, DENIED] {
            let control = sent(&mut service, sources);
            service.await_all(&control);
        }
        filter(&host, card.mode());
        // An attach resets some cards.
        service.until_arrived(&host, ALLOWED, |_| {});
        let denied = sent(&mut service, DENIED);
        let allowed = sent(&mut service, ALLOWED);
        service.await_all(&allowed);
        service.assert_none(&denied);
    }
}

#[test]
fn change_of_mtu_and_link_leaves_the_filter_in_force() {
    for card in Card::all() {
        if card.forgets() {
            assert_forgets(&card);
            println!("card: forgets its program when the MTU changes");
        }
        let host = card.plug(builder().xdp_mode(configured(&card)));
        // Otherwise the kernel removes the addresses of a link that goes down.
        host.db.set("net/ipv6/conf/all/keep_addr_on_down", "1").unwrap();
        let mut service = Service::new(&host);
        filter(&host, card.mode());
        let link = interface(&host)["link_id"].clone();
        for change in ["mtu 1400", "mtu 1500", "down", "up"] {
            println!("after ip link set {INTERFACE} {change}:");
            host.db.run(&format!("ip link set {INTERFACE} {change}")).unwrap();
            if change == "down" {
                continue;
            }
            let denied = service.until_allowed(&host);
            service.assert_none(&denied);
            assert_eq!(interface(&host)["mode"], card.mode());
            assert_eq!(interface(&host)["link_id"], link);
        }
        host.kill();
        // The control: the same packets arrive once the filter is gone, which the kernel removes after its last pin.
        host.remove_pins();
        service.until_arrived(&host, DENIED, |_| ());
    }
}

/// Requires the known defect of a driver, so that its end is noticed. The agent refuses native mode on it, so that `ip`
/// attaches the agent's program.
fn assert_forgets(card: &Card) {
    let host = card.plug(builder().xdp_mode("generic"));
    let mut service = Service::new(&host);
    filter(&host, "generic");
    host.stop();
    let detached = host.ask(&["detach", "--yes"]);
    assert_eq!(detached.code, Some(0), "{detached:?}");
    let open = service.send(&host, DENIED);
    service.await_all(&open);
    let program = host.home.pins().join(LAYOUT).join(FIREWALL);
    host.db.run(&format!("ip link set dev {INTERFACE} xdpdrv pinned {}", program.display())).unwrap();
    let denied = service.until_allowed(&host);
    service.assert_none(&denied);
    host.db.run(&format!("ip link set {INTERFACE} mtu 1400")).unwrap();
    service.until_arrived(&host, DENIED, |_| ());
    let shown = host.db.run(&format!("ip link show dev {INTERFACE}")).unwrap();
    assert!(shown.contains("prog/xdp"), "the kernel still reports the program: {shown}");
    // The next test gets the same card.
    for change in ["xdpdrv off", "mtu 1500"] {
        host.db.run(&format!("ip link set dev {INTERFACE} {change}")).unwrap();
    }
}

#[test]
fn native_mode_is_attached_or_refused_with_the_reason() {
    for card in Card::all() {
        let host = card.plug(builder().xdp_mode("native"));
        if card.mode() == "native" {
            filter(&host, card.mode());
            continue;
        }
        host.start();
        let status = host.until("the card is refused", |status| status["errors"] != json!([]));
        let errors = status["errors"].to_string();
        for words in [&[INTERFACE, "cannot attach in mode native"], card.refusal()].concat() {
            assert!(errors.contains(words), "{words}: {errors}");
        }
        println!("refused: {}", status["errors"][0].as_str().unwrap_or(&errors));
        assert_eq!(status["interfaces"][0]["mode"], "none");
        let mut service = Service::new(&host);
        let open = service.send(&host, DENIED);
        service.await_all(&open);
    }
}
