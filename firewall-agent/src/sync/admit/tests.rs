//! Contending files as table rows.

use std::sync::Arc;

use fastrand::Rng;

use super::*;
use crate::rules::{Limits, Mode, Protocol, read_database};
use crate::sync::tests::counted::comparisons;
use crate::sync::{Changes, Database, DatabaseSlot, TableEntry};

fn file(id: &str, revision: u64, endpoints: &str) -> Candidate {
    let text = format!(
        "schema_version: 1\ndatabase_id: {id}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
         endpoints: [{endpoints}]\nrules: []\n...\n"
    );
    let limits = Limits { max_rules: 30, allow_monitor: true, node_name: None };
    let rules = read_database(text.as_bytes(), &limits).unwrap().value;
    Candidate {
        path: format!("{id}-{revision}.yaml").into(),
        rules: rules.into(),
        bytes: FileBytes::default(),
    }
}

/// Databases live at revision 5, each with one endpoint.
fn live(databases: &[(&str, Option<&str>)]) -> Live {
    let mut live = Live::default();
    for (slot, (id, address)) in (0..).map(DatabaseSlot).zip(databases) {
        let database = Database {
            id: id.parse().unwrap(),
            name: String::new(),
            default_counter: slot.default_counter(),
            floor: 5,
            stamp: None,
            sources: Arc::default(),
        };
        live.databases.insert(slot, database);
        let address = address.map(|text| text.parse().unwrap());
        let claim = TableEntry::Open { slot, mode: Mode::Enforce, default_counter: slot.default_counter() };
        live.table.endpoints.insert(Destination { address, port: 5432, protocol: Protocol::Tcp }, claim);
    }
    live
}

/// Ids of the admitted files, and causes of the rejections.
fn outcome(candidates: Vec<Candidate>, before: &[Candidate], live: &Live) -> String {
    let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
    persisted.adopt(live, &mut changes);
    before.iter().for_each(|file| persisted.accept(&file.rules, &mut changes));
    let before = before.iter().map(|file| (file.rules.id.clone(), file.clone())).collect();
    let admission = admit(candidates, &before, &persisted, live);
    let admitted: Vec<String> = admission.admitted.keys().map(ToString::to_string).collect();
    let refused: Vec<String> = admission
        .refused
        .iter()
        .map(|refusal| format!("{} {}", refusal.database, refusal.reason.cause))
        .collect();
    format!("{} | {}", admitted.join(" "), refused.join(", "))
}

const ONE: &str = "{port: 5432, address: 192.0.2.1}";
const TWO: &str = "{port: 5432, address: 192.0.2.2}";
const ALL: &str = "{port: 5432}";

#[test]
fn endpoint_belongs_to_one_database() {
    let no_owner = live(&[]);
    let z_owns_all = live(&[("z", None)]);
    let a_owns_one = live(&[("a", Some("192.0.2.1"))]);
    for (what, candidates, live, expected) in [
        ("apart", vec![file("a", 6, ONE), file("b", 6, TWO)], &no_owner, "a b | "),
        ("two newcomers", vec![file("b", 6, ONE), file("a", 6, ONE)], &no_owner, "a | b endpoint_claimed"),
        (
            "a wildcard overlaps",
            vec![file("a", 6, ALL), file("b", 6, TWO)],
            &no_owner,
            "a | b endpoint_claimed",
        ),
        (
            "the owner retains it",
            vec![file("a", 6, ONE), file("z", 6, ALL)],
            &z_owns_all,
            "z | a endpoint_claimed",
        ),
        (
            "an owner may narrow",
            vec![file("a", 6, ONE), file("z", 6, ONE)],
            &z_owns_all,
            "z | a endpoint_claimed",
        ),
        ("its file may be gone", vec![file("b", 6, ONE)], &a_owns_one, " | b endpoint_claimed"),
        ("an endpoint moves", vec![file("a", 6, TWO), file("b", 6, ONE)], &a_owns_one, "a b | "),
        (
            "a file that loses only to a rejected file is admitted",
            vec![file("a", 6, TWO), file("b", 6, ALL), file("c", 6, ONE)],
            &live(&[("c", Some("192.0.2.1"))]),
            "a c | b endpoint_claimed",
        ),
    ] {
        assert_eq!(outcome(candidates, &[], live), expected, "{what}");
    }
}

#[test]
fn accepted_unpublished_claim_blocks_others() {
    let before = [file("x", 6, ONE)];
    assert_eq!(outcome(vec![file("a", 6, ONE)], &before, &live(&[])), " | a endpoint_claimed");
}

