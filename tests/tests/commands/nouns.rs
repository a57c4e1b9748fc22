//! `status`, `databases`, `ranges` and `rules`: the documented fields, with a running and a dead agent.

use std::time::{Duration, Instant};

use firewall_tests::lab::{RuleFile, TestHost, database_of};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::setup::{GONE, ORDERS, WATCHED, WIDE, populated};

#[test]
fn status_shows_kernel_state_and_the_last_agent_report() {
    let host = populated();
    let running = host.json(&["status"]);
    let pid = host.pid();
    assert_eq!((&running["agent"]["running"], &running["agent"]["pid"]), (&json!(true), &json!(pid)));
    let has = |object: &Value, fields: &[&str]| {
        for field in fields {
            assert!(object.get(field).is_some_and(|value| !value.is_null()), "{field}: not in {object}");
        }
    };
    has(&running, &["agent", "interfaces", "databases", "rejected_files", "errors", "counters"]);
    has(&running["agent"], &["version", "started_at"]);
    has(&running["interfaces"][0], &["name", "mode", "link_id", "program_id", "program_tag"]);
    for database in running["databases"].as_array().unwrap() {
        let known = ["database_id", "name", "state", "revision", "generation", "applied_at", "apply_ms"];
        has(database, &known);
        has(database, &["digest", "endpoints", "prefixes"]);
        assert_eq!(
            database["propagation_ms"],
            Value::Null,
            "a file that is older than the agent: {database}"
        );
        assert_eq!(
            (&database["state"], &database["problem"]),
            (&json!("applied"), &Value::Null),
            "{database}"
        );
    }
    let ids: Vec<&Value> =
        running["databases"].as_array().unwrap().iter().map(|one| &one["database_id"]).collect();
    assert_eq!(ids, [ORDERS, WATCHED, WIDE], "in the order of their ids, without {GONE}");
    let refused = &running["rejected_files"][0];
    assert!(refused["path"].as_str().unwrap().ends_with("/broken.yaml"), "{refused}");
    assert!(refused["errors"][0].as_str().unwrap().contains("203.0.113.300/24"), "{refused}");
    assert_eq!(refused["causes"], json!(["invalid"]), "{refused}");
    assert_eq!(running["counters"].as_array().unwrap().len(), 11);

    assert_eq!(running["fallback"], Value::Null, "the daemon's answer");

    let table = host.ask(&["status", "-v"]);
    assert_eq!((table.code, table.err.as_str()), (Some(0), ""));
    for word in
        [&format!("process {pid}"), "eth0", "native", "orders", "applied", "203.0.113.300/24", "no_match"]
    {
        assert!(table.out.contains(word), "{word}: {}", table.out);
    }

    host.kill();
    let mut dead = host.json(&["status"]);
    assert_eq!(dead["agent"]["running"], false);
    dead["agent"]["running"] = json!(true);
    assert_eq!((&dead["ready"], &dead["not_ready"]), (&json!(false), &json!(["the agent is not running"])));
    for field in ["ready", "not_ready"] {
        dead[field] = running[field].clone();
    }
    assert_eq!(dead["fallback"], "no agent runs");
    for field in ["counters", "fallback"] {
        dead[field] = running[field].clone();
    }
    assert_eq!(dead, running, "but for that, nothing changed");
    let table = host.ask(&["status"]).out;
    assert!(table.starts_with("! agent not running"), "{table}");
    assert!(!table.contains("no_match"), "counters need -v: {table}");
}

/// The limit of the design, by the kernel's own figures.
#[test]
fn maps_take_at_most_200_kb_of_each_cpu() {
    let memory = |config: &str| {
        let host = TestHost::builder().config(config).start();
        let memory = host.json(&["status"])["kernel_memory"].clone();
        let of = |field: &str| memory[field].as_u64().unwrap_or_else(|| panic!("{field}: not in {memory}"));
        let (all, one) = (of("bytes"), of("bytes_per_cpu"));
        assert!(all > one * of("possible_cpus"), "{memory}");
        (all, one, of("possible_cpus"))
    };
    let (all, one, cpus) = memory("");
    assert!((100_000..=200_000).contains(&one), "{one} bytes");
    // Control: more rule counters, of 24 bytes each.
    let (more, larger, _) = memory("max_rule_counters: 12288\n");
    assert_eq!(larger - one, 8_192 * 24);
    assert!(more - all >= cpus * (larger - one), "the kernel accounts {more} after {all} bytes");
}

