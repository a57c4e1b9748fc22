//! Interfaces renamed, moved, taken down, or given a larger MTU; several at once.

use std::time::Duration;

use firewall_tests::lab::Agent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::foreign::Foreign;
use crate::raw::Map;
use crate::stage::{INTERFACE, Stage};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn a_link_follows_its_interface_through_renaming_down_and_up_and_a_larger_mtu() {
    let stage = Stage::with(&["eth*"], "native");
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    let link = stage.status()["interfaces"][0]["link_id"].clone();
    for change in [
        &["ip link set eth0 down", "ip link set eth0 name eth9", "ip link set eth9 up"][..],
        &["ip link set eth9 down", "ip link set eth9 up"],
        &["ip link set eth9 mtu 9000"],
        &["ip link set eth9 down", "ip link set eth9 name eth0", "ip link set eth0 up"],
    ] {
        for line in change {
            stage.db.run(line).unwrap();
        }
        stage.restore_addresses();
        wait_for_ready(&stage, &mut agent);
        let status = stage.status();
        assert_eq!(status["interfaces"][0]["link_id"], link, "{change:?}: {status}");
        assert_eq!(status["interfaces"].as_array().unwrap().len(), 1, "{change:?}: {status}");
        let count = Traffic::start(&stage).end_after(FLOW);
        assert!(count.rounds > 10, "{change:?}: {count:?}");
        assert_eq!((count.leaked, count.lost), (0, 0), "{change:?}: {count:?}");
    }
}

#[test]
fn an_interface_that_was_moved_away_stays_filtered_and_its_name_is_free_for_another() {
    let stage = Stage::new();
    let elsewhere = stage.lab.host("elsewhere").unwrap();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    let moved = stage.status()["interfaces"][0].clone();
    stage.db.run("ip link set eth0 netns elsewhere").unwrap();
    agent.wait_until("its name is missed", || stage.status()["ready"] == false).unwrap();
    let xdp = elsewhere.run("ip -o link show eth0").unwrap();
    assert!(xdp.contains("xdp"), "it carries our program with it: {xdp}");

    // Frees the interface name on the client host.
    for line in ["ip address flush dev eth0", "ip link set eth0 down", "ip link set eth0 name old0"] {
        stage.clients.run(line).unwrap();
    }
    stage.connect(INTERFACE);
    wait_for_ready(&stage, &mut agent);
    let there = named(&stage.status(), INTERFACE);
    assert_ne!(there["link_id"], moved["link_id"]);
    let count = Traffic::start(&stage).end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    let xdp = elsewhere.run("ip -o link show eth0").unwrap();
    assert!(xdp.contains("xdp"), "{xdp}");
    // A restart adopts both.
    agent.terminate().unwrap();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    assert_eq!(named(&stage.status(), INTERFACE)["link_id"], there["link_id"]);
}

#[test]
fn an_interface_made_anew_is_filtered_at_once_and_the_time_it_stood_open_is_told() {
    let stage = Stage::new();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    let unprotected = || named(&stage.status(), INTERFACE)["unprotected_ms"].as_u64().unwrap();
    for _ in 0..3 {
        let (before, open) = (named(&stage.status(), INTERFACE), unprotected());
        stage.db.run("ip link delete eth0").unwrap();
        stage.connect(INTERFACE);
        agent
            .wait_until("it is filtered by a new link", || {
                let now = named(&stage.status(), INTERFACE);
                now["mode"] == "native" && now["link_id"] != before["link_id"]
            })
            .unwrap();
        let count = Traffic::start(&stage).end_after(FLOW);
        assert_eq!(count.leaked, 0, "{count:?}");
        // The control below shows that the agent counts time at all.
        assert!(unprotected() - open < 10_000, "{} ms", unprotected() - open);
        println!("made anew: unprotected for {} ms", unprotected() - open);
    }
    // Control: while a foreign program blocks the attach, the time counts.
    let open = unprotected();
    let signal = |signal| kill(Pid::from_raw(agent.pid().cast_signed()), signal).unwrap();
    signal(Signal::SIGSTOP);
    Map::pinned(&stage.home.pins().join("links").join(INTERFACE)).detach().unwrap();
    let foreign = Foreign::attach(&stage);
    signal(Signal::SIGCONT);
    agent
        .wait_until("the foreign program is told", || {
            stage.status()["not_ready"]
                .to_string()
                .contains(&format!("another XDP program (id {})", foreign.program))
        })
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    foreign.detach();
    wait_for_ready(&stage, &mut agent);
    assert!(unprotected() >= open + 1_000, "{open} → {}", unprotected());
}

#[test]
fn what_is_no_longer_configured_stays_filtered_and_up_to_date() {
    let stage = Stage::with(&["eth*", "other0"], "native");
    stage.connect("other0");
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    agent.terminate().unwrap();
    let config = std::fs::read_to_string(stage.home.config()).unwrap();
    std::fs::write(stage.home.config(), config.replace("[eth*, other0]", "[eth*]")).unwrap();
    let before = stage.status();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    for interface in ["eth0", "other0"] {
        let (before, after) = (named(&before, interface), named(&stage.status(), interface));
        assert_eq!(after["link_id"], before["link_id"], "{interface}");
        assert_ne!(after["program_id"], before["program_id"], "{interface} runs the new agent's program");
    }
}

fn wait_for_ready(stage: &Stage, agent: &mut Agent) {
    let waited =
        agent.wait_until("it is ready", || stage.home.status().is_ok_and(|status| status.0["ready"] == true));
    waited.unwrap_or_else(|error| panic!("{:#}: {error:#}", stage.status()));
}

fn named(status: &Value, interface: &str) -> Value {
    let interfaces = status["interfaces"].as_array().unwrap();
    interfaces.iter().find(|one| one["name"] == interface).cloned().unwrap_or(Value::Null)
}
