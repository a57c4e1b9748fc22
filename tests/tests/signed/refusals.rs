//! Forged and replayed pushes: each is rejected, and the last good rules stay in force.

use std::fs;

use firewall_tests::lab::{RangesFile, RuleFile};

use crate::setup::{DATABASE, FILE, Signing as _, rules, rules_for, unsigned};

#[test]
fn forged_and_replayed_pushes_leave_the_revision_in_force() {
    let host = unsigned();
    let (key, stranger) = (host.key("ours"), host.key("theirs"));
    host.trusting(&[&key]);
    for revision in [1, 2] {
        let text = rules_for(revision, host.db.name());
        host.push_signed(&text, Some(&key.sign(&text).unwrap()));
        host.until_revision(DATABASE, revision);
    }
    host.is_in_force(2);
    let next = rules(3);
    let good = key.sign(&next).unwrap();
    let flipped_file = next.replace("203.0.113.7", "203.0.113.6");
    let flipped_signature = {
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        let flipped = if lines[1].ends_with("AA=") { "BB=" } else { "AA=" };
        let end = lines[1].len() - flipped.len();
        lines[1].replace_range(end.., flipped);
        lines.join("\n")
    };
    let older = rules(1);
    let elsewhere = rules_for(3, "another-host");
    let forged: [(&str, &str, Option<String>, &str); 7] = [
        ("unsigned", &next, None, "unsigned: "),
        ("wrong key", &next, Some(stranger.sign(&next).unwrap()), "bad_signature: "),
        ("flipped bit", &flipped_file, Some(good.clone()), "bad_signature: "),
        ("flipped bit of the signature", &next, Some(flipped_signature), "bad_signature: "),
        ("replay", &older, Some(key.sign(&older).unwrap()), "stale_revision: "),
        ("another host's", &elsewhere, Some(key.sign(&elsewhere).unwrap()), "another-host"),
        ("another file's signature", &next, Some(key.sign(&rules(5)).unwrap()), "bad_signature: "),
    ];
    for (what, text, signature, reason) in forged {
        // Prevents a match, even briefly, of a new signature with the file of the previous case.
        host.push_signed("no rule file\n", None);
        host.push_signed(text, signature.as_deref());
        host.until_seen(what);
        host.until_refused(reason);
        host.is_in_force(2);
        let validated = host.ask(&["validate", host.home.rule_file(FILE).to_str().unwrap()]);
        // Without the accepted files, an older revision is valid.
        let expected = if what == "replay" { 0 } else { 2 };
        assert_eq!(validated.code, Some(expected), "{what}: {validated:?}");
    }
    // Control: the file rejected before, signed by the right key.
    host.push_signed(&next, Some(&good));
    host.until_revision(DATABASE, 3);
    host.is_in_force(3);
    assert_eq!(host.home.database(DATABASE).unwrap()["state"], "applied");
}

#[test]
fn late_signature_is_detected_and_early_signature_is_harmless() {
    let host = unsigned();
    let key = host.key("ours");
    host.trusting(&[&key]);
    host.push_signed(&rules(1), Some(&key.sign(&rules(1)).unwrap()));
    host.until_revision(DATABASE, 1);
    // Late: no other file changes.
    host.push_signed(&rules(2), None);
    host.until_refused("unsigned: ");
    host.sign_only(Some(&key.sign(&rules(2)).unwrap()));
    host.until_revision(DATABASE, 2);
    // Early: the file in force has lost the signature with which the agent accepted it.
    host.sign_only(Some(&key.sign(&rules(3)).unwrap()));
    host.write("other.yaml", "no rule file\n");
    host.until("the files were read", |status| status.to_string().contains("other.yaml"));
    let database = host.home.database(DATABASE).unwrap();
    assert!(database["revision"] == 2 && database["state"] == "applied", "{database}");
    host.write(FILE, rules(3));
    host.until_revision(DATABASE, 3);
}

#[test]
fn managed_ranges_require_a_signature() {
    let host = unsigned();
    let (key, stranger) = (host.key("ours"), host.key("theirs"));
    host.trusting(&[&key]);
    let ranges =
        |revision: u64, cidr: &str| RangesFile::new(revision).range("man-example", &[cidr]).to_string();
    let managed = "id: fr-1, type: managed_range, range_id: man-example";
    let text = RuleFile::new(DATABASE, 1).endpoint("192.0.2.10:5432").rule(managed).to_string();
    host.push_signed(&text, Some(&key.sign(&text).unwrap()));
    let beside = host.home.config().with_file_name("managed-ranges.yaml.minisig");
    let push = |text: &str, signature: &str| {
        fs::write(&beside, signature).unwrap();
        host.home.write_ranges(text).unwrap();
    };
    let passes = |source: &str| host.ask(&["explain", source, DATABASE]).code == Some(0);
    let first = ranges(1, "198.51.100.1/32");
    push(&first, &key.sign(&first).unwrap());
    host.eventually("the range is in force", || passes("198.51.100.1"));
    let next = ranges(2, "198.51.100.2/32");
    push(&next, &stranger.sign(&next).unwrap());
    host.until_rejected("bad_signature");
    assert!(passes("198.51.100.1") && !passes("198.51.100.2"));
    fs::write(&beside, key.sign(&next).unwrap()).unwrap();
    host.eventually("the next range is in force", || passes("198.51.100.2"));
}
