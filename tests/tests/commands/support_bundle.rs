//! `support-bundle`: everything in one document, without customers' data.

use firewall_tests::lab::{INTERFACE, TestHost};
use serde_json::json;

use crate::setup::populated;

/// Parts of the sources, labels and names of the populated host, and of the value in its broken file.
const SECRETS: [&str; 8] = [
    "203.0.113",
    "198.51.100.7",
    "2001:db8:4:",
    "10.231.23",
    "Office",
    "cluster nodes",
    "Example region",
    "Orders",
];

#[test]
fn bundle_has_every_part_and_no_source() {
    let host = populated();
    for is_running in [true, false] {
        if !is_running {
            host.kill();
        }
        let text = host.ask(&["support-bundle"]);
        assert_eq!((text.code, text.err.as_str()), (Some(0), ""), "{text:?}");
        for secret in SECRETS {
            assert!(!text.out.contains(secret), "{secret}: {}", text.out);
        }
        let bundle = host.json(&["support-bundle"]);
        assert!(bundle.as_object().unwrap().values().all(|part| part["error"].is_null()), "{bundle:#}");
        let whole = host.ask(&["support-bundle", "--unredacted"]).out;
        assert_eq!(SECRETS.map(|secret| whole.contains(secret)), [true; 8], "the control");

        assert_eq!(bundle["status"]["interfaces"][0]["name"], INTERFACE, "{bundle:#}");
        assert_eq!(bundle["status"]["databases"].as_array().unwrap().len(), 3);
        let rules = bundle["rules"].to_string();
        assert!(rules.contains("fr-1") && rules.contains("[v4 source "), "{rules}");
        assert!(bundle["databases"].to_string().contains("192.0.2.10:30092/tcp"), "{bundle:#}");
        let events = bundle["events"].to_string();
        assert!(events.contains("rejected") && events.contains("rules[0].cidr: '[redacted]'"), "{events}");
        let objects = bundle["kernel_objects"].as_array().unwrap();
        let has = |pin: &str, field: &str| {
            objects.iter().any(|one| one["pin"] == pin && one["object"][field].is_string())
        };
        assert!(has("v3/ENDPOINTS", "map_type") || has("v3/PORTS", "map_type"), "{objects:#?}");
        assert!(has("links/eth0", "link_id"), "{objects:#?}");
        assert!(bundle["config"].as_str().unwrap().contains("guarded_ports"), "{bundle:#}");
    }
}

#[test]
fn bundle_of_a_host_without_an_agent_has_the_errors() {
    let host = TestHost::builder().build();
    let bundle = host.json(&["support-bundle"]);
    assert!(bundle["versions"]["kernel"].is_string() && bundle["config"].is_string(), "{bundle:#}");
    assert!(bundle["status"]["error"].is_string(), "{bundle:#}");
    assert_eq!([&bundle["events"], &bundle["kernel_objects"]], [&json!([]), &json!([])]);
}
