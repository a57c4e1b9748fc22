//! Forged and replayed pushes: each is rejected, and the last good rules stay in force.

use std::fs;

use crate::stage::{DATABASE, FILE, Stage, rules, rules_for};

#[test]
fn forged_and_replayed_pushes_are_refused_and_what_was_in_force_stays() {
    let stage = Stage::new();
    let (key, stranger) = (stage.key("ours"), stage.key("theirs"));
    let mut agent = stage.trusting(&[&key]);
    for revision in [1, 2] {
        let text = rules_for(revision, &format!("host: {}\n", stage.host_name()));
        stage.push(&text, Some(&key.sign(&text)));
        agent.wait_for_revision(&stage.home, DATABASE, revision).unwrap();
    }
    stage.is_in_force(2);
    let next = rules(3);
    let good = key.sign(&next);
    let flipped_file = next.replace("203.0.113.7", "203.0.113.6");
    let flipped_signature = {
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        let flipped = if lines[1].ends_with("AA=") { "BB=" } else { "AA=" };
        let kept = lines[1].len() - flipped.len();
        lines[1].replace_range(kept.., flipped);
        lines.join("\n")
    };
    let older = rules(1);
    let elsewhere = rules_for(3, "host: another-host\n");
    let forged: [(&str, &str, Option<String>, &str); 7] = [
        ("unsigned", &next, None, "unsigned: "),
        ("wrong key", &next, Some(stranger.sign(&next)), "bad_signature: "),
        ("flipped bit", &flipped_file, Some(good.clone()), "bad_signature: "),
        ("flipped bit of the signature", &next, Some(flipped_signature), "bad_signature: "),
        ("replay", &older, Some(key.sign(&older)), "stale_revision: "),
        ("another host's", &elsewhere, Some(key.sign(&elsewhere)), "another-host"),
        ("another file's signature", &next, Some(key.sign(&rules(5))), "bad_signature: "),
    ];
    for (what, text, signature, reason) in forged {
        // Prevents a match, even briefly, of a new signature with the file of the previous case.
        stage.push("no rule file\n", None);
        stage.push(text, signature.as_deref());
        stage.wait_until_seen(&mut agent, what);
        stage.wait_for_refusal(&mut agent, reason);
        stage.is_in_force(2);
        let validated = stage.home.ask(&["validate", stage.home.rule_file(FILE).to_str().unwrap()]).unwrap();
        // Without the accepted files, an older revision is valid.
        let expected = if what == "replay" { 0 } else { 2 };
        assert_eq!(validated.code, Some(expected), "{what}: {validated:?}");
    }
    // Control: the file rejected before, signed by the right key.
    stage.push(&next, Some(&good));
    agent.wait_for_revision(&stage.home, DATABASE, 3).unwrap();
    stage.is_in_force(3);
    assert_eq!(stage.home.status().unwrap().state(DATABASE), Some("applied"));
}

#[test]
fn a_signature_that_comes_late_is_noticed_and_one_that_comes_early_disturbs_nothing() {
    let stage = Stage::new();
    let key = stage.key("ours");
    let mut agent = stage.trusting(&[&key]);
    stage.push(&rules(1), Some(&key.sign(&rules(1))));
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    // Late: no other file changes.
    stage.push(&rules(2), None);
    stage.wait_for_refusal(&mut agent, "unsigned: ");
    stage.sign_only(Some(&key.sign(&rules(2))));
    agent.wait_for_revision(&stage.home, DATABASE, 2).unwrap();
    // Early: the file in force has lost the signature with which the agent accepted it.
    stage.sign_only(Some(&key.sign(&rules(3))));
    stage.home.write_rules("other.yaml", "no rule file\n").unwrap();
    let seen = || stage.home.status().is_ok_and(|status| status.0.to_string().contains("other.yaml"));
    agent.wait_until("the files were looked at", seen).unwrap();
    let status = stage.home.status().unwrap();
    assert_eq!((status.revision(DATABASE), status.state(DATABASE)), (Some(2), Some("applied")));
    stage.home.write_rules(FILE, &rules(3)).unwrap();
    agent.wait_for_revision(&stage.home, DATABASE, 3).unwrap();
}

#[test]
fn managed_ranges_need_a_signature_likewise() {
    let stage = Stage::new();
    let (key, stranger) = (stage.key("ours"), stage.key("theirs"));
    let mut agent = stage.trusting(&[&key]);
    let ranges = |revision: u64, cidr: &str| {
        format!(
            "schema_version: 1\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
             ranges:\n  - {{id: man-example, name: Example, cidrs: [{cidr}]}}\n...\n"
        )
    };
    let text = rules(1)
        .replace("type: custom_range, cidr: 203.0.113.7/32", "type: managed_range, range_id: man-example");
    stage.push(&text, Some(&key.sign(&text)));
    let beside = stage.home.config().with_file_name("managed-ranges.yaml.minisig");
    let push = |text: &str, signature: &str| {
        fs::write(&beside, signature).unwrap();
        stage.home.write_ranges(text).unwrap();
    };
    let passes = |source: &str| {
        stage.home.ask(&["explain", source, DATABASE]).is_ok_and(|answer| answer.code == Some(0))
    };
    let first = ranges(1, "198.51.100.1/32");
    push(&first, &key.sign(&first));
    agent.wait_until("the range is in force", || passes("198.51.100.1")).unwrap();
    let next = ranges(2, "198.51.100.2/32");
    push(&next, &stranger.sign(&next));
    let refused = || {
        stage
            .home
            .status()
            .is_ok_and(|status| status.0["rejected_files"].to_string().contains("bad_signature"))
    };
    agent.wait_until("the ranges are refused", refused).unwrap();
    assert!(passes("198.51.100.1") && !passes("198.51.100.2"));
    fs::write(&beside, key.sign(&next)).unwrap();
    agent.wait_until("the next range is in force", || passes("198.51.100.2")).unwrap();
}
