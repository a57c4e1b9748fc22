//! An audit reports the facts that it cannot read; this never reads as "nothing found".

use firewall_tests::lab::{Answer, TestHost, User};

use crate::setup::{Audit as _, filtered, findings};

const NFTABLES: &str = "nftables rules";

#[test]
fn agent_capabilities_suffice_to_read_nftables_rules() {
    let host = filtered(User::Unprivileged);
    let before = host.audit(&[]);
    assert_eq!(before.bypasses.len(), 0, "{before:?}");
    assert!(before.unchecked.iter().all(|what| what.contains("-legacy")), "{before:?}");
    // The kernel decides whether there are iptables-legacy rules that only root may read.
    assert_eq!(before.code, Some(if before.unchecked.is_empty() { 0 } else { 1 }), "{before:?}");
    host.db.run("nft add table ip planted").unwrap();
    host.db.run("nft add chain ip planted pre { type nat hook prerouting priority -100 ; }").unwrap();
    host.db.run("nft add rule ip planted pre tcp dport 8432 dnat to 10.0.0.1:5432").unwrap();
    let after = host.audit(&[]);
    assert_eq!(after.bypasses.len(), 1, "{after:?}");
    assert_eq!(after.unchecked, before.unchecked);
}

/// Its control is the test above: only the capability is missing here.
#[test]
fn missing_capability_exits_1_and_reports_no_clean_result() {
    let host = filtered(User::Unprivileged);
    let json = without_capabilities(&host, &["-o", "json"]);
    let found = findings(&json);
    assert_eq!((json.code, found.bypasses.len()), (Some(1), 0), "{json:?}");
    assert!(found.unchecked.iter().any(|what| what == NFTABLES), "{json:?}");
    let table = without_capabilities(&host, &[]);
    assert_eq!(table.code, Some(1), "{table:?}");
    for text in ["! not checked: nftables rules: ", "CAP_NET_ADMIN", "the others are unknown"] {
        assert!(table.out.contains(text), "{text}: {table:?}");
    }
    assert!(!table.out.contains("no bypass found\n"), "{table:?}");
    // The audit still reports its other findings.
    host.db.run("ip link add br0 type bridge").unwrap();
    host.db.run("ip link set br0 up").unwrap();
    let table = without_capabilities(&host, &[]);
    assert_eq!(table.code, Some(1), "{table:?}");
    assert!(table.out.contains("container  br0\n"), "{table:?}");
}

#[test]
fn table_explains_each_bypass_and_its_remedy() {
    let host = filtered(User::Root);
    let quiet = host.audit_answer(&[]);
    assert_eq!((quiet.code, quiet.out.as_str()), (Some(0), "no bypass found\n"));
    host.db.run("ip link add br0 type bridge").unwrap();
    host.db.run("ip link set br0 up").unwrap();
    let found = host.audit_answer(&["--accept", "tunnel,container"]);
    assert_eq!((found.code, found.err.as_str()), (Some(0), ""), "{found:?}");
    for text in [
        "container  br0  (accepted)\n    a bridge",
        "\n    action: ",
        "bypasses found: 1, of which accepted: 1",
    ] {
        assert!(found.out.contains(text), "{text}: {found:?}");
    }
    let bad = host.audit_answer(&["--accept", "bridges"]);
    assert_eq!((bad.code, bad.out.as_str()), (Some(2), ""), "{bad:?}");
    assert!(bad.err.contains("'bridges'") && bad.err.contains("route_localnet"), "{bad:?}");
}

fn without_capabilities(host: &TestHost, arguments: &[&str]) -> Answer {
    host.ask_as(User::Powerless(User::Unprivileged.id()), &[&["audit"], arguments].concat())
}
