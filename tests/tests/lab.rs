//! The lab itself: its hosts are isolated, invisible from outside, and leave nothing behind when their thread ends.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use firewall_tests::lab::{
    CAPABILITY_MASK, Lab, Postgres, RuleFile, Session, TestHost, User, eventually, psql,
};
use nix::sys::signal::Signal;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn hosts_reach_each_other_only_through_the_router() {
    let lab = Lab::new().unwrap();
    let (left, router, right) =
        (lab.host("left").unwrap(), lab.host("router").unwrap(), lab.host("right").unwrap());
    lab.link(
        left.end("eth0", &["192.0.2.10/24", "2001:db8:2::10/64"]),
        router.end("left0", &["192.0.2.1/24", "2001:db8:2::1/64"]),
    )
    .unwrap();
    lab.link(
        right.end("eth0", &["203.0.113.20/24", "2001:db8:3::20/64"]),
        router.end("right0", &["203.0.113.1/24", "2001:db8:3::1/64"]),
    )
    .unwrap();
    let listener = left.listen("[::]:30092").unwrap();
    let addresses = ["192.0.2.10:30092", "[2001:db8:2::10]:30092"];
    for address in addresses {
        assert!(right.connect(address, SECOND).is_err(), "{address} is reached without a route");
    }
    left.route_by(&["192.0.2.1", "2001:db8:2::1"]).unwrap();
    right.route_by(&["203.0.113.1", "2001:db8:3::1"]).unwrap();
    router.forward().unwrap();
    for address in addresses {
        eventually(20 * SECOND, "it is reached by the router", || right.connect(address, SECOND).ok())
            .unwrap();
        let (_, from) = listener.accept().unwrap();
        assert!(
            ["[::ffff:203.0.113.20]", "[2001:db8:3::20]"]
                .iter()
                .any(|known| from.to_string().starts_with(known))
        );
    }
    assert_ne!(left.mac("eth0").unwrap(), right.mac("eth0").unwrap());
}

#[test]
fn lab_objects_are_visible_only_inside_and_removed_afterwards() {
    let outside = || {
        let names = |dir: &str| fs::read_dir(dir).map(|entries| entries.flatten().count()).unwrap_or(0);
        (names("/run/netns"), names("/sys/fs/bpf"), interfaces(), std::env::current_dir().unwrap())
    };
    let before = outside();
    thread::spawn(move || {
        let lab = Lab::new().unwrap();
        let host = lab.host("seen-inside").unwrap();
        lab.link(host.end("eth0", &[]), host.end("eth1", &[])).unwrap();
        fs::create_dir("/sys/fs/bpf/seen-inside").unwrap();
        assert!(Path::new("/run/netns/seen-inside").exists());
        assert_eq!(interfaces(), ["lo"], "the thread itself is on no host");
        drop(lab);
        assert_eq!(outside(), before, "the thread is back where it was");
    })
    .join()
    .unwrap();
    assert!(!Path::new("/run/netns/seen-inside").exists());
}

/// A program that an agent attaches to its default control group must reach the sockets of this lab, and no others.
#[test]
fn each_lab_is_its_own_control_group_at_the_default_path() {
    let group = || {
        let text = fs::read_to_string("/proc/thread-self/cgroup").unwrap();
        text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
    };
    let (before, root) = (group(), "/sys/fs/cgroup/cgroup.threads");
    let groups = [(); 2].map(|()| {
        let lab = Lab::new().unwrap();
        let threads = fs::read_to_string(root).unwrap();
        let own = nix::unistd::gettid().to_string();
        assert!(threads.lines().any(|thread| thread == own), "{threads}");
        let child = lab.host("a").unwrap().run("cat /proc/self/cgroup").unwrap();
        assert!(child.contains(&group()), "{child}");
        (group(), lab.cgroup().to_owned())
    });
    assert_ne!(groups[0], groups[1]);
    assert!(groups.iter().all(|(group, _)| *group != before && group != "/"));
    let outside = thread::spawn(group).join().unwrap();
    assert!(!groups.iter().any(|(group, _)| *group == outside), "{outside}: not left");
}

#[test]
fn children_die_with_the_thread_that_started_them() {
    let mut child = thread::spawn(|| {
        let lab = Lab::new().unwrap();
        let mut child = lab.host("a").unwrap().command("sleep").arg("60").spawn().unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        child
    })
    .join()
    .unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
}

#[test]
fn an_unprivileged_user_has_the_three_capabilities_and_cannot_gain_others() {
    let lab = Lab::new().unwrap();
    let host = lab.host("a").unwrap();
    let status = |user: User| {
        let out = user.command(&host, Path::new("cat")).arg("/proc/self/status").output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        ["Uid:", "CapEff:", "CapPrm:", "CapBnd:", "NoNewPrivs:"].map(field)
    };
    let three = format!("{CAPABILITY_MASK:016x}");
    assert_eq!(status(User::Unprivileged), ["65534", &three, &three, &three, "1"]);
    assert_eq!(status(User::Root)[0], "0");
}

#[test]
fn postgres_answers_over_tls_and_refuses_anything_else() {
    let lab = Lab::new().unwrap();
    let (db, app) = (lab.host("db").unwrap(), lab.host("app").unwrap());
    lab.link(db.end("eth0", &["192.0.2.10/24"]), app.end("eth0", &["192.0.2.20/24"])).unwrap();
    let _postgres = Postgres::start(&lab, &db, 30092).unwrap();
    let server = "192.0.2.10:30092".parse().unwrap();
    let question = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(psql(&app, server, "require", question).unwrap(), "t");
    let refusal = psql(&app, server, "disable", question).unwrap_err().to_string();
    assert!(refusal.contains("no encryption"), "{refusal}");

    let mut session = Session::open(&app, server).unwrap();
    assert_eq!(session.ask("select 6 * 7;", SECOND).as_deref(), Some("42"));
    app.run("ip link set eth0 down").unwrap();
    assert_eq!(session.ask("select 6 * 7;", SECOND), None, "a session without a network gets no answer");
}

/// A whole case: two clients, one rule, the control without a filter.
#[test]
fn test_host_admits_the_client_its_rule_file_allows() {
    let host = TestHost::builder()
        .clients(&["192.0.2.20/24", "192.0.2.66/24"])
        .listeners(&["192.0.2.10:5432"])
        .rules(RuleFile::new("orders", 1).endpoint("192.0.2.10:5432").allow("192.0.2.20/32"))
        .build();
    let clients = || ["192.0.2.20", "192.0.2.66"].map(|source| host.connects(source, "192.0.2.10:5432"));
    host.eventually("both get in", || clients() == [true, true]);
    host.start();
    host.until_applied("orders", 1);
    host.eventually("one gets in", || clients() == [true, false]);
}

#[test]
fn waiting_returns_the_value_or_names_the_missing_event() {
    let mut polls = 0;
    let third = eventually(SECOND, "a third poll", || {
        polls += 1;
        (polls == 3).then_some(polls)
    });
    assert_eq!(third.unwrap(), 3);
    let missed = eventually(Duration::from_millis(20), "a thing that never comes", || None::<()>);
    assert_eq!(missed.unwrap_err().to_string(), "a thing that never comes: not within 20 ms");
}

fn interfaces() -> Vec<String> {
    let out = Command::new("ip").args(["-brief", "link"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
