//! Attach, repair, detach, and changes of the mode.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;

use firewall_tests::lab::{TestHost, eventually};
use serde_json::Value;
use std::time::Duration;

use crate::scene::{
    DATABASE, LINK, PORT, SIDE, STRANGERS, built, destination, is_served, listen, refused, restart, rules,
    scene,
};

const PIN: &str = "links/:socket-filter";

fn stranger_is_served(host: &TestHost) -> bool {
    let listener = listen(&host.db, PORT);
    is_served(&listener, &host.outside, STRANGERS[0], destination(SIDE[0], PORT))
}

fn repairs(host: &TestHost) -> u64 {
    host.status()["repairs"]["socket_link"].as_u64().unwrap()
}

fn condition(status: &Value, name: &str) -> bool {
    status["conditions"].as_array().unwrap().iter().any(|one| one["name"] == name)
}

#[test]
fn status_shows_mode_group_program_and_exemption() {
    let host = scene(rules(1));
    // The default.
    host.start();
    let status = host.until("it monitors", |status| status["socket_filter"]["mode"] == "monitor");
    let filter = &status["socket_filter"];
    assert_eq!((&filter["cgroup"], &filter["loopback"]), (&"/sys/fs/cgroup".into(), &false.into()));
    assert_eq!(filter["program_tag"].as_str().unwrap().len(), 16, "{filter}");
    let text = host.ask(&["status"]).out;
    assert!(text.contains("socket filter monitor, loopback exempt, program "), "{text}");
    assert!(text.contains("control group /sys/fs/cgroup"), "{text}");
}

#[test]
fn filter_survives_the_agent_and_every_restart() {
    let host = scene(rules(1));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    let link = host.status()["socket_filter"]["link_id"].clone();
    assert!(!stranger_is_served(&host));
    host.kill();
    assert!(!stranger_is_served(&host));
    restart(&host, "enforce", &[]);
    assert!(!stranger_is_served(&host));
    assert_eq!(host.status()["socket_filter"]["link_id"], link, "the same link, updated");
    restart(&host, "monitor", &[]);
    host.until_applied(DATABASE, 1);
    assert!(stranger_is_served(&host) && refused(&host, LINK) > 0);
    assert_eq!(host.status()["socket_filter"]["link_id"], link);
    restart(&host, "off", &[]);
    assert!(!host.home.pins().join(PIN).exists());
    let before = refused(&host, LINK);
    assert!(stranger_is_served(&host));
    assert_eq!(refused(&host, LINK), before);
}

#[test]
fn another_process_removes_the_pin_or_the_link() {
    let host = scene(rules(1));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    let (pin, before) = (host.home.pins().join(PIN), repairs(&host));
    fs::remove_file(&pin).unwrap();
    host.eventually("the pin is back", || pin.exists());
    assert!(!stranger_is_served(&host));
    host.until("one repair", |status| status["repairs"]["socket_link"] == before + 1);
    let program = host.home.pins().join("v3/socket_filter");
    fs::remove_file(&program).unwrap();
    host.eventually("the program's pin is back", || program.exists());
}

