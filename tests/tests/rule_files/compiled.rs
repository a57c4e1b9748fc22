//! Rule sets: the rule counter of each prefix of a file.

use firewall_agent::rules::{DatabaseRules, ManagedRanges, compile, read_database, read_ranges};

use crate::fixtures::limits;

/// Returns one line per prefix, as `203.0.113.0/24 fr-1`, then one per missing range.
fn compiled(rules: &str, at: &str) -> Vec<String> {
    let top = "schema_version: 1\ndatabase_id: db\nrevision: 1\nendpoints: [{port: 30092}]\n";
    let read = |rules: &str, at: &str| -> DatabaseRules {
        let text = format!("{top}generated_at: {at}\n{rules}\n...\n");
        read_database(text.as_bytes(), &limits())
            .unwrap_or_else(|problems| panic!("{text}{problems:?}"))
            .value
    };
    let rules = read(rules, at);
    let set = compile(&rules, &ranges(), rules.generated_at);
    let v4 = set.prefixes.v4.iter().map(|(net, line)| format!("{net} {line}"));
    let v6 = set.prefixes.v6.iter().map(|(net, line)| format!("{net} {line}"));
    v4.chain(v6).chain(set.unresolved.iter().map(|range| format!("unresolved {range}"))).collect()
}

fn ranges() -> ManagedRanges {
    let text = b"schema_version: 1\nrevision: 1\ngenerated_at: 2026-01-01T00:00:00Z\nranges:\n\
        - {id: egress, name: egress, cidrs: [198.51.100.1/32, 203.0.113.0/24, '2001:db8::/32']}\n\
        - {id: empty, name: empty, cidrs: []}\n...\n";
    read_ranges(text).unwrap().value
}

#[test]
fn rule_set_has_each_prefix_once_on_its_first_counter() {
    const AT: &str = "2026-08-21T00:00:00Z";
    const CUSTOM: &str = "{id: c, type: custom_range, cidr: 203.0.113.0/24}";
    const MANAGED: &str = "{id: m, type: managed_range, range_id: egress}";
    for (name, rules, expected) in [
        ("no rule allows nothing", "rules: []".to_owned(), vec![]),
        (
            "the earlier of two rules has the prefix",
            format!("rules: [{CUSTOM}, {MANAGED}]"),
            vec!["198.51.100.1/32 m", "203.0.113.0/24 c", "2001:db8::/32 m"],
        ),
        (
            "also when the managed one is earlier",
            format!("rules: [{MANAGED}, {CUSTOM}]"),
            vec!["198.51.100.1/32 m", "203.0.113.0/24 m", "2001:db8::/32 m"],
        ),
        (
            "rules come before internal ranges",
            format!("internal_ranges: [{{cidr: 203.0.113.0/24}}, {{cidr: 10.0.0.0/8}}]\nrules: [{CUSTOM}]"),
            vec!["10.0.0.0/8 internal 10.0.0.0/8", "203.0.113.0/24 c"],
        ),
        (
            "host bits are cleared",
            "rules: [{id: c, type: custom_range, cidr: 192.168.0.1/24}]".to_owned(),
            vec!["192.168.0.0/24 c"],
        ),
        (
            "an empty range allows nothing and is there",
            "rules: [{id: m, type: managed_range, range_id: empty}]".to_owned(),
            vec![],
        ),
        (
            "an unknown range is named and the rest applies",
            format!("rules: [{{id: m, type: managed_range, range_id: nowhere}}, {CUSTOM}]"),
            vec!["203.0.113.0/24 c", "unresolved nowhere"],
        ),
        (
            "one address family does not reach into the other",
            "rules: [{id: c, type: custom_range, cidr: 0.0.0.0/0}]".to_owned(),
            vec!["0.0.0.0/0 c"],
        ),
    ] {
        assert_eq!(compiled(&rules, AT), expected, "{name}");
    }
}

#[test]
fn rule_is_in_force_strictly_before_its_expiry() {
    let rule = "{id: c, type: custom_range, cidr: 10.0.0.0/8, expires_at: 2026-09-01T00:00:00Z}";
    let later = "{id: d, type: custom_range, cidr: 10.0.0.0/8}";
    for (at, expected) in [
        ("2026-08-31T23:59:59Z", vec!["10.0.0.0/8 c"]),
        ("2026-09-01T00:00:00Z", vec![]),
        ("2026-09-01T00:00:01Z", vec![]),
    ] {
        assert_eq!(compiled(&format!("rules: [{rule}]"), at), expected, "{at}");
    }
    let both = format!("rules: [{rule}, {later}]");
    assert_eq!(compiled(&both, "2026-09-01T00:00:00Z"), ["10.0.0.0/8 d"], "an expired rule keeps no prefix");
}
