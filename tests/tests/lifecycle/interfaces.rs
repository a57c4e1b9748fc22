//! Selection of interfaces, attach modes, and foreign programs on them.

use std::time::Duration;

use firewall_agent::host::netlink::xdp_state;
use firewall_tests::lab::{INTERFACE, TestHost, eventually};
use serde_json::{Value, json};

use crate::foreign::Foreign;
use crate::setup::{ALLOWED, DATABASE, PORT, SERVERS, builder, hosts, last_status, wait_for_ready};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn every_mode_filters_and_auto_prefers_native() {
    for (xdp_mode, attached) in [("native", "native"), ("generic", "generic"), ("auto", "native")] {
        let host = builder().xdp_mode(xdp_mode).build();
        let agent = host.start_agent();
        assert_eq!(host.status()["interfaces"][0]["mode"], attached);
        let count = Traffic::start(&host).end_after(FLOW);
        assert!(count.rounds > 10, "{xdp_mode}: {count:?}");
        assert_eq!((count.leaked, count.lost), (0, 0), "{xdp_mode}: {count:?}");
        agent.terminate().unwrap();
    }
}

#[test]
fn new_interface_is_filtered_within_three_seconds() {
    let host = builder().interfaces(&["eth0", "late*"]).build();
    let mut agent = host.start_agent();
    let status = host.status();
    assert_eq!(names(&status), ["eth0"]);
    assert!(status["errors"].to_string().contains("late*: not found"), "{status}");
    host.link("late0");
    eventually(Duration::from_secs(3), "late0 is filtered", || {
        (names(&host.status()) == ["eth0", "late0"]).then_some(())
    })
    .unwrap();
    agent.wait_until("no error is left", || host.status()["errors"] == serde_json::json!([])).unwrap();
}

#[test]
fn recreated_interface_is_filtered_again() {
    let host = hosts();
    let mut agent = host.start_agent();
    let before = host.status()["interfaces"][0].clone();
    host.db.run("ip link delete eth0").unwrap();
    host.link(INTERFACE);
    agent
        .wait_until("eth0 is filtered again", || {
            let now = &host.status()["interfaces"][0];
            now["mode"] == "native" && now["link_id"] != before["link_id"]
        })
        .unwrap();
    assert_eq!(Traffic::start(&host).end_after(FLOW).leaked, 0);
}

/// The name sorts before `eth0`, below which the kernel refuses a program once the macvlan has one.
const MACVLAN: &str = "aa0";
const DATAGRAMS: u64 = 20;

/// Moves the server's address to a macvlan on `eth0`; packets then arrive on both interfaces.
fn macvlan(host: &TestHost) {
    let address = format!("{}/24", SERVERS[0]);
    for line in [
        format!("ip address delete {address} dev {INTERFACE}"),
        format!("ip link add {MACVLAN} link {INTERFACE} up type macvlan"),
        format!("ip address add {address} dev {MACVLAN}"),
    ] {
        host.db.run(&line).unwrap();
    }
    // Its lower interface would answer for the address, too.
    let mac = host.db.mac(MACVLAN).unwrap().map(|byte| format!("{byte:02x}")).join(":");
    host.outside.run(&format!("ip neigh replace {} lladdr {mac} dev {INTERFACE}", SERVERS[0])).unwrap();
}

/// Sends datagrams of the allowed source until the server has received some; returns the packets that the rule counted
/// beyond those that arrived.
fn counted_twice(host: &TestHost) -> u64 {
    let server = host.db.udp((SERVERS[0], PORT)).unwrap();
    server.set_read_timeout(Some(FLOW)).unwrap();
    let client = host.outside.udp((ALLOWED[0], 0)).unwrap();
    let before = host.hits(DATABASE, "fr-1");
    for _ in 0..DATAGRAMS {
        eventually(Duration::from_secs(10), "a datagram arrives", || {
            client.send_to(b"?", (SERVERS[0], PORT)).ok()?;
            server.recv_from(&mut [0]).ok()
        })
        .unwrap();
    }
    host.hits(DATABASE, "fr-1") - before - DATAGRAMS
}

#[test]
fn glob_selects_neither_loopback_nor_children_of_a_filtered_interface() {
    for xdp_mode in ["native", "auto", "generic"] {
        let host = builder().interfaces(&["'*'"]).xdp_mode(xdp_mode).build();
        macvlan(&host);
        let mut agent = host.start_agent();
        wait_for_ready(&host, &mut agent, true);
        let status = host.status();
        assert_eq!((names(&status), &status["errors"]), (vec![INTERFACE], &json!([])), "{xdp_mode}");
        assert_eq!(counted_twice(&host), 0, "{xdp_mode}");
        agent.terminate().unwrap();
    }
}

