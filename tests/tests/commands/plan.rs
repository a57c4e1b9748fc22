//! `plan`: predicts the changes that the agent then makes.

use std::fmt::Display;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Value, json};

use firewall_tests::lab::{INTERFACE, RuleFile, TestHost};

use crate::setup::{ORDERS, RANGE, WATCHED, WIDE, populated, ranges};

fn orders_next(revision: u64) -> RuleFile {
    RuleFile::new(ORDERS, revision)
        .field("name: Orders")
        .endpoint("192.0.2.10:30092")
        .endpoint("192.0.2.10:30093")
        .rule("id: fr-2, type: managed_range, range_id: man-example")
        .allow_as("fr-3", "203.0.113.0/24")
        .rule("id: fr-4, type: managed_range, range_id: man-nowhere")
}

#[test]
fn files_in_force_change_nothing_and_a_refused_one_exits_2() {
    let host = populated();
    let kernel = host.json(&["databases"]);
    for agent in ["running", "dead"] {
        if agent == "dead" {
            host.kill();
        }
        let plan = host.json(&["plan"]);
        let unchanged = [ORDERS, WATCHED, WIDE].map(|id| json!([id, "unchanged", "applied", null]));
        assert_eq!(outcomes(&plan), json!(unchanged), "{agent}");
        for database in plan["databases"].as_array().unwrap() {
            assert_eq!(database["revision"], json!({"before": 1, "after": 1}), "{agent}: {database}");
            assert_eq!((&database["prefixes"], &database["endpoints"]), (&json!([]), &json!([])), "{agent}");
        }
        let refused = &plan["rejected_files"];
        assert!(refused[0]["path"].as_str().unwrap().ends_with("/broken.yaml"), "{agent}: {refused}");
        assert!(refused[0]["errors"][0].as_str().unwrap().contains("203.0.113.300/24"), "{agent}: {refused}");
        assert_eq!(refused[0]["causes"], json!(["invalid"]), "{agent}: {refused}");
        assert_eq!((refused.as_array().unwrap().len(), &plan["errors"]), (1, &json!([])), "{agent}: {plan}");

        let table = host.ask(&["plan"]);
        assert_eq!((table.code, table.err.as_str()), (Some(2), ""), "{agent}: {table:?}");
        for line in
            ["orders (Orders): unchanged", "databases: 0 would change, 3 would not; files rejected: 1"]
        {
            assert!(table.out.lines().any(|one| one == line), "{agent}: {line}: {}", table.out);
        }
        assert!(table.out.contains("/broken.yaml: line "), "{agent}: {}", table.out);
    }
    host.home.remove_rules("broken.yaml").unwrap();
    assert_eq!(host.ask(&["plan"]).code, Some(0));
    assert_eq!(host.json(&["databases"]), kernel, "a plan changes nothing");
}