#[test]
fn detach_and_attach_include_the_socket_filter() {
    let host = scene(rules(1));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    let done = host.ask(&["detach", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    host.eventually("the stranger is served", || stranger_is_served(&host));
    host.until("not attached", |status| status["socket_filter"]["mode"] == "none");
    // Also after a restart.
    host.stop();
    host.start_with(&["--socket-filter", "enforce"]);
    host.until("still not attached", |status| status["socket_filter"]["mode"] == "none");
    assert!(stranger_is_served(&host));
    let done = host.ask(&["attach"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!stranger_is_served(&host));
    // Without a daemon.
    host.stop();
    let done = host.ask(&["detach", "--yes"]);
    assert!(done.code == Some(0) && done.out.contains("socket filter"), "{done:?}");
    assert!(stranger_is_served(&host));
}

#[test]
fn missing_group_is_a_condition_that_blocks_only_with_enforce() {
    let host = built(TestHost::builder().rules(rules(1)));
    let elsewhere = host.dir();
    let flag = elsewhere.to_str().unwrap();
    host.start_with(&["--socket-filter", "enforce", "--socket-filter-cgroup", flag]);
    let status = host.until("a condition", |status| condition(status, "socket_filter"));
    assert_eq!(status["ready"], false);
    assert!(status["not_ready"].to_string().contains("no control group of version 2"), "{status:#}");
    host.stop();
    host.start_with(&["--socket-filter", "monitor", "--socket-filter-cgroup", flag]);
    let status = host.until("a condition", |status| condition(status, "socket_monitor"));
    assert!(!condition(&status, "socket_filter"));
    host.until("ready nonetheless", |status| status["ready"] == true);
}

/// The database's unit starts only on a host with the filter that is to enforce.
#[test]
fn restore_requires_an_enforcing_filter() {
    let host = built(TestHost::builder().config("socket_filter: enforce").rules(rules(1)));
    let restore = || host.ask(&["restore", "--wait", "300ms"]);
    let works = restore();
    assert_eq!(works.code, Some(0), "{works:?}");
    host.change_config("socket_filter: enforce", "socket_filter: enforce\nsocket_filter_cgroup: /nowhere");
    let refused = restore();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("socket filter: cannot stat /nowhere"), "{refused:?}");
    // Beside the daemon, which has not attached it, either. The link of the first restore is of another program.
    host.start();
    host.until("a condition", |status| condition(status, "socket_filter"));
    let refused = restore();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("socket filter: not attached by agent"), "{refused:?}");
    host.stop();
    host.change_config("\nsocket_filter_cgroup: /nowhere", "");
    host.start();
    host.until("attached", |status| status["socket_filter"]["mode"] == "enforce");
    assert_eq!(restore().code, Some(0));
}

/// Messages to a service manager since the last call.
fn notified(manager: &UnixDatagram) -> Vec<String> {
    let mut message = [0; 1024];
    let received =
        std::iter::from_fn(|| manager.recv(&mut message).ok().map(|length| message[..length].to_vec()));
    received.map(|bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned()).collect()
}

/// The database's unit starts after `READY=1`: no socket may be open to a stranger then.
#[test]
fn readiness_is_notified_once_an_enforcing_filter_is_attached() {
    let host = scene(rules(1));
    let group = host.lab.cgroup().parent().unwrap().join(format!("late-{}", std::process::id()));
    let path = host.dir().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let front = format!("env NOTIFY_SOCKET={}", path.display());
    let start = |mode| {
        let flags = ["--socket-filter", mode, "--socket-filter-cgroup", group.to_str().unwrap()];
        host.own(host.home.start_by(&front, &flags).unwrap());
    };
    let is_ready = |messages: &[String]| messages.iter().any(|message| message == "READY=1");

    // Control: a filter that monitors is not waited for.
    start("monitor");
    host.until("a condition", |status| condition(status, "socket_monitor"));
    host.eventually("ready", || is_ready(&notified(&manager)));
    host.stop();
    notified(&manager);

    start("enforce");
    host.until_applied(DATABASE, 1);
    host.until("a condition", |status| condition(status, "socket_filter"));
    // The loop notifies in each turn, and several have passed once the next revision is in force.
    host.push(&rules(2));
    host.until_applied(DATABASE, 2);
    let before = notified(&manager);
    let is_status = |message: &String| message.starts_with("STATUS=1 database");
    assert!(before.iter().any(is_status) && !is_ready(&before), "{before:?}");
    fs::create_dir(&group).unwrap();
    let ready = eventually(Duration::from_secs(60), "ready", || is_ready(&notified(&manager)).then_some(()));
    let mode = host.status()["socket_filter"]["mode"].clone();
    host.stop();
    host.remove_pins();
    fs::remove_dir(&group).unwrap();
    ready.unwrap();
    assert_eq!(mode, "enforce");
}

/// The group of a service may end, with the link; a group of the same path is another one.
#[test]
fn group_that_is_made_again_is_attached_again() {
    let host = scene(rules(1));
    let group = host.lab.cgroup().parent().unwrap().join(format!("remade-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    host.start_with(&["--socket-filter", "enforce", "--socket-filter-cgroup", group.to_str().unwrap()]);
    host.until("attached", |status| status["socket_filter"]["mode"] == "enforce");
    fs::remove_dir(&group).unwrap();
    host.until("a condition", |status| condition(status, "socket_filter"));
    fs::create_dir(&group).unwrap();
    let again = eventually(Duration::from_secs(60), "attached again", || {
        (host.status()["socket_filter"]["mode"] == "enforce").then_some(())
    });
    host.stop();
    host.remove_pins();
    fs::remove_dir(&group).unwrap();
    again.unwrap();
}
