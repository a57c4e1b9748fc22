//! Two keys at a time, and key rotation.

use crate::setup::{DATABASE, FILE, Signing as _, rules, unsigned};

#[test]
fn key_rotation_never_interrupts_acceptance() {
    let host = unsigned();
    let (old, new) = (host.key("old"), host.key("new"));
    host.trusting(&[&old]);
    host.push_signed(&rules(1), Some(&old.sign(&rules(1)).unwrap()));
    host.until_revision(DATABASE, 1);
    host.stop();

    host.trusting(&[&old, &new]);
    host.push_signed(&rules(2), Some(&old.sign(&rules(2)).unwrap()));
    host.until_revision(DATABASE, 2);
    host.push_signed(&rules(3), Some(&new.sign(&rules(3)).unwrap()));
    host.until_revision(DATABASE, 3);
    host.stop();

    host.trusting(&[&new]);
    host.until_state(DATABASE, "applied");
    host.push_signed(&rules(4), Some(&old.sign(&rules(4)).unwrap()));
    host.until_refused("bad_signature: the signature was made with a key that is not trusted");
    host.is_in_force(3);
    host.push_signed(&rules(4), Some(&new.sign(&rules(4)).unwrap()));
    host.until_revision(DATABASE, 4);
}

/// Newly trusted keys deny no client: the accepted unsigned file stays in force.
#[test]
fn unsigned_state_stays_in_force_until_a_signed_file_arrives() {
    let host = unsigned();
    let key = host.key("ours");
    host.push_signed(&rules(1), None);
    host.start();
    host.until_revision(DATABASE, 1);
    host.stop();
    host.trusting(&[&key]);
    host.until_refused("unsigned: ");
    host.is_in_force(1);
    host.sign_only(Some(&key.sign(&rules(1)).unwrap()));
    host.until_state(DATABASE, "applied");
    let validated = host.ask(&["validate", host.home.rule_file(FILE).to_str().unwrap()]);
    assert_eq!(validated.code, Some(0), "{validated:?}");
}
