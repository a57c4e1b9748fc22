//! `/metrics` agrees with the packets sent and the files pushed.

use firewall_agent::rules::Cause;

use firewall_tests::lab::TestHost;
use jiff::Timestamp;

use crate::setup::{Http as _, OFFICE, OFFICE_RULE, SHOP_RULE, STRANGER, file, listening};

const ALLOWED: &str = "firewall_database_packets_total{database=\"orders\",verdict=\"allowed\"}";
const DENIED: &str = "firewall_database_packets_total{database=\"orders\",verdict=\"denied\"}";
const WAITING: &str = "firewall_database_waiting_seconds{database=\"orders\"}";

#[test]
fn metrics_pass_promtool_and_labels_reveal_no_tenant_or_source() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    host.send(OFFICE, 3);
    host.send(STRANGER, 4);
    let scrape = host.until_metric(DENIED, |packets| packets == 4.0);
    scrape.check().unwrap();
    for secret in ["ecret", "fr-1", "203.0.113", "198.51.100", "192.0.2", "nodes", ".yaml"] {
        assert!(!scrape.text.contains(secret), "{secret}:\n{}", scrape.text);
    }
    assert!(scrape.series.keys().all(|series| series.starts_with("firewall_")), "{}", scrape.text);
    // Control: promtool rejects a metric without help, and the search finds a label's text.
    let mut bad = scrape;
    bad.text = bad.text.replace("# HELP firewall_ready", "# HELP firewall_other");
    assert!(bad.check().is_err());
    assert!(bad.text.contains("orders"));
}

#[test]
fn packets_are_counted_by_reason_and_by_database() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    host.send(OFFICE, 5);
    host.send(STRANGER, 7);
    let scrape = host.until_metric(DENIED, |packets| packets == 7.0);
    let build = format!(
        "firewall_agent_build_info{{version=\"{}\",object=\"{}\"}}",
        firewall_agent::version::VERSION.as_str(),
        firewall_agent::version::OBJECT
    );
    for (series, expected) in [
        (ALLOWED, 5.0),
        ("firewall_packets_total{reason=\"allowed\",verdict=\"pass\"}", 5.0),
        ("firewall_packets_total{reason=\"no_match\",verdict=\"drop\"}", 7.0),
        ("firewall_packets_total{reason=\"malformed\",verdict=\"drop\"}", 0.0),
        ("firewall_bytes_total{reason=\"no_match\",verdict=\"drop\"}", 7.0 * 54.0),
        ("firewall_database_bytes_total{database=\"orders\",verdict=\"allowed\"}", 5.0 * 54.0),
        ("firewall_databases", 1.0),
        ("firewall_database_rules{database=\"orders\"}", 1.0),
        ("firewall_database_prefixes{database=\"orders\"}", 2.0),
        ("firewall_database_endpoints{database=\"orders\"}", 1.0),
        ("firewall_database_revision{database=\"orders\"}", 1.0),
        ("firewall_database_state{database=\"orders\",state=\"applied\"}", 1.0),
        ("firewall_database_state{database=\"orders\",state=\"orphaned\"}", 0.0),
        ("firewall_interface_mode{interface=\"eth0\",mode=\"native\"}", 1.0),
        ("firewall_interface_mode{interface=\"eth0\",mode=\"none\"}", 0.0),
        ("firewall_counters_readable", 1.0),
        ("firewall_propagation_window_seconds", 120.0),
        (WAITING, 0.0),
        (build.as_str(), 1.0),
    ] {
        assert_eq!(scrape.value(series), Some(expected), "{series}\n{}", scrape.text);
    }
    let generation = scrape.value("firewall_database_generation{database=\"orders\"}").unwrap();
    assert!(generation >= 1.0 && scrape.value("firewall_generation") == Some(generation));
    assert!(scrape.value("firewall_last_success_timestamp_seconds").unwrap() > 1.7e9);
}

