//! Refused packets in `status`, `denied`, the metrics and `explain`.

use firewall_tests::lab::records_denied_packets;
use serde_json::{Value, json};

use crate::scene::{
    DATABASE, FRIENDS, LINK, PORT, SIDE, STRANGERS, destination, is_served, listen, restart, rules, scene,
};

#[test]
fn refused_packets_are_shown_by_database_and_interface() {
    let host = scene(rules(1));
    restart(&host, "monitor", &[]);
    host.until_applied(DATABASE, 1);
    let listener = listen(&host.db, PORT);
    let to = destination(SIDE[0], PORT);
    assert!(is_served(&listener, &host.outside, STRANGERS[0], to));
    assert!(is_served(&listener, &host.outside, FRIENDS[0], to));
    let status = host.status();
    let counted = |reason: &str, database: Value| {
        let counters = status["socket_counters"].as_array().unwrap();
        let row = counters.iter().find(|one| {
            one["interface"] == LINK && one["reason"] == reason && one["database_id"] == database
        });
        row.map_or(0, |row| row["packets"].as_u64().unwrap())
    };
    assert!(counted("no_match", DATABASE.into()) >= 3, "{status:#}");
    assert!(counted("allowed", Value::Null) >= 3, "{status:#}");

    let denied = host.json(&["denied", "--by-kind"]);
    if !records_denied_packets() {
        assert_eq!((&denied["denied"], &denied["totals"]["denied"]), (&json!([]), &json!(0)));
        return;
    }
    let row = denied["denied"].as_array().unwrap().iter().find(|row| row["class"] == "syn");
    let row = row.unwrap_or_else(|| panic!("{denied:#}"));
    assert_eq!((&row["hook"], &row["interface"]), (&"socket".into(), &LINK.into()), "{row:#}");
    assert_eq!((&row["source"], &row["database_id"]), (&STRANGERS[0].into(), &DATABASE.into()), "{row:#}");
    let text = host.ask(&["denied", DATABASE]).out;
    assert!(text.contains(&format!("socket: {LINK}")), "{text}");
}

#[test]
fn explain_asks_the_program_about_a_packet_at_a_socket() {
    let host = scene(rules(1));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    let reason = |source: &str, to: &str| {
        host.json(&["explain", "--socket", source, to])[0]["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(FRIENDS[0], "198.51.100.10:5432"), "allowed");
    assert_eq!(reason(STRANGERS[0], "198.51.100.10:5432"), "no_match");
    // At an address that no file claims every database is asked. An interface knows no translation.
    assert_eq!(reason(FRIENDS[0], "10.7.7.7:5432"), "allowed");
    assert_eq!(reason(STRANGERS[0], "10.7.7.7:5432"), "closed");
    assert_eq!(host.reason(FRIENDS[0], "10.7.7.7:5432"), "closed");
}
