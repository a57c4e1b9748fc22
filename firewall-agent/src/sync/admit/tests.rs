//! Contending files, as rows of a table.

use super::*;
use crate::rules::{Limits, Mode, Protocol, read_database};
use crate::sync::{Changes, Database, Sources};

fn file(id: &str, revision: u64, endpoints: &str) -> Candidate {
    let text = format!(
        "schema_version: 1\ndatabase_id: {id}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
         endpoints: [{endpoints}]\nrules: []\n...\n"
    );
    let limits = Limits { max_rules: 30, allow_monitor: true, node_name: None };
    let rules = read_database(text.as_bytes(), &limits).unwrap().value;
    Candidate { path: format!("{id}-{revision}.yaml").into(), rules, bytes: FileBytes::default() }
}

/// Databases that are live at revision 5, each with one endpoint.
fn live(databases: &[(&str, Option<&str>)]) -> Live {
    let mut live = Live::default();
    for (slot, (id, address)) in (0..).zip(databases) {
        let database = Database {
            id: id.parse().unwrap(),
            name: String::new(),
            default_line: slot + 1,
            floor: 5,
            stamp: None,
            sources: Sources::default(),
        };
        live.databases.insert(slot, database);
        let address = address.map(|text| text.parse().unwrap());
        let claim = Claim::Open { slot, mode: Mode::Enforce, default_line: slot + 1 };
        live.table.endpoints.insert(Destination { address, port: 5432, protocol: Protocol::Tcp }, claim);
    }
    live
}

/// The ids that are admitted, and the causes of the others.
fn outcome(candidates: Vec<Candidate>, before: &[Candidate], live: &Live) -> String {
    let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
    persisted.adopt(live, &mut changes);
    before.iter().for_each(|file| persisted.accept(&file.rules, None, &mut changes));
    let before = before.iter().map(|file| (file.rules.id.clone(), file.clone())).collect();
    let admission = admit(candidates, &before, &persisted, live);
    let admitted: Vec<String> = admission.admitted.keys().map(ToString::to_string).collect();
    let refused: Vec<String> = admission
        .refused
        .iter()
        .map(|refusal| {
            format!("{} {}", refusal.database, refusal.message.split(':').next().unwrap_or_default())
        })
        .collect();
    format!("{} | {}", admitted.join(" "), refused.join(", "))
}

const ONE: &str = "{port: 5432, address: 192.0.2.1}";
const TWO: &str = "{port: 5432, address: 192.0.2.2}";
const ALL: &str = "{port: 5432}";

#[test]
fn an_endpoint_has_one_holder() {
    let nobody = live(&[]);
    let z_holds_all = live(&[("z", None)]);
    let a_holds_one = live(&[("a", Some("192.0.2.1"))]);
    for (what, candidates, live, expected) in [
        ("apart", vec![file("a", 6, ONE), file("b", 6, TWO)], &nobody, "a b | "),
        ("two newcomers", vec![file("b", 6, ONE), file("a", 6, ONE)], &nobody, "a | b endpoint_claimed"),
        (
            "a wildcard overlaps",
            vec![file("a", 6, ALL), file("b", 6, TWO)],
            &nobody,
            "a | b endpoint_claimed",
        ),
        (
            "the holder keeps it",
            vec![file("a", 6, ONE), file("z", 6, ALL)],
            &z_holds_all,
            "z | a endpoint_claimed",
        ),
        (
            "a holder may narrow",
            vec![file("a", 6, ONE), file("z", 6, ONE)],
            &z_holds_all,
            "z | a endpoint_claimed",
        ),
        ("its file may be gone", vec![file("b", 6, ONE)], &a_holds_one, " | b endpoint_claimed"),
        ("an endpoint moves", vec![file("a", 6, TWO), file("b", 6, ONE)], &a_holds_one, "a b | "),
        (
            "the loser to a loser is taken",
            vec![file("a", 6, TWO), file("b", 6, ALL), file("c", 6, ONE)],
            &live(&[("c", Some("192.0.2.1"))]),
            "a c | b endpoint_claimed",
        ),
    ] {
        assert_eq!(outcome(candidates, &[], live), expected, "{what}");
    }
}

#[test]
fn a_claim_that_was_admitted_and_not_yet_published_is_held() {
    let before = [file("x", 6, ONE)];
    assert_eq!(outcome(vec![file("a", 6, ONE)], &before, &live(&[])), " | a endpoint_claimed");
}

#[test]
fn revisions_never_go_back() {
    let live = live(&[("a", Some("192.0.2.1"))]);
    for (what, candidates, before, expected) in [
        ("higher", vec![file("a", 6, ONE)], vec![], "a | "),
        ("the same again", vec![file("a", 5, ONE)], vec![], "a | "),
        ("lower", vec![file("a", 4, ONE)], vec![], " | a stale_revision"),
        ("lower than admitted", vec![file("a", 7, ONE)], vec![file("a", 8, ONE)], " | a stale_revision"),
        (
            "the same, other content",
            vec![file("a", 8, TWO)],
            vec![file("a", 8, ONE)],
            " | a revision_conflict",
        ),
        ("two files", vec![file("a", 7, ONE), file("a", 6, TWO)], vec![], "a | a stale_revision"),
        (
            "two files, one revision",
            vec![file("a", 7, ONE), file("a", 7, TWO)],
            vec![],
            " | a revision_conflict, a revision_conflict",
        ),
    ] {
        assert_eq!(outcome(candidates, &before, &live), expected, "{what}");
    }
}

/// Floors outlive the files: a signed file of the past stays refused.
#[test]
fn a_database_that_left_comes_back_with_a_new_revision_only() {
    let removed = DatabaseRules { state: State::Removed, ..file("a", 9, ONE).rules };
    let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
    persisted.accept(&removed, None, &mut changes);
    let outcome = |persisted: &PersistedState, file: Candidate| {
        let admission = admit(vec![file], &BTreeMap::new(), persisted, &Live::default());
        let refused = admission.refused.first().map(|refusal| refusal.message.clone()).unwrap_or_default();
        refused.split(':').next().unwrap_or_default().to_owned()
    };
    let again = Candidate { rules: removed.clone(), ..file("a", 9, ONE) };
    assert_eq!(outcome(&persisted, file("a", 7, ONE)), "stale_revision");
    assert_eq!(outcome(&persisted, file("a", 9, ONE)), "revision_conflict");
    assert_eq!(outcome(&persisted, again.clone()), "");
    assert_eq!(outcome(&persisted, file("a", 10, ONE)), "");
    persisted.forget(&removed.id, &mut changes);
    assert_eq!(outcome(&persisted, again), "stale_revision");
    assert_eq!(outcome(&persisted, file("a", 10, ONE)), "");
    persisted.rebase(&removed.id, &mut changes);
    assert_eq!(outcome(&persisted, file("a", 1, ONE)), "");
}