#[test]
fn plan_without_the_agent_matches_its_next_start() {
    let host = populated();
    host.kill();
    host.home.remove_rules("broken.yaml").unwrap();
    host.home.remove_rules("wide.yaml").unwrap();
    host.push(&orders_next(2));
    host.push(&RuleFile::new(WATCHED, 2).endpoint("192.0.2.10:30200").allow("203.0.113.0/24"));
    host.push(&RuleFile::new("fresh", 7).endpoint("192.0.2.10:30500"));
    // This file claims an endpoint of another database.
    host.push(&RuleFile::new("claims", 1).endpoint("192.0.2.10:30100"));

    let plan = host.json(&["plan"]);
    let expected = json!([
        ["fresh", "new", "applied", null],
        [ORDERS, "changed", "degraded", "managed range not found: man-nowhere"],
        [WATCHED, "changed", "applied", null],
        [WIDE, "unchanged", "orphaned", "no valid rule file for this database"],
    ]);
    assert_eq!(outcomes(&plan), expected);
    let rule = |rule, kind| json!({"rule": rule, "type": kind, "range_id": null});
    let orders = &plan["databases"][1];
    assert_eq!(orders["revision"], json!({"before": 1, "after": 2}));
    let prefixes = json!([
        {"cidr": "10.231.23.0/24", "before": rule("10.231.23.0/24", "internal_range"), "after": null},
        {"cidr": "203.0.113.0/24", "before": rule("fr-1", "custom_range"), "after": rule("fr-3", "custom_range")},
    ]);
    assert_eq!(orders["prefixes"], prefixes);
    let endpoints = json!([
        {"endpoint": "192.0.2.10:30093/tcp", "before": null, "after": "enforce", "closed": false},
        {"endpoint": "[2001:db8:2::10]:30092/tcp", "before": "enforce", "after": null, "closed": true},
        {"endpoint": "[2001:db8:2::10]:30092/udp", "before": "enforce", "after": null, "closed": true},
    ]);
    assert_eq!(orders["endpoints"], endpoints);
    let watched = json!([
        {"endpoint": "192.0.2.10:30200/tcp", "before": "monitor", "after": "enforce", "closed": false},
    ]);
    assert_eq!(plan["databases"][2]["endpoints"], watched);
    let refused = plan["rejected_files"][0]["errors"][0].as_str().unwrap();
    assert!(refused.starts_with("endpoint_claimed: "), "{refused}");
    assert_eq!(plan["rejected_files"][0]["causes"], json!(["endpoint_claimed"]));

    let table = host.ask(&["plan"]);
    assert_eq!((table.code, table.err.as_str()), (Some(2), ""), "{table:?}");
    for line in [
        "fresh: new, revision 7",
        "orders (Orders): changed, revision 1 → 2; degraded: managed range not found: man-nowhere",
        "  - 10.231.23.0/24  10.231.23.0/24 (internal_range)",
        "  ~ 203.0.113.0/24  fr-1 (custom_range) → fr-3 (custom_range)",
        "  + endpoint 192.0.2.10:30093/tcp  enforce",
        "  - endpoint [2001:db8:2::10]:30092/udp  enforce; stays closed",
        "  ~ endpoint 192.0.2.10:30200/tcp  monitor → enforce",
        "wide: unchanged; orphaned: no valid rule file for this database",
        "databases: 3 would change, 1 would not; files rejected: 1",
    ] {
        assert!(table.out.lines().any(|one| one == line), "{line}: {}", table.out);
    }

    host.start();
    host.until("nothing is left to do", |_| {
        let left = host.json(&["plan"]);
        left["databases"].as_array().unwrap().iter().all(|one| one["outcome"] == "unchanged")
    });
    let live = host.json(&["databases"]);
    let planned: Vec<&Value> =
        plan["databases"].as_array().unwrap().iter().map(|one| &one["revision"]["after"]).collect();
    let found: Vec<&Value> =
        live["databases"].as_array().unwrap().iter().map(|one| &one["revision"]).collect();
    assert_eq!(found, planned);
    assert_eq!(live["databases"][1]["endpoints"], json!(["192.0.2.10:30092/tcp", "192.0.2.10:30093/tcp"]));
}

#[test]
fn named_files_are_compared_with_the_accepted_ones() {
    let host = populated();
    let at = |name: &str, text: &dyn Display| -> PathBuf {
        let path = host.home.config().with_file_name(name);
        fs::write(&path, text.to_string()).unwrap();
        path
    };
    let grown = ranges(2, &[RANGE, &["198.51.100.8/32"]].concat());
    let emptied = ranges(2, &[]);
    let added = json!([{"cidr": "198.51.100.8/32", "before": null,
        "after": {"rule": "fr-2", "type": "managed_range", "range_id": "man-example"}}]);
    for (what, path, code, outcome, prefixes, refused) in [
        ("a new revision", at("next.yaml", &orders_next(2)), 0, "changed", None, ""),
        (
            "the same revision, other contents",
            at("same.yaml", &orders_next(1)),
            2,
            "unchanged",
            None,
            "revision_conflict: ",
        ),
        ("more managed prefixes", at("grown.yaml", &grown), 0, "changed", Some(added), ""),
        (
            "no managed prefix left",
            at("emptied.yaml", &emptied),
            2,
            "unchanged",
            Some(json!([])),
            "range man-example: ",
        ),
        (
            "a file that is not there",
            "/nonesuch/orders.yaml".into(),
            2,
            "unchanged",
            Some(json!([])),
            "cannot be read: ",
        ),
    ] {
        let path = path.to_str().unwrap();
        assert_eq!(host.ask(&["plan", path]).code, Some(code), "{what}");
        let plan = host.json(&["plan", path]);
        let orders = &plan["databases"][0];
        assert_eq!(
            (&orders["database_id"], &orders["outcome"]),
            (&json!(ORDERS), &json!(outcome)),
            "{what}: {plan}"
        );
        if let Some(prefixes) = prefixes {
            assert_eq!(orders["prefixes"], prefixes, "{what}");
        }
        for other in &plan["databases"].as_array().unwrap()[1..] {
            assert_eq!(
                (&other["outcome"], &other["state"]),
                (&json!("unchanged"), &json!("applied")),
                "{what}"
            );
        }
        let message = plan["rejected_files"][0]["errors"][0].as_str().unwrap_or_default();
        assert!(
            message.starts_with(refused) && message.is_empty() == refused.is_empty(),
            "{what}: {message}"
        );
        let cause = match refused {
            "range man-example: " => json!("range_shrunk"),
            "cannot be read: " => json!("unreadable"),
            named => named.strip_suffix(": ").map_or(Value::Null, Value::from),
        };
        assert_eq!(plan["rejected_files"][0]["causes"][0], cause, "{what}");
    }
}

