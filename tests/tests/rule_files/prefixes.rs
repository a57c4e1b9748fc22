//! Files truncated at every byte.

use firewall_agent::rules::{DatabaseRules, ManagedRanges, compile, read_database};

use crate::fixtures::{Fixture, Kind, fixtures, limits, none, read};

#[test]
fn every_byte_prefix_up_to_the_marker_is_refused() {
    let mut accepted = Vec::new();
    let mut tried = 0;
    for fixture in pushed() {
        for length in 0..marker_end(&fixture) {
            tried += 1;
            if read(fixture.kind, &fixture.bytes[..length]).is_ok() {
                accepted.push(format!("{}: its first {length} bytes are accepted", fixture.path.display()));
            }
        }
        assert!(
            read(fixture.kind, &fixture.bytes[..marker_end(&fixture)]).is_ok(),
            "{}",
            fixture.path.display()
        );
    }
    none(accepted);
    assert!(tried > 2_000, "only {tried} prefixes");
}

/// Control: with the marker appended, a truncated file is often well-formed, and some allow more than the whole.
#[test]
fn without_the_marker_truncated_files_would_be_accepted() {
    let (mut accepted, mut wider) = (0, 0);
    for fixture in fixtures("valid", Kind::Databases) {
        let whole = read_database(&fixture.bytes, &limits()).unwrap().value;
        for length in 0..marker_end(&fixture) - 3 {
            let cut = [&fixture.bytes[..length], b"\n...\n"].concat();
            if let Ok(checked) = read_database(&cut, &limits()) {
                accepted += 1;
                wider += usize::from(allows_more(&checked.value, &whole));
            }
        }
    }
    println!("{accepted} cut files would be accepted, {wider} of them allow more");
    assert!(accepted > 100, "only {accepted} cut files would be accepted");
    assert!(wider > 0, "no cut file allows more than its whole");
}

fn pushed() -> impl Iterator<Item = Fixture> {
    [Kind::Databases, Kind::Ranges].into_iter().flat_map(|kind| fixtures("valid", kind))
}

/// Returns the length of the file up to its last `...`.
fn marker_end(fixture: &Fixture) -> usize {
    let at = fixture.bytes.windows(3).rposition(|window| window == b"...");
    at.unwrap_or_else(|| panic!("{}: no marker", fixture.path.display())) + 3
}

fn allows_more(cut: &DatabaseRules, whole: &DatabaseRules) -> bool {
    let set = |rules: &DatabaseRules| compile(rules, &ManagedRanges::default(), whole.generated_at);
    let (cut, whole) = (set(cut).prefixes, set(whole).prefixes);
    cut.v4.keys().any(|net| !whole.v4.keys().any(|wide| wide.contains(net)))
        || cut.v6.keys().any(|net| !whole.v6.keys().any(|wide| wide.contains(net)))
}
