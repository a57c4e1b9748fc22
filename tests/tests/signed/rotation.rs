//! Two keys at a time, and key rotation.

use crate::stage::{DATABASE, FILE, Stage, rules};

#[test]
fn a_key_is_rotated_without_a_moment_in_which_nothing_is_taken() {
    let stage = Stage::new();
    let (old, new) = (stage.key("old"), stage.key("new"));
    let mut agent = stage.trusting(&[&old]);
    stage.push(&rules(1), Some(&old.sign(&rules(1))));
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();

    let mut agent = stage.trusting(&[&old, &new]);
    stage.push(&rules(2), Some(&old.sign(&rules(2))));
    agent.wait_for_revision(&stage.home, DATABASE, 2).unwrap();
    stage.push(&rules(3), Some(&new.sign(&rules(3))));
    agent.wait_for_revision(&stage.home, DATABASE, 3).unwrap();
    agent.terminate().unwrap();

    let mut agent = stage.trusting(&[&new]);
    agent
        .wait_until("it runs", || {
            stage.home.status().is_ok_and(|status| status.state(DATABASE) == Some("applied"))
        })
        .unwrap();
    stage.push(&rules(4), Some(&old.sign(&rules(4))));
    stage
        .wait_for_refusal(&mut agent, "bad_signature: the signature was made with a key that is not trusted");
    stage.is_in_force(3);
    stage.push(&rules(4), Some(&new.sign(&rules(4))));
    agent.wait_for_revision(&stage.home, DATABASE, 4).unwrap();
}

/// Newly trusted keys deny no client: the accepted unsigned file stays in force.
#[test]
fn what_was_in_force_before_keys_were_trusted_stays_until_a_signed_file_comes() {
    let stage = Stage::new();
    let key = stage.key("ours");
    stage.push(&rules(1), None);
    let mut agent = stage.home.start().unwrap();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    let mut agent = stage.trusting(&[&key]);
    stage.wait_for_refusal(&mut agent, "unsigned: ");
    stage.is_in_force(1);
    stage.sign_only(Some(&key.sign(&rules(1))));
    let applied = || stage.home.status().is_ok_and(|status| status.state(DATABASE) == Some("applied"));
    agent.wait_until("the signature is taken", applied).unwrap();
    let validated = stage.home.ask(&["validate", stage.home.rule_file(FILE).to_str().unwrap()]).unwrap();
    assert_eq!(validated.code, Some(0), "{validated:?}");
}