/// Returns id, outcome, state and problem of each database.
fn outcomes(plan: &Value) -> Value {
    let fields = ["database_id", "outcome", "state", "problem"];
    plan["databases"].as_array().unwrap().iter().map(|one| json!(fields.map(|field| &one[field]))).collect()
}

#[test]
fn plan_predicts_tombstones_and_lack_of_room() {
    let host = populated();
    let endpoint = "192.0.2.10:9000/tcp";
    host.push(&RuleFile::new("fresh", 1).endpoint("192.0.2.10:9000"));
    host.home.remove_rules("broken.yaml").unwrap();
    let is_in_force = |databases: &Value| {
        databases["databases"].as_array().unwrap().iter().any(|one| one["endpoints"] == json!([endpoint]))
    };
    host.until("fresh is in force", |_| is_in_force(&host.json(&["databases"])));
    assert_eq!(host.json(&["plan"])["tombstones"], json!([]));
    host.kill();
    host.push(&RuleFile::new("fresh", 2).endpoint("192.0.2.10:9001").allow("203.0.113.0/24"));
    let dropped = json!([{"endpoint": endpoint, "before": false, "after": true}]);
    let plan = host.json(&["plan"]);
    assert_eq!((&plan["tombstones"], &plan["databases"][0]["problem"]), (&dropped, &Value::Null), "{plan}");
    // A guard of the configuration closes it, before any agent sets the guard: without a tombstone, unless the socket
    // filter needs one.
    for (with, expected) in [("socket_filter: off\n", json!([])), ("", dropped)] {
        host.change_config("guarded_ports: [", &format!("{with}guarded_ports: [9000, "));
        assert_eq!(host.json(&["plan"])["tombstones"], expected, "{with}");
        host.change_config(&format!("{with}guarded_ports: [9000, "), "guarded_ports: [");
    }
    // The same when one more prefix does not fit: the dropped endpoint is still closed, and none is opened.
    host.change_config("node_name", "max_prefixes: 1\nnode_name");
    let plan = host.json(&["plan"]);
    let fresh = &plan["databases"][0];
    assert_eq!(fresh["state"], "degraded", "{plan}");
    assert!(fresh["problem"].as_str().unwrap().contains("no room for 1 prefixes"), "{plan}");
    assert_eq!(
        fresh["endpoints"],
        json!([{"endpoint": endpoint, "before": "enforce", "after": null, "closed": true}])
    );
    let closed = json!([
        {"endpoint": endpoint, "before": false, "after": true},
        {"endpoint": "192.0.2.10:9001/tcp", "before": false, "after": true},
    ]);
    assert_eq!(plan["tombstones"], closed);
    let table = host.ask(&["plan"]).out;
    for line in ["  - endpoint 192.0.2.10:9000/tcp  enforce; stays closed", "+ tombstone 192.0.2.10:9001/tcp"]
    {
        assert!(table.lines().any(|one| one == line), "{line}: {table}");
    }
}

