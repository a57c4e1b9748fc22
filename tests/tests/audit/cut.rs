//! Findings of answers that are lost at protected ports are true: each is lost while the program is attached, and arrives
//! without it, or at another port.

use std::net::UdpSocket;
use std::time::Duration;

use firewall_tests::lab::{Host, RuleFile, TestHost, User, eventually};

use crate::planted::perform;
use crate::setup::Audit as _;

const OUTSIDE: &str = "192.0.2.20:8080";
const BOUND: Duration = Duration::from_secs(20);
/// A packet crosses a veth within microseconds.
const CONNECTED: Duration = Duration::from_millis(300);
const CONNECTIONS: usize = 5;
/// Connections of random source ports: about 13 of them meet a range of 2,768 ports.
const MANY: usize = 300;
const PATIENCE: Duration = Duration::from_secs(10);
const STRICT: &str = "30000-32767";
const NEW_CONNECTIONS_ONLY: &str = "{ports: 30000-32767, new_connections_only: true}";
/// A guarded destination with a listener that no file claims.
const UNCLAIMED: &str = "192.0.2.10:30005";

fn filtered() -> TestHost {
    filtered_with(&["5432", STRICT])
}

fn filtered_with(guarded_ports: &[&str]) -> TestHost {
    TestHost::builder()
        .user(User::Root)
        .guarded_ports(guarded_ports)
        .servers(&["192.0.2.10/24"])
        .clients(&["192.0.2.20/24"])
        .rules(RuleFile::new("orders", 1).endpoint("192.0.2.10:20300"))
        .build()
}

/// Starts and stops the agent: the program stays.
fn attach(host: &TestHost) {
    host.start();
    host.until_revision("orders", 1);
    host.until("eth0 is filtered", |status| status["interfaces"][0]["mode"] == "native");
    host.stop();
}

#[test]
fn masqueraded_connections_with_guarded_source_ports_fail() {
    const GUARDED: &str = "nft add rule ip planted post meta l4proto tcp masquerade to :30000-30100";
    const OTHERS: &str = "nft add rule ip planted post meta l4proto tcp masquerade to :40000-50000";
    let host = filtered();
    let pod = pod(&host);
    let _server = host.outside.listen(OUTSIDE).unwrap();
    let connected = || (0..CONNECTIONS).filter(|_| pod.connect(OUTSIDE, CONNECTED).is_ok()).count();
    let masquerade = |rule: &str| masquerade(&host, rule);
    let reports = || host.audit(&[]).kinds().contains(&"masquerade");

    masquerade(GUARDED);
    eventually(BOUND, "without the program", || (connected() == CONNECTIONS).then_some(())).unwrap();
    attach(&host);
    assert_eq!((connected(), reports()), (0, true));
    masquerade(OTHERS);
    eventually(BOUND, "with other ports", || (connected() == CONNECTIONS).then_some(())).unwrap();
    assert!(!reports());
}

/// A container behind the database host.
fn pod(host: &TestHost) -> Host {
    let pod = host.lab.host("pod").unwrap();
    host.lab.link(host.db.end("pod0", &["10.8.0.1/24"]), pod.end("eth0", &["10.8.0.2/24"])).unwrap();
    host.db.forward().unwrap();
    pod.route_by(&["10.8.0.1"]).unwrap();
    pod
}

/// Replaces the rule that gives connections their source ports.
fn masquerade(host: &TestHost, rule: &str) {
    perform(
        &host.db,
        &[
            "nft add table ip planted",
            "nft flush table ip planted",
            "nft add chain ip planted post { type nat hook postrouting priority 100 ; }",
            rule,
        ],
    );
}

#[test]
fn masqueraded_connections_pass_where_new_connections_only_are_closed() {
    const RANDOM: &str = "nft add rule ip planted post meta l4proto tcp masquerade fully-random";
    for (guard, is_strict) in [(STRICT, true), (NEW_CONNECTIONS_ONLY, false)] {
        let host = filtered_with(&["5432", guard]);
        let pod = pod(&host);
        let server = host.outside.listen(OUTSIDE).unwrap();
        masquerade(&host, RANDOM);
        // A connection that is cut takes as long as its bound; one that is not must not fail for a slow machine.
        let bound = if is_strict { CONNECTED } else { PATIENCE };
        let is_served = || {
            let connected = pod.connect(OUTSIDE, bound).is_ok();
            connected && server.accept().is_ok()
        };
        let cut = || (0..MANY).filter(|_| !is_served()).count();
        let _listener = host.db.listen(UNCLAIMED).unwrap();
        let is_open = || host.outside.connect(UNCLAIMED, CONNECTED).is_ok();
        eventually(BOUND, "without the program", || is_open().then_some(())).unwrap();
        attach(&host);
        let cut = cut();
        println!("{guard}: {cut} of {MANY} connections cut");
        assert_eq!((cut > 0, is_open()), (is_strict, false), "{guard}: {cut} cut");
        assert_eq!(host.reason("192.0.2.20", UNCLAIMED), "closed", "{guard}");
        // The rule still meets the port of the endpoint.
        let found = host.audit_answer(&["-o", "json"]).out;
        assert!(found.contains("among them protected ones"), "{guard}: {found}");
        assert_eq!(found.contains(STRICT), is_strict, "{guard}: {found}");
    }
}

#[test]
fn answers_to_a_resolver_at_a_guarded_port_are_lost() {
    let host = filtered();
    let server = host.outside.udp(OUTSIDE).unwrap();
    let is_answered = |client: &UdpSocket| {
        client.set_read_timeout(Some(CONNECTED)).unwrap();
        client.send_to(b"?", OUTSIDE).unwrap();
        let (_, from) = server.recv_from(&mut [0]).unwrap();
        server.send_to(b"!", from).unwrap();
        client.recv_from(&mut [0]).is_ok()
    };
    let reports = || host.audit(&[]).kinds().contains(&"resolver");
    let guarded = host.db.udp("192.0.2.10:30005").unwrap();
    assert!(is_answered(&guarded), "without the program");
    attach(&host);
    assert!(!is_answered(&guarded) && reports());
    drop(guarded);
    let other = host.db.udp("192.0.2.10:29005").unwrap();
    assert!(is_answered(&other) && !reports());
}
