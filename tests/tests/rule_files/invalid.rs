//! Rejected files and their messages.

use crate::fixtures::{Kind, fixtures, none, read};

#[test]
fn every_invalid_fixture_gives_exactly_its_recorded_message() {
    let mut differences = Vec::new();
    let mut count = 0;
    for fixture in
        [Kind::Databases, Kind::Ranges, Kind::Config].into_iter().flat_map(|kind| fixtures("invalid", kind))
    {
        count += 1;
        match read(fixture.kind, &fixture.bytes) {
            Ok(summary) => differences.push(format!("{}: accepted as\n{summary}", fixture.path.display())),
            Err(problems) => {
                let messages: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
                assert!(!messages.is_empty(), "{}: refused without a message", fixture.path.display());
                differences.extend(fixture.check(&messages));
            }
        }
    }
    none(differences);
    assert!(count >= 50, "only {count} fixtures");
}
