//! Facts known only to a dry run.

use super::*;
use crate::sync::{Capacity, Guards};

#[test]
fn plan_predicts_lack_of_room_and_closed_destinations() {
    let live = published().live;
    let same = "10.1.0.0/16";
    let files = vec![
        ("a", format!("name: A\n{}", file(2, TWO, &format!("{OFFICE}, {REGION}, {SHOP}")))),
        ("b", file(2, "{port: 6432}", "")),
        ("c", file(1, "{port: 7432}, {port: 7433}", OFFICE)),
    ];
    let guarded = Guards::from([7433]);
    let limits = Capacity { prefixes: 2, ..Capacity::default() };
    let desired = Desired { guarded, limits, ..desired(&files, &ranges(same)) };
    let plan = dry(&desired, &live);
    let reasons: Vec<String> = plan.failed.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    assert_eq!(
        reasons,
        [
            "a: no room for 3 prefixes: the other databases of this host use 0, the limit is 2",
            "c: no room for 1 prefixes: the other databases of this host use 2, the limit is 2",
        ]
    );
    assert_eq!(
        descriptions(&plan.changes),
        [
            "a 192.0.2.1:5432/tcp Enforce > -",
            "b revision 1 > 2",
            "b *:6432/tcp - > Enforce",
            "b 192.0.2.2:5432/tcp Monitor > -",
        ]
    );
    let closed: Vec<String> =
        plan.changes.iter().flat_map(|change| &change.closed).map(ToString::to_string).collect();
    assert_eq!(closed, ["192.0.2.1:5432/tcp", "192.0.2.2:5432/tcp"]);
    let come = |turn: &Transition<()>| turn.before.is_none() && turn.after.is_some();
    let tombstones = |plan: &Plan| -> Vec<String> {
        assert!(plan.tombstones.values().all(come), "{:?}", plan.tombstones);
        plan.tombstones.keys().map(ToString::to_string).collect()
    };
    assert_eq!(tombstones(&plan), ["*:7432/tcp", "192.0.2.1:5432/tcp", "192.0.2.2:5432/tcp"]);
    // The control: with sufficient capacity, only the leaving endpoint is closed.
    let roomy = dry(&Desired { limits: Capacity::default(), ..desired }, &live);
    assert_eq!((roomy.failed.len(), tombstones(&roomy)), (0, vec!["192.0.2.1:5432/tcp".to_owned()]));
    let closed: Vec<_> = roomy.changes.iter().flat_map(|change| &change.closed).collect();
    assert_eq!(closed.len(), 1, "the other endpoint goes to another database");
}

#[test]
fn plan_of_the_next_expiry_builds_on_the_current_plan() {
    let expires: Timestamp = "2026-09-01T00:00:00Z".parse().unwrap();
    let dated = SHOP.replace('}', &format!(", expires_at: {expires}}}"));
    let files = vec![("a", format!("name: A\n{}", file(2, ONE, &format!("{OFFICE}, {REGION}, {dated}"))))];
    let same = ranges("10.1.0.0/16");
    let now = dry(&desired(&files, &same), &published().live);
    assert_eq!(descriptions(&now.changes), ["a revision 1 > 2", "a 198.51.100.0/24 - > custom_range r2"]);
    let then = dry(&desired_at(expires, &files, &same), &now.after);
    assert_eq!(descriptions(&then.changes), ["a 198.51.100.0/24 custom_range r2 > -"]);
}
