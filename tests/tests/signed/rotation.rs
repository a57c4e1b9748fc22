//! Two keys at a time, and key rotation.

use crate::setup::{DATABASE, FILE, Signing as _, rules, unsigned};

#[test]
fn key_rotation_never_interrupts_acceptance() {
    let host = unsigned();
    let (old, new) = (host.key("old"), host.key("new"));
    let mut agent = host.trusting(&[&old]);
    host.push_signed(&rules(1), Some(&old.sign(&rules(1)).unwrap()));
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();

    let mut agent = host.trusting(&[&old, &new]);
    host.push_signed(&rules(2), Some(&old.sign(&rules(2)).unwrap()));
    agent.wait_for_revision(&host.home, DATABASE, 2).unwrap();
    host.push_signed(&rules(3), Some(&new.sign(&rules(3)).unwrap()));
    agent.wait_for_revision(&host.home, DATABASE, 3).unwrap();
    agent.terminate().unwrap();

    let mut agent = host.trusting(&[&new]);
    agent
        .wait_until("it runs", || {
            host.home.status().is_ok_and(|status| status.state(DATABASE) == Some("applied"))
        })
        .unwrap();
    host.push_signed(&rules(4), Some(&old.sign(&rules(4)).unwrap()));
    host.wait_for_rejection(
        &mut agent,
        "bad_signature: the signature was made with a key that is not trusted",
    );
    host.is_in_force(3);
    host.push_signed(&rules(4), Some(&new.sign(&rules(4)).unwrap()));
    agent.wait_for_revision(&host.home, DATABASE, 4).unwrap();
}

/// Newly trusted keys deny no client: the accepted unsigned file stays in force.
#[test]
fn unsigned_state_stays_in_force_until_a_signed_file_arrives() {
    let host = unsigned();
    let key = host.key("ours");
    host.push_signed(&rules(1), None);
    let mut agent = host.home.start().unwrap();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    let mut agent = host.trusting(&[&key]);
    host.wait_for_rejection(&mut agent, "unsigned: ");
    host.is_in_force(1);
    host.sign_only(Some(&key.sign(&rules(1)).unwrap()));
    let applied = || host.home.status().is_ok_and(|status| status.state(DATABASE) == Some("applied"));
    agent.wait_until("the signature is accepted", applied).unwrap();
    let validated = host.ask(&["validate", host.home.rule_file(FILE).to_str().unwrap()]);
    assert_eq!(validated.code, Some(0), "{validated:?}");
}