#[test]
fn names_the_active_sources_that_lose_or_gain_access() {
    let host = populated();
    let sent = [
        // Lets every source in, and orders: the office is allowed, the stranger is not.
        ("198.51.100.9", 30200),
        ("203.0.113.7", 30092),
        ("198.51.100.9", 30092),
    ];
    let wire = host.wire(INTERFACE);
    for (source, port) in sent {
        let syn = host.frame(INTERFACE).ipv4(source.parse().unwrap(), Ipv4Addr::new(192, 0, 2, 10));
        wire.send(&syn.tcp(40_000, port).build()).unwrap();
    }
    host.eventually("the packets are judged", || {
        let denied = host.json(&["denied"])["denied"].as_array().unwrap().len();
        denied == 2 && host.hits(ORDERS, "fr-1") > 0
    });
    let enforced = RuleFile::new(WATCHED, 2).endpoint("192.0.2.10:30200").allow("203.0.113.0/24");
    let orders = RuleFile::new(ORDERS, 2).endpoint("192.0.2.10:30092").allow_as("fr-9", "198.51.100.9/32");
    let [enforced, orders] = [("watched", enforced), ("orders", orders)].map(|(name, file)| {
        let path = host.dir().join(format!("{name}-next.yaml"));
        fs::write(&path, file.to_string()).unwrap();
        path.display().to_string()
    });
    let affected_flows = [
        ("203.0.113.7", "192.0.2.10:30092"),
        ("198.51.100.9", "192.0.2.10:30092"),
        ("198.51.100.9", "192.0.2.10:30200"),
    ];
    let affected = |plan: &Value| -> Vec<Value> {
        let databases = plan["databases"].as_array().unwrap().iter();
        let sources = databases.flat_map(|one| one["sources"].as_array().unwrap());
        let fields = ["source", "endpoint", "effect", "rule"];
        sources.map(|one| json!(fields.map(|field| &one[field]))).collect()
    };
    for is_running in [true, false] {
        if !is_running {
            host.kill();
        }
        let plan = host.json(&["plan", &enforced, &orders]);
        let expected = [
            json!(["203.0.113.7", "192.0.2.10:30092/tcp", "loses", "fr-1"]),
            json!(["198.51.100.9", "192.0.2.10:30092/tcp", "gains", "fr-9"]),
            json!(["198.51.100.9", "192.0.2.10:30200/tcp", "loses", null]),
        ];
        assert_eq!(affected(&plan), expected, "{plan:#}");
        let of_orders = &plan["databases"][0]["sources"];
        assert!(
            of_orders[0]["rule_last_hit"].is_string() && of_orders[0]["last_seen"].is_null(),
            "{of_orders:#}"
        );
        assert!(of_orders[1]["last_seen"].is_string(), "{of_orders:#}");
        let words = host.ask(&["plan", &enforced, &orders]).out;
        let lines = [
            "  ! 203.0.113.7 loses access to 192.0.2.10:30092/tcp (admitted by rule fr-1",
            "  ! 198.51.100.9 loses access to 192.0.2.10:30200/tcp (admitted by no rule, last seen ",
        ];
        assert!(lines.iter().all(|line| words.contains(line)), "{words}");
        // The control: the files in force take nothing from anybody.
        assert_eq!(affected(&host.json(&["plan"])), [Value::Null; 0]);
    }
    // The kernel decides as the plan says: before the files, and with them.
    let verdicts = || {
        affected_flows
            .map(|(source, endpoint)| host.json(&["explain", source, endpoint])[0]["verdict"].clone())
    };
    assert_eq!(verdicts(), ["pass", "drop", "pass"]);
    for name in ["watched", "orders"] {
        let next = fs::read_to_string(host.dir().join(format!("{name}-next.yaml"))).unwrap();
        host.write(&format!("{name}.yaml"), next);
    }
    host.start();
    host.until_revision(WATCHED, 2);
    host.until_revision(ORDERS, 2);
    assert_eq!(verdicts(), ["drop", "pass", "drop"]);
}

#[test]
fn plan_of_a_host_that_never_ran_an_agent_names_the_loser_of_a_conflict_as_validate_does() {
    let same = |id: &str| RuleFile::new(id, 1).endpoint("192.0.2.10:30092").allow("203.0.113.0/24");
    let host = TestHost::builder().rules(same("zebra")).rules(same("aardvark")).build();
    let plan = host.json(&["plan"]);
    assert_eq!(host.ask(&["plan"]).code, Some(2));
    let rejected = &plan["rejected_files"];
    assert_eq!(rejected.as_array().map(Vec::len), Some(1), "{plan:#}");
    let database = &plan["databases"][0];
    assert_eq!((&database["outcome"], &database["sources"]), (&json!("new"), &json!([])), "{plan:#}");
    let rules = host.dir().join("rules.d");
    let validated = host.ask(&["validate", rules.to_str().unwrap()]);
    let loser = rejected[0]["path"].as_str().unwrap();
    let refused: Vec<&str> = validated.out.lines().filter(|line| line.contains("claim")).collect();
    assert!(!refused.is_empty() && refused.iter().all(|line| line.contains(loser)), "{loser}: {validated:?}");
}
