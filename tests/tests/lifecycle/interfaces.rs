//! Selection of interfaces, attach modes, and foreign programs on them.

use std::time::Duration;

use firewall_agent::host::netlink::xdp_state;
use firewall_tests::lab::{INTERFACE, eventually};
use serde_json::json;

use crate::foreign::Foreign;
use crate::setup::{builder, hosts};
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

fn names(status: &serde_json::Value) -> Vec<&str> {
    status["interfaces"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect()
}
