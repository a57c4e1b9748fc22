//! Drift: another process changes kernel objects, and the running agent detects, reports, repairs and counts it.

use std::fs;
use std::time::{Duration, Instant};

use firewall_common::{SourceFilter, names};
use firewall_tests::lab::{INTERFACE, TestHost, eventually, give_bpffs};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::deciding::planted::{map, number};
use crate::raw::{BPF_XDP, Map, ROOM, trie_key};
use crate::setup::{ALLOWED, DATABASE, DENIED, hosts, last_status, repairs, wait_for_ready};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(15);

/// The change, the kind that `status` counts its repair as, and the function that makes it.
type Change = (&'static str, &'static str, fn(&TestHost));

const CHANGES: [Change; 11] = [
    ("the link is detached", "link", |host| {
        Map::pinned(&host.home.pins().join("links").join(INTERFACE)).detach().unwrap();
    }),
    ("the link runs another program", "link_program", |host| {
        let link = Map::pinned(&host.home.pins().join("links").join(INTERFACE));
        link.update_link(&Map::drop_all(BPF_XDP)).unwrap();
    }),
    ("a source filter is cleared", "filters", |host| {
        let nothing = [0; size_of::<SourceFilter>()];
        map(host, names::PREFILTER_V4).insert(&number(0), &nothing).unwrap();
    }),
    ("the link's pin is removed", "link_pin", |host| {
        fs::remove_file(host.home.pins().join("links").join(INTERFACE)).unwrap();
    }),
    ("every other pin is removed", "pin", |host| {
        fs::remove_dir_all(host.home.pins().join(names::LAYOUT)).unwrap();
    }),
    ("a port is no longer marked", "ports", |host| {
        let ports = map(host, names::PORTS);
        for word in 0..1024u32 {
            ports.insert(&number(word), &[0; ROOM]).unwrap();
        }
    }),
    ("a guard becomes one against new connections only", "ports", |host| {
        let kinds = map(host, names::NEW_CONNECTIONS);
        for word in 0..1024u32 {
            kinds.insert(&number(word), &[0xff; ROOM]).unwrap();
        }
    }),
    ("another list lets the denied in", "sources", |host| {
        let trie = Map::publishable_trie(1);
        trie.insert(&trie_key("0.0.0.0/0".parse().unwrap()), &[0; ROOM]).unwrap();
        trie.publish(&map(host, names::SOURCES_V4), 0).unwrap();
    }),
    ("a list is removed", "sources", |host| {
        map(host, names::SOURCES_V4).remove(&number(0)).unwrap();
    }),
    ("the endpoints are removed", "endpoints", |host| {
        map(host, names::ENDPOINTS).remove(&number(0)).unwrap();
    }),
    ("a record is removed", "sources", |host| {
        map(host, names::DATABASES).remove(&number(0)).unwrap();
    }),
];

#[test]
fn external_changes_are_detected_and_repaired() {
    let host = hosts();
    let mut agent = host.start_agent();
    for (what, kind, change) in CHANGES {
        wait_for_ready(&host, &mut agent, true);
        assert_eq!(verdicts(&host), VERDICTS, "{what}: before");
        let before = repairs(&host, kind);
        change(&host);
        let changed = Instant::now();
        agent.wait_until("it is repaired", || repairs(&host, kind) > before).unwrap();
        println!("{what}: repaired and reported after {} ms", changed.elapsed().as_millis());
        assert_eq!(last_status(&host)["ready"], false, "{what}: {}", last_status(&host)["not_ready"]);
        wait_for_ready(&host, &mut agent, true);
        assert_eq!(verdicts(&host), VERDICTS, "{what}: after");
        let count = Traffic::start(&host).end_after(FLOW);
        assert!(count.rounds > 10, "{what}: {count:?}");
        assert_eq!((count.leaked, count.lost), (0, 0), "{what}: {count:?}");
    }
}

/// Control: without a running agent the same changes stay.
#[test]
fn without_an_agent_nothing_is_repaired() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    agent.terminate().unwrap();
    let trie = Map::publishable_trie(1);
    trie.insert(&trie_key("0.0.0.0/0".parse().unwrap()), &[0; ROOM]).unwrap();
    trie.publish(&map(&host, names::SOURCES_V4), 0).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(verdicts(&host), [Some(0), Some(0)]);
    // The next start detects it, too.
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    assert_eq!(verdicts(&host), VERDICTS);
}

#[test]
fn removed_pins_and_a_remounted_bpffs_lose_no_packet() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let link = host.status()["interfaces"][0]["link_id"].clone();
    let traffic = Traffic::start(&host);
    fs::remove_dir_all(host.home.pins().join(names::LAYOUT)).unwrap();
    fs::remove_file(host.home.pins().join("links").join(INTERFACE)).unwrap();
    agent
        .wait_until("everything is pinned again", || {
            repairs(&host, "pin") > 0 && repairs(&host, "link_pin") > 0
        })
        .unwrap();

    for _ in 0..2 {
        umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).unwrap();
    }
    eventually(PATIENCE, "the daemon reports that bpffs is gone", || {
        last_status(&host)["not_ready"].to_string().contains("bpffs").then_some(())
    })
    .unwrap();
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), Some("mode=0755")).unwrap();
    give_bpffs().unwrap();
    host.home.give_pins().unwrap();
    wait_for_ready(&host, &mut agent, true);
    assert_eq!(host.status()["interfaces"][0]["link_id"], link, "the link is the same");
    agent.kill().unwrap();
    let count = traffic.end_after(FLOW);
    assert!(count.rounds > 100, "{count:?}");
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    assert_eq!(host.status()["interfaces"][0]["link_id"], link, "the agent adopts the link by its pin");
}

#[test]
fn lost_endpoints_pin_is_rebuilt_from_the_store_at_the_next_start() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    agent.kill().unwrap();
    fs::remove_dir_all(host.home.pins().join(names::LAYOUT).join("endpoints")).unwrap();
    let traffic = Traffic::start(&host);
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let count = traffic.end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    host.eventually("the rebuild is logged", || agent.log().contains("rebuilt from the accepted files"));
}

const VERDICTS: [Option<i32>; 2] = [Some(0), Some(3)];

fn verdicts(host: &TestHost) -> [Option<i32>; 2] {
    [ALLOWED[0], DENIED[0]].map(|source| host.ask(&["explain", source, DATABASE]).code)
}