#[test]
fn status_of_a_wedged_daemon_is_read_from_the_kernel() {
    let host = populated();
    let pid = Pid::from_raw(host.pid().try_into().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let started = Instant::now();
    let status = host.json(&["status"]);
    let (took, table) = (started.elapsed(), host.ask(&["status"]).out);
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(status["fallback"].as_str().unwrap().ends_with("nothing within 1 s"), "{status}");
    assert_eq!(database_of(&status, ORDERS)["revision"], 1, "{status}");
    assert!(table.contains("read from the kernel and status.json: unix:"), "{table}");
    host.until("the daemon answers again", |status| status["fallback"].is_null());
}

#[test]
fn propagation_is_that_of_files_generated_since_the_start() {
    let host = populated();
    let file =
        |revision| RuleFile::new(ORDERS, revision).endpoint("192.0.2.10:30092").allow("203.0.113.0/24");
    host.push(&file(2));
    host.until_applied(ORDERS, 2);
    assert_eq!(
        database_of(&host.status(), ORDERS)["propagation_ms"],
        Value::Null,
        "generated before the agent's start"
    );
    host.push(&file(3).generated_at(Timestamp::now().to_string()));
    host.until_applied(ORDERS, 3);
    let took = database_of(&host.status(), ORDERS)["propagation_ms"].as_i64().unwrap();
    assert!((0..60_000).contains(&took), "{took} ms");
}

#[test]
fn databases_lists_live_and_closed_with_and_without_the_agent() {
    let host = populated();
    let orders = json!(["192.0.2.10:30092/tcp", "[2001:db8:2::10]:30092/tcp", "[2001:db8:2::10]:30092/udp"]);
    let expected = json!([
        [ORDERS, "Orders", "enforce", 1, orders, 4, 0, 0],
        [WATCHED, "", "monitor", 1, ["192.0.2.10:30200/tcp"], 1, 0, 0],
        [WIDE, "", "enforce", 1, ["*:30100/tcp"], 2, 0, 0],
    ]);
    let fields = ["database_id", "name", "mode", "revision", "endpoints", "prefixes"];
    let counters = ["packets_allowed", "packets_denied"];
    for agent in ["running", "dead"] {
        if agent == "dead" {
            host.kill();
        }
        let found = host.json(&["databases"]);
        let rows = found["databases"].as_array().unwrap();
        let shown: Value = rows
            .iter()
            .map(|row| fields.iter().chain(&counters).map(|field| row[*field].clone()).collect::<Value>())
            .collect();
        assert_eq!(shown, expected, "{agent}");
        assert_eq!(found["tombstones"], json!(["192.0.2.10:20300/tcp"]), "{agent}: of {GONE}");
        let status = host.json(&["status"]);
        for (row, same) in rows.iter().zip(status["databases"].as_array().unwrap()) {
            for field in ["database_id", "generation", "applied_at"] {
                assert!(!row[field].is_null() && row[field] == same[field], "{agent}: {row}");
            }
        }
        let table = host.ask(&["databases"]);
        assert_eq!((table.code, table.err.as_str()), (Some(0), ""));
        assert!(table.out.ends_with("\nclosed (tombstones): 192.0.2.10:20300/tcp\n"), "{}", table.out);
        assert!(table.out.contains("monitor") && table.out.contains("*:30100/tcp"), "{}", table.out);
    }
}

#[test]
fn ranges_lists_the_users_with_and_without_the_agent() {
    let host = populated();
    let unused = |cidr| json!({"cidr": cidr, "packets": 0, "bytes": 0, "last_hit": null});
    let expected = json!([{
        "range_id": "man-example",
        "labels": ["Example region"],
        "rules": [{"database_id": ORDERS, "rule": "fr-2"}],
        "cidrs": ["198.51.100.7/32", "2001:db8:4::7/128"],
        "packets": 0,
        "bytes": 0,
        "last_hit": null,
        "prefixes": [unused("198.51.100.7/32"), unused("2001:db8:4::7/128")],
    }]);
    for agent in ["running", "dead"] {
        if agent == "dead" {
            host.kill();
        }
        for arguments in [&["ranges"][..], &["ranges", "man-example"]] {
            let mut found = host.json(arguments);
            let since = found[0].as_object_mut().unwrap().remove("counted_since");
            assert!(since.is_some_and(|since| since.is_string()), "{agent}: {found}");
            assert_eq!(found, expected, "{agent}");
        }
        let all = host.ask(&["ranges"]);
        assert_eq!((all.code, all.err.as_str()), (Some(0), ""));
        assert!(all.out.contains("Example region") && !all.out.contains("198.51.100.7/32"), "{}", all.out);
        let one = host.ask(&["ranges", "man-example"]).out;
        let cidrs: Vec<&str> =
            one.lines().skip(5).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(cidrs, ["198.51.100.7/32", "2001:db8:4::7/128"], "{one}");
        let unknown = host.ask(&["ranges", "nonesuch"]);
        assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""), "{unknown:?}");
        assert_eq!(unknown.err.matches("nonesuch").count(), 1, "{unknown:?}");
    }
}

