//! Interfaces renamed, moved, taken down, or given a larger MTU; several at once.

use std::time::Duration;

use firewall_tests::lab::INTERFACE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::foreign::Foreign;
use crate::raw::Map;
use crate::setup::{builder, hosts, wait_for_ready};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn link_survives_rename_down_up_and_a_larger_mtu() {
    let host = builder().interfaces(&["eth*"]).build();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let link = host.status()["interfaces"][0]["link_id"].clone();
    for change in [
        &["ip link set eth0 down", "ip link set eth0 name eth9", "ip link set eth9 up"][..],
        &["ip link set eth9 down", "ip link set eth9 up"],
        &["ip link set eth9 mtu 9000"],
        &["ip link set eth9 down", "ip link set eth9 name eth0", "ip link set eth0 up"],
    ] {
        for line in change {
            host.db.run(line).unwrap();
        }
        host.restore_addresses();
        wait_for_ready(&host, &mut agent, true);
        let status = host.status();
        assert_eq!(status["interfaces"][0]["link_id"], link, "{change:?}: {status}");
        assert_eq!(status["interfaces"].as_array().unwrap().len(), 1, "{change:?}: {status}");
        let count = Traffic::start(&host).end_after(FLOW);
        assert!(count.rounds > 10, "{change:?}: {count:?}");
        assert_eq!((count.leaked, count.lost), (0, 0), "{change:?}: {count:?}");
    }
}

#[test]
fn renamed_interface_is_shown_as_still_filtered() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let link = host.status()["interfaces"][0]["link_id"].clone();
    for line in ["ip link set eth0 down", "ip link set eth0 name ens5", "ip link set ens5 up"] {
        host.db.run(line).unwrap();
    }
    host.restore_addresses();
    agent.wait_until("the new name is shown", || host.status()["interfaces"][0]["name"] == "ens5").unwrap();
    let shown = |status: &Value| {
        let one = &status["interfaces"][0];
        assert_eq!((&one["link_id"], &one["renamed_from"]), (&link, &Value::from(INTERFACE)), "{status}");
        let text = host.ask(&["status"]).out;
        assert!(text.contains("\neth0 is now ens5, still filtered\n"), "{text}");
    };
    let status = host.status();
    let reason = "interface eth0: not found: is now ens5, still filtered; put ens5 into `interfaces`";
    assert_eq!(status["not_ready"], serde_json::json!([reason]), "{status}");
    shown(&status);
    let count = Traffic::start(&host).end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    agent.terminate().unwrap();

    // Renamed while no agent runs.
    for line in ["ip link set ens5 down", "ip link set ens5 name ens6", "ip link set ens6 up"] {
        host.db.run(line).unwrap();
    }
    let text = host.ask(&["status"]).out;
    assert!(text.contains("\nens5 is now ens6, still filtered\n"), "{text}");
}

#[test]
fn moved_interface_stays_filtered_and_frees_its_name() {
    let host = hosts();
    let elsewhere = host.lab.host("elsewhere").unwrap();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let moved = host.status()["interfaces"][0].clone();
    host.db.run("ip link set eth0 netns elsewhere").unwrap();
    agent.wait_until("its name is missed", || host.status()["ready"] == false).unwrap();
    let xdp = elsewhere.run("ip -o link show eth0").unwrap();
    assert!(xdp.contains("xdp"), "it carries our program with it: {xdp}");

    // Frees the interface name on the client host.
    for line in ["ip address flush dev eth0", "ip link set eth0 down", "ip link set eth0 name old0"] {
        host.outside.run(line).unwrap();
    }
    host.link(INTERFACE);
    wait_for_ready(&host, &mut agent, true);
    let there = named(&host.status(), INTERFACE);
    assert_ne!(there["link_id"], moved["link_id"]);
    let count = Traffic::start(&host).end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    let xdp = elsewhere.run("ip -o link show eth0").unwrap();
    assert!(xdp.contains("xdp"), "{xdp}");
    // A restart adopts both.
    agent.terminate().unwrap();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    assert_eq!(named(&host.status(), INTERFACE)["link_id"], there["link_id"]);
}

#[test]
fn recreated_interface_is_filtered_and_unprotected_time_reported() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let unprotected = || named(&host.status(), INTERFACE)["unprotected_ms"].as_u64().unwrap();
    for _ in 0..3 {
        let (before, open) = (named(&host.status(), INTERFACE), unprotected());
        host.db.run("ip link delete eth0").unwrap();
        host.link(INTERFACE);
        agent
            .wait_until("it is filtered by a new link", || {
                let now = named(&host.status(), INTERFACE);
                now["mode"] == "native" && now["link_id"] != before["link_id"]
            })
            .unwrap();
        let count = Traffic::start(&host).end_after(FLOW);
        assert_eq!(count.leaked, 0, "{count:?}");
        // The control below shows that the agent counts time at all.
        assert!(unprotected() - open < 10_000, "{} ms", unprotected() - open);
        println!("made anew: unprotected for {} ms", unprotected() - open);
    }
    // Control: while a foreign program blocks the attach, the time counts.
    let open = unprotected();
    let signal = |signal| kill(Pid::from_raw(agent.pid().cast_signed()), signal).unwrap();
    signal(Signal::SIGSTOP);
    Map::pinned(&host.home.pins().join("links").join(INTERFACE)).detach().unwrap();
    let foreign = Foreign::attach(&host.db, INTERFACE);
    signal(Signal::SIGCONT);
    agent
        .wait_until("the foreign program is reported", || {
            host.status()["not_ready"]
                .to_string()
                .contains(&format!("another XDP program (id {})", foreign.program))
        })
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    foreign.detach();
    wait_for_ready(&host, &mut agent, true);
    assert!(unprotected() >= open + 1_000, "{open} → {}", unprotected());
}

#[test]
fn unconfigured_interface_stays_filtered_and_updated() {
    let host = builder().interfaces(&["eth*", "other0"]).build();
    host.link("other0");
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    agent.terminate().unwrap();
    let config = std::fs::read_to_string(host.home.config()).unwrap();
    std::fs::write(host.home.config(), config.replace("[eth*, other0]", "[eth*]")).unwrap();
    let before = host.status();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    for interface in ["eth0", "other0"] {
        let (before, after) = (named(&before, interface), named(&host.status(), interface));
        assert_eq!(after["link_id"], before["link_id"], "{interface}");
        assert_ne!(after["program_id"], before["program_id"], "{interface} runs the new agent's program");
    }
}

fn named(status: &Value, interface: &str) -> Value {
    let interfaces = status["interfaces"].as_array().unwrap();
    interfaces.iter().find(|one| one["name"] == interface).cloned().unwrap_or(Value::Null)
}