/// The control of the test above: a name is an order.
#[test]
fn named_child_of_a_filtered_interface_is_filtered_too_or_refused_with_advice() {
    let host = builder().interfaces(&["'*'", MACVLAN]).xdp_mode("auto").build();
    macvlan(&host);
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    assert_eq!(names(&host.status()), [MACVLAN, INTERFACE]);
    assert_eq!(counted_twice(&host), DATAGRAMS, "both programs count each packet");
    agent.terminate().unwrap();

    let host = builder().interfaces(&[INTERFACE, MACVLAN]).build();
    macvlan(&host);
    let agent = host.start_agent();
    let status = host.until("the macvlan is refused", |status| status["errors"] != json!([]));
    let errors = status["errors"].to_string();
    for words in [
        "interface aa0: cannot attach in mode native",
        "nderlying driver does not support XDP in native mode",
        "its packets are filtered on eth0 already: remove it from `interfaces`",
    ] {
        assert!(errors.contains(words), "{words}: {errors}");
    }
    assert_eq!((&status["ready"], mode(&status, INTERFACE)), (&json!(false), "native".to_owned()));
    agent.terminate().unwrap();
}

#[test]
fn alternative_names_select_interfaces() {
    for pattern in ["public-network-interface", "'public-*'"] {
        let host = builder().interfaces(&[pattern]).build();
        let mut agent = host.start_agent();
        assert!(host.status()["errors"].to_string().contains("not found"), "{pattern}");
        // Longer than a name can be.
        host.db.run("ip link property add dev eth0 altname public-network-interface").unwrap();
        wait_for_ready(&host, &mut agent, true);
        assert_eq!(names(&host.status()), [INTERFACE], "{pattern}");
        let count = Traffic::start(&host).end_after(FLOW);
        assert!(count.leaked == 0 && count.lost == 0, "{pattern}: {count:?}");
        agent.terminate().unwrap();
    }
}

#[test]
fn refused_attach_has_the_drivers_own_words() {
    let host = builder().unlinked().build();
    let line = format!(
        "ip link add name {INTERFACE} numtxqueues 1 numrxqueues 1 type veth peer name {INTERFACE} numtxqueues 4 \
         numrxqueues 4 netns outside"
    );
    host.db.run(&line).unwrap();
    host.bring_up(INTERFACE);
    let agent = host.start_agent();
    let status = host.until("the veth is refused", |status| status["errors"] != json!([]));
    let errors = status["errors"].to_string();
    let words = "XDP expects number of rx queues not less than peer tx queues";
    assert!(errors.contains(words) && !errors.contains("xdp_mode"), "{errors}");
    // The question for the words attaches nothing.
    let state = {
        let _inside = host.db.enter().unwrap();
        xdp_state(INTERFACE).unwrap().unwrap()
    };
    assert_eq!(state.program, None);
    agent.terminate().unwrap();
}

#[test]
fn large_segments_in_generic_mode_are_a_condition() {
    for (xdp_mode, is_reported) in [("generic", true), ("native", false)] {
        let host = builder().xdp_mode(xdp_mode).build();
        let mut agent = host.start_agent();
        wait_for_ready(&host, &mut agent, true);
        assert!(!reports(&host, "large_segments"), "{xdp_mode}");
        host.db.run("ip link set dev eth0 gro_max_size 100000").unwrap();
        if is_reported {
            host.eventually("the size is reported", || reports(&host, "large_segments"));
        } else {
            // Some drift checks.
            std::thread::sleep(Duration::from_secs(3));
            assert!(!reports(&host, "large_segments"), "{xdp_mode}");
        }
        assert_eq!(last_status(&host)["ready"], true, "{xdp_mode}");
        host.db.run("ip link set dev eth0 gro_max_size 65536").unwrap();
        host.eventually("the size is not reported", || !reports(&host, "large_segments"));
        agent.terminate().unwrap();
    }
}

fn reports(host: &TestHost, condition: &str) -> bool {
    let status = last_status(host);
    status["conditions"].as_array().unwrap().iter().any(|one| one["name"] == condition)
}

fn mode(status: &Value, interface: &str) -> String {
    let interfaces = status["interfaces"].as_array().unwrap();
    let found = interfaces.iter().find(|one| one["name"] == interface);
    found.map_or_else(String::new, |one| one["mode"].as_str().unwrap().to_owned())
}

#[test]
fn foreign_program_is_not_replaced_and_is_named() {
    let host = hosts();
    let foreign = Foreign::attach(&host.db, INTERFACE);
    let mut agent = host.start_agent();
    let status = host.status();
    let named = format!("another XDP program (id {})", foreign.program);
    assert!(status["errors"].to_string().contains(&named), "{status}");
    host.eventually("the program is named in the log", || agent.log().contains(&named));
    assert_eq!(
        (names(&status), &status["interfaces"][0]["mode"]),
        (vec!["eth0"], &serde_json::json!("none"))
    );
    let attached = || {
        let _inside = host.db.enter().unwrap();
        xdp_state(INTERFACE).unwrap().unwrap().program.unwrap().1
    };
    assert_eq!(attached(), foreign.program, "it is still attached");

    let program = foreign.program;
    foreign.detach();
    agent
        .wait_until("the interface is free and filtered", || {
            host.status()["interfaces"][0]["mode"] == "native"
        })
        .unwrap();
    assert_ne!(attached(), program);
}

#[test]
fn second_agent_exits_1_and_names_the_first() {
    let host = hosts();
    let first = host.start_agent();
    let before = host.status();
    let second = host.ask(&["run"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains(&format!("process id {} ", first.pid())), "{second:?}");
    assert_eq!(host.status()["interfaces"], before["interfaces"], "the first goes on");
    assert_eq!(host.status()["agent"], before["agent"]);
}

fn names(status: &Value) -> Vec<&str> {
    status["interfaces"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect()
}