#[test]
fn rules_lists_counters_and_prefixes_with_and_without_the_agent() {
    let host = populated();
    let orders = json!([
        ["orders", "fr-1", "custom_range", null, "Office network", ["203.0.113.0/24"]],
        [
            "orders",
            "fr-2",
            "managed_range",
            "man-example",
            "Example region",
            ["198.51.100.7/32", "2001:db8:4::7/128"]
        ],
        ["orders", "10.231.23.0/24", "internal_range", null, "cluster nodes", ["10.231.23.0/24"]],
        ["orders", "", "default", null, "", []],
    ]);
    for agent in ["running", "dead"] {
        if agent == "dead" {
            host.kill();
        }
        assert_eq!(shown(&host.json(&["rules", ORDERS])), orders, "{agent}");
        let all = shown(&host.json(&["rules"]));
        let databases: Vec<&str> = all.as_array().unwrap().iter().filter_map(|row| row[0].as_str()).collect();
        assert_eq!(databases.len(), 4 + 3 + 2, "{agent}: {all}");
        assert!([ORDERS, WIDE, WATCHED].iter().all(|id| databases.contains(id)), "{agent}: {all}");

        let every = host.ask(&["rules"]);
        assert_eq!((every.code, every.err.as_str()), (Some(0), ""));
        assert!(every.out.contains("198.51.100.7/32 (and 1 more)"), "{}", every.out);
        let one = host.ask(&["rules", ORDERS]).out;
        assert!(one.contains("198.51.100.7/32 ") && one.contains("2001:db8:4::7/128"), "{one}");
        assert!(!one.contains("wide"), "{one}");

        let unknown = host.ask(&["rules", "nonesuch"]);
        assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""), "{unknown:?}");
        assert_eq!(unknown.err.matches("nonesuch").count(), 1, "{unknown:?}");
    }
}

#[test]
fn a_database_is_named_by_id_name_beginning_and_endpoint() {
    let host = populated();
    host.kill();
    let orders = host.json(&["rules", ORDERS]);
    for name in ["Orders", "ord", "192.0.2.10:30092", ":30092"] {
        assert_eq!(host.json(&["rules", name]), orders, "{name}");
        assert_eq!(host.json(&["denied", name])["denied"], json!([]), "{name}");
        let asked = host.json(&["explain", "203.0.113.7", name]);
        assert_eq!(asked[0]["database_id"], ORDERS, "{name}");
    }
    // A forgotten database is in the store only.
    let rebased = host.ask(&["rebase", &GONE[..2]]);
    assert_eq!(rebased.code, Some(0), "{rebased:?}");
    assert!(rebased.out.contains(GONE), "{rebased:?}");
    for command in [&["rules"][..], &["denied"], &["explain", "203.0.113.7"], &["rebase"], &["forget"]] {
        for (name, says) in [("w", "matches several: watched, wide"), ("nonesuch", "unknown here")] {
            let refused = host.ask(&[command, &[name]].concat());
            assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{command:?} {refused:?}");
            assert!(refused.err.contains(says), "{command:?} {refused:?}");
        }
    }
}

#[test]
fn errors_are_json_where_the_output_is() {
    let host = populated();
    for arguments in [&["-o", "json", "rules", "nonesuch"], &["rules", "nonesuch", "-o", "json"]] {
        let refused = host.ask(arguments);
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{refused:?}");
        let error: Value = serde_json::from_str(&refused.err).unwrap();
        assert_eq!(error["exit_code"], 2, "{error}");
        assert!(error["errors"][0].as_str().unwrap().contains("\"nonesuch\""), "{error}");
    }
}

/// Returns the rows without their counters.
fn shown(rows: &Value) -> Value {
    let fields = ["database_id", "rule", "type", "range_id", "label", "cidrs"];
    rows.as_array().unwrap().iter().map(|row| json!(fields.map(|field| &row[field]))).collect()
}
