//! Plans as table rows, and compared with the results of a publish.

use fastrand::Rng;

use super::*;
use crate::rules::{Limits, ManagedRanges, read_database, read_ranges};
use crate::sync::tests::random;
use crate::sync::{DatabaseSlot, FakeDataPlane, Guards};

mod foreseen;

const HEAD: &str = "generated_at: 2026-08-21T15:27:32Z\n";
const OFFICE: &str = "{id: r1, type: custom_range, cidr: 203.0.113.0/24}";
const SHOP: &str = "{id: r2, type: custom_range, cidr: 198.51.100.0/24}";
const REGION: &str = "{id: r3, type: managed_range, range_id: region}";
const ONE: &str = "{port: 5432, address: 192.0.2.1}";
const TWO: &str = "{port: 5432, address: 192.0.2.2}";

fn ranges(cidrs: &str) -> ManagedRanges {
    let list = format!("[{{id: region, name: Region, cidrs: [{cidrs}]}}]");
    let text = format!("schema_version: 1\nrevision: 7\n{HEAD}ranges: {list}\n...\n");
    read_ranges(text.as_bytes()).unwrap().value
}

/// Files of some databases: the id of each and the text after the head.
type Files = Vec<(&'static str, String)>;

fn desired(files: &[(&str, String)], ranges: &ManagedRanges) -> Desired {
    desired_at(Timestamp::UNIX_EPOCH, files, ranges)
}

fn desired_at(now: Timestamp, files: &[(&str, String)], ranges: &ManagedRanges) -> Desired {
    let limits = Limits { max_rules: 30, allow_monitor: true, node_name: None };
    let mut desired = Desired { monitor: true, ..Desired::default() };
    for (id, rest) in files {
        let text = format!("schema_version: 1\ndatabase_id: {id}\n{HEAD}{rest}\n...\n");
        let rules = read_database(text.as_bytes(), &limits).unwrap().value;
        desired.add(&rules, ranges, now);
    }
    desired
}

fn file(revision: u64, endpoints: &str, rules: &str) -> String {
    format!("revision: {revision}\nendpoints: [{endpoints}]\nrules: [{rules}]")
}

/// The databases `a`, which allows an office and a region at one endpoint, and `b`, in monitor mode at another.
fn published() -> FakeDataPlane {
    let monitored = format!("mode: monitor\n{}", file(1, TWO, ""));
    let files =
        [("a", format!("name: A\n{}", file(1, ONE, &format!("{OFFICE}, {REGION}")))), ("b", monitored)];
    let mut data_plane = FakeDataPlane::default();
    run(&desired(&files, &ranges("10.1.0.0/16")), &mut data_plane);
    data_plane
}

fn dry(desired: &Desired, live: &Live) -> Plan {
    plan(desired, &PersistedState::default(), live, FakeDataPlane::default().sizes, Timestamp::UNIX_EPOCH)
}

fn run(desired: &Desired, data_plane: &mut FakeDataPlane) {
    let mut live = data_plane.live.clone();
    let done = publish(desired, &mut live, data_plane, Timestamp::UNIX_EPOCH);
    assert!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
}

fn descriptions(changes: &[Change]) -> Vec<String> {
    fn side<T>(value: Option<&T>, text: impl Fn(&T) -> String) -> String {
        value.map_or_else(|| "-".to_owned(), text)
    }
    fn turn<T>(turn: &Transition<T>, text: impl Fn(&T) -> String + Copy) -> String {
        format!("{} > {}", side(turn.before.as_ref(), text), side(turn.after.as_ref(), text))
    }
    let mut descriptions = Vec::new();
    for change in changes {
        let id = &change.database;
        if change.name.differs() {
            descriptions.push(format!("{id} name {}", turn(&change.name, |name| format!("{name:?}"))));
        }
        if change.revision.differs() {
            descriptions.push(format!("{id} revision {}", turn(&change.revision, u64::to_string)));
        }
        let on = |on: &CountedOn| format!("{} {}", on.kind.name(), on.rule);
        descriptions.extend(change.prefixes.iter().map(|(net, one)| format!("{id} {net} {}", turn(one, on))));
        let mode = |mode: &Mode| format!("{mode:?}");
        descriptions
            .extend(change.endpoints.iter().map(|(at, one)| format!("{id} {at} {}", turn(one, mode))));
    }
    descriptions
}

#[test]
fn plan_lists_every_kind_of_change_and_nothing_else() {
    let live = published().live;
    let a = |revision, endpoints: &str, rules: &str| {
        vec![("a", format!("name: A\n{}", file(revision, endpoints, rules)))]
    };
    let both = format!("{OFFICE}, {REGION}");
    let same = "10.1.0.0/16";
    let cases: Vec<(&str, Files, &str, &[&str])> = vec![
        ("no file", vec![], same, &[]),
        ("the same file", a(1, ONE, &both), same, &[]),
        ("only a new revision", a(2, ONE, &both), same, &["a revision 1 > 2"]),
        ("a new name", vec![("a", file(1, ONE, &both))], same, &["a name \"A\" > \"\""]),
        (
            "a rule comes, another goes",
            a(2, ONE, &format!("{REGION}, {SHOP}")),
            same,
            &[
                "a revision 1 > 2",
                "a 198.51.100.0/24 - > custom_range r2",
                "a 203.0.113.0/24 custom_range r1 > -",
            ],
        ),
        (
            "a rule has another id",
            a(2, ONE, &both.replace("r1", "r9")),
            same,
            &["a revision 1 > 2", "a 203.0.113.0/24 custom_range r1 > custom_range r9"],
        ),
        (
            "a managed range has another list",
            a(1, ONE, &both),
            "10.2.0.0/16, '2001:db8::/32'",
            &[
                "a 10.1.0.0/16 managed_range r3 > -",
                "a 10.2.0.0/16 - > managed_range r3",
                "a 2001:db8::/32 - > managed_range r3",
            ],
        ),
        (
            "an endpoint moves",
            a(2, "{port: 6432}", &both),
            same,
            &["a revision 1 > 2", "a *:6432/tcp - > Enforce", "a 192.0.2.1:5432/tcp Enforce > -"],
        ),
        (
            "a database leaves monitor mode",
            vec![("b", file(2, TWO, ""))],
            same,
            &["b revision 1 > 2", "b 192.0.2.2:5432/tcp Monitor > Enforce"],
        ),
        (
            "an endpoint goes from one database to another",
            vec![("a", format!("name: A\n{}", file(2, TWO, &both))), ("b", file(2, ONE, ""))],
            same,
            &[
                "a revision 1 > 2",
                "a 192.0.2.1:5432/tcp Enforce > -",
                "a 192.0.2.2:5432/tcp - > Enforce",
                "b revision 1 > 2",
                "b 192.0.2.1:5432/tcp - > Enforce",
                "b 192.0.2.2:5432/tcp Monitor > -",
            ],
        ),
        (
            "a database comes",
            vec![("c", file(4, "{port: 7432}", SHOP))],
            same,
            &[
                "c name - > \"\"",
                "c revision - > 4",
                "c 198.51.100.0/24 - > custom_range r2",
                "c *:7432/tcp - > Enforce",
            ],
        ),
        (
            "a database leaves",
            vec![("b", format!("state: removed\n{}", file(2, TWO, "")))],
            same,
            &["b name \"\" > -", "b revision 1 > -", "b 192.0.2.2:5432/tcp Monitor > -"],
        ),
    ];
    for (what, files, cidrs, expected) in cases {
        assert_eq!(descriptions(&dry(&desired(&files, &ranges(cidrs)), &live).changes), expected, "{what}");
    }
}

#[test]
fn without_monitor_mode_a_database_without_file_is_enforced() {
    let desired = Desired { monitor: false, ..Desired::default() };
    let changes = descriptions(&dry(&desired, &published().live).changes);
    assert_eq!(changes, ["b 192.0.2.2:5432/tcp Monitor > Enforce"]);
}

#[test]
fn interrupted_apply_is_published_again() {
    let mut live = published().live;
    live.databases.get_mut(&DatabaseSlot(0)).unwrap().stamp = None;
    let same = vec![("a", format!("name: A\n{}", file(1, ONE, &format!("{OFFICE}, {REGION}"))))];
    assert_eq!(
        descriptions(&dry(&desired(&same, &ranges("10.1.0.0/16")), &live).changes),
        ["a revision - > 1"]
    );
}

/// The state after exactly these changes.
fn applied(
    changes: &[Change],
    mut state: BTreeMap<DatabaseId, PublishedState>,
) -> BTreeMap<DatabaseId, PublishedState> {
    fn set<K: Ord + Copy, V: Clone>(map: &mut BTreeMap<K, V>, turns: &BTreeMap<K, Transition<V>>) {
        for (key, turn) in turns {
            match &turn.after {
                Some(value) => drop(map.insert(*key, value.clone())),
                None => drop(map.remove(key)),
            }
        }
    }
    for change in changes {
        let Some(name) = &change.name.after else {
            state.remove(&change.database);
            continue;
        };
        let database = state.entry(change.database.clone()).or_default();
        database.name.clone_from(name);
        database.revision = change.revision.after;
        set(&mut database.prefixes, &change.prefixes);
        set(&mut database.endpoints, &change.endpoints);
    }
    state
}

#[test]
fn publish_performs_the_plan_completely() {
    let mut rng = Rng::with_seed(17);
    let mut data_plane = FakeDataPlane::default();
    let (mut planned, mut without) = (0, 0);
    for round in 1..=2_000 {
        // The few counters of this data plane are for rules: a block that leaves would free one for a rule.
        let local_blocks = Vec::new();
        let desired = Desired { monitor: rng.u8(0..4) > 0, local_blocks, ..random(&mut rng, round) };
        let plan = dry(&desired, &data_plane.live);
        let changes = plan.changes;
        let before = published_states(&data_plane.live);
        run(&desired, &mut data_plane);
        let after = published_states(&data_plane.live);
        assert_eq!(applied(&changes, before.clone()), after, "round {round}: {changes:?}");
        assert_eq!(plan.after.table, data_plane.live.table, "round {round}");
        assert_eq!(dry(&desired, &data_plane.live).changes, [], "round {round}");
        // The control: one change fewer gives another state.
        if let Some((_, rest)) = changes.split_first() {
            assert_ne!(applied(rest, before), after, "round {round}");
            planned += 1;
        } else {
            without += 1;
        }
        data_plane = data_plane.recovered();
    }
    assert!(planned > 1_000 && without > 0, "{planned} with changes, {without} without");
}

#[test]
fn a_plan_without_a_change_is_a_publish_without_a_write() {
    let mut data_plane = published().recovered();
    let guarded = Guards::default();
    assert_eq!(data_plane.live.guarded, guarded);
    let same = vec![("a", format!("name: A\n{}", file(1, ONE, &format!("{OFFICE}, {REGION}"))))];
    let desired = desired(&same, &ranges("10.1.0.0/16"));
    assert_eq!(dry(&desired, &data_plane.live).changes, []);
    run(&desired, &mut data_plane);
    assert_eq!(data_plane.writes, 0);
    // The control: a change is a write.
    run(
        &Desired { removed: ["a".parse().unwrap()].into(), databases: BTreeMap::new(), ..desired },
        &mut data_plane,
    );
    assert!(data_plane.writes > 0);
}