#[test]
fn revisions_never_decrease() {
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

/// Floors outlive the files: a signed old file stays refused.
#[test]
fn removed_database_returns_only_with_a_newer_revision() {
    let removed = DatabaseRules { state: State::Removed, ..(*file("a", 9, ONE).rules).clone() };
    let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
    persisted.accept(&removed, &mut changes);
    let outcome = |persisted: &PersistedState, file: Candidate| {
        let admission = admit(vec![file], &BTreeMap::new(), persisted, &Live::default());
        let refused =
            admission.refused.first().map(|refusal| refusal.reason.message.clone()).unwrap_or_default();
        refused.split(':').next().unwrap_or_default().to_owned()
    };
    let again = Candidate { rules: removed.clone().into(), ..file("a", 9, ONE) };
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

/// Random files and owners, with their destinations.
fn contest(rng: &mut Rng) -> (Claims, Claims) {
    let random = |rng: &mut Rng| {
        let address = [None, Some("192.0.2.1"), Some("192.0.2.2"), Some("2001:db8::1")][rng.usize(..4)];
        let address = address.map(|text| text.parse().unwrap());
        Destination { address, port: 5432 + rng.u16(..3), protocol: Protocol::Tcp }
    };
    let (mut owned, mut wanted) = (Claims::new(), Claims::new());
    for id in ["a", "b", "c", "d", "e", "f"] {
        let id: DatabaseId = id.parse().unwrap();
        if rng.bool() {
            // Owners do not contend.
            let own = (0..rng.usize(..3)).map(|_| random(rng));
            let free = |to: &Destination| !owned.values().flatten().any(|other| to.overlaps(other));
            let own: BTreeSet<_> = own.filter(free).collect();
            owned.insert(id.clone(), own);
        }
        if rng.u8(..4) > 0 {
            let same = owned.get(&id).cloned().unwrap_or_default().into_iter().filter(|_| rng.bool());
            let mut claims: BTreeSet<_> = same.collect();
            claims.extend((0..rng.usize(..3)).map(|_| random(rng)));
            wanted.insert(id, claims);
        }
    }
    (wanted, owned)
}

/// Two databases with claims on one destination.
fn contention(claims: &Claims) -> Option<(&DatabaseId, &DatabaseId)> {
    claims.iter().find_map(|(id, mine)| {
        let others = claims.range((std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded));
        let mut rivals =
            others.filter(|(_, theirs)| mine.iter().any(|one| theirs.iter().any(|to| one.overlaps(to))));
        Some((id, rivals.next()?.0))
    })
}

#[test]
fn no_destination_has_two_claimants_and_no_refusal_lacks_a_cause() {
    let seed = std::env::var("SYNC_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SYNC_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let (mut refused, mut contended, mut after_all) = (0, 0, 0);
    for round in 0..20_000 {
        let (wanted, owned) = contest(&mut rng);
        let losers = Claimants::new(wanted.clone(), owned.clone()).losers();
        let mut claims = owned.clone();
        let won = wanted.iter().filter(|(id, _)| !losers.iter().any(|(loser, _)| loser == *id));
        claims.extend(won.map(|(id, claims)| (id.clone(), claims.clone())));
        let what = format!("seed {seed}, round {round}: {wanted:?} against {owned:?}: {losers:?}");
        assert_eq!(contention(&claims), None, "{what}");
        for (id, message) in &losers {
            // The control: if admitted, it would contend, unless its rival withdrew later.
            let with = [(id.clone(), wanted[id].clone())];
            let with: Claims = claims.clone().into_iter().chain(with).collect();
            after_all += usize::from(contention(&with).is_none());
            assert!(message.contains(" is claimed by database "), "{what}");
            // A file that claims only destinations its database owns is never refused.
            assert!(!owned.get(id).is_some_and(|owned| wanted[id].is_subset(owned)), "{what}");
        }
        let mut all = owned;
        all.extend(wanted);
        contended += usize::from(contention(&all).is_some());
        refused += losers.len();
    }
    assert!(contended > 5_000 && refused > 5_000, "{contended} contended, {refused} were refused");
    assert!(after_all * 50 < refused, "{after_all} of {refused} could be admitted");
}

#[test]
fn cost_of_contention_is_linear_in_files_and_claims() {
    let cost = |files: u32, everywhere: bool| {
        let claims = |number: u32, shared: bool| -> BTreeSet<Destination> {
            let address = Some(std::net::Ipv4Addr::from_bits(number).into());
            let own = Destination { address, port: 5432, protocol: Protocol::Tcp };
            let contended = if everywhere { own.everywhere() } else { Destination { port: 6432, ..own } };
            if shared { [own, contended].into() } else { [own].into() }
        };
        let id = |number: u32| format!("d{number:06}").parse::<DatabaseId>().unwrap();
        let wanted = (0..files).map(|number| (id(number), claims(number, true))).collect();
        let owned =
            (0..files).map(|number| (id(number + files / 2), claims(number + files / 2, false))).collect();
        comparisons(|| drop(Claimants::new(wanted, owned).losers()))
    };
    for everywhere in [false, true] {
        let (small, large) = (cost(500, everywhere), cost(4_000, everywhere));
        assert!(large < small * 8 * 2, "{small} comparisons for 500, {large} for 4,000");
    }
}
