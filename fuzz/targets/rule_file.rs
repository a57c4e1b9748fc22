//! Arbitrary bytes as a rule file: rejected or accepted, and no truncated file is accepted.

#![no_main]

use firewall_agent::rules::{Limits, ManagedRanges, compile, read_database};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_rules: 30, allow_monitor: true, node_name: Some("db-host-17".to_owned()) };
    let Ok(checked) = read_database(bytes, &limits) else { return };
    let rules = checked.value;
    assert!(rules.rules.len() <= limits.max_rules);
    assert!(rules.host.is_none() || rules.host == limits.node_name);
    for (at, one) in rules.endpoints.iter().enumerate() {
        assert!(
            !rules.endpoints[at + 1..]
                .iter()
                .any(|other| one.overlaps(other) && one.address == other.address)
        );
    }
    let set = compile(&rules, &ManagedRanges::default(), rules.generated_at);
    assert!(set.prefixes.len() <= rules.rules.len() + rules.internal_ranges.len());
    // The marker ends the file: without its last dot the file is incomplete.
    let end = bytes.iter().rposition(|byte| *byte == b'.').unwrap_or_default();
    for cut in [end, end.saturating_sub(1), end / 2] {
        assert!(read_database(&bytes[..cut], &limits).is_err(), "cut after {cut} bytes");
    }
});