/// Prometheus takes a counter that falls for a reset and would count all of it as new packets.
#[test]
fn counters_never_decrease_on_rule_removal_or_restart() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE, SHOP_RULE]);
    host.send(OFFICE, 9);
    host.until_metric(ALLOWED, |packets| packets == 9.0);
    host.apply("orders", 2, &[SHOP_RULE]);
    host.until_metric("firewall_database_rules{database=\"orders\"}", |rules| rules == 1.0);
    assert_eq!(host.scrape().value(ALLOWED), Some(9.0));
    host.stop();
    host.serve(&[]);
    host.until_metric(ALLOWED, |packets| packets == 9.0);
    host.apply("orders", 3, &[OFFICE_RULE, SHOP_RULE]);
    host.send(OFFICE, 2);
    host.until_metric(ALLOWED, |packets| packets == 11.0);
}

#[test]
fn durations_are_observed_once_per_new_revision() {
    let host = listening();
    let counts = |host: &TestHost| {
        let scrape = host.scrape();
        ["apply", "propagation"].map(|what| scrape.value(&format!("firewall_{what}_seconds_count")).unwrap())
    };
    host.apply("orders", 1, &[OFFICE_RULE]);
    host.eventually("a file older than the agent", || counts(&host) == [1.0, 0.0]);
    for revision in 2..=3 {
        let rules = if revision % 2 == 0 { SHOP_RULE } else { OFFICE_RULE };
        host.push(&file("orders", revision, &[rules]).generated_at(Timestamp::now().to_string()));
        host.until_revision("orders", revision);
    }
    host.eventually("three are observed", || counts(&host) == [3.0, 2.0]);
    host.stop();
    host.serve(&[]);
    host.until_metric("firewall_database_revision{database=\"orders\"}", |revision| revision == 3.0);
    assert_eq!(counts(&host), [0.0, 0.0], "what a restart replays is not new");
    let tomorrow = file("orders", 4, &[SHOP_RULE]).replace("2026-08-21", "2099-08-21");
    host.write("orders.yaml", &tomorrow);
    let scrape = host.until_metric("firewall_clock_skewed_revisions_total", |skewed| skewed == 1.0);
    assert_eq!(scrape.value("firewall_propagation_seconds_count"), Some(0.0));
}

#[test]
fn refused_files_are_counted_by_cause_and_database() {
    let host = listening();
    host.apply("orders", 5, &[OFFICE_RULE]);
    let good = file("other", 1, &[]).to_string();
    for (name, text) in [
        ("stale", file("orders", 4, &[OFFICE_RULE]).to_string()),
        ("claimed", good.clone()),
        ("cut", good[..good.len() - 4].to_owned()),
        ("typo", good.replace("30092", "70000")),
    ] {
        host.write(&format!("{name}.yaml"), &text);
    }
    let row = |cause: Cause, database: &str| {
        format!("firewall_rejected_files{{cause=\"{cause}\",database=\"{database}\"}}")
    };
    // A database that is not in the kernel has no name here: anyone who writes files could invent ids.
    let unnamed = [Cause::EndpointClaimed, Cause::Incomplete, Cause::Invalid];
    // Each cause has a row from the start.
    for cause in Cause::ALL {
        let files = f64::from(u8::from(unnamed.contains(&cause)));
        host.until_metric(&row(cause, ""), |count| count == files);
    }
    host.until_metric(&row(Cause::StaleRevision, "orders"), |count| count == 1.0);
    // Its own file, of which the agent cannot read the id.
    host.write("orders.yaml", &good[..10]);
    let scrape = host.until_metric(&row(Cause::Incomplete, "orders"), |count| count == 1.0);
    assert!(!scrape.text.contains("\"other\""), "{}", scrape.text);
}

#[test]
fn accepted_file_not_in_force_is_reported_as_pending() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    let refusing = host.tamper("error=ENOMEM");
    host.push(&file("orders", 2, &[]));
    host.until_metric(WAITING, |waited| waited > 1.0);
    drop(refusing);
    host.until_metric(WAITING, |waited| waited == 0.0);
    host.until_metric("firewall_database_revision{database=\"orders\"}", |revision| revision == 2.0);
}
