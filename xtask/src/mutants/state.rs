//! Mutants of the durable state that the fleet histories, or a denied client's real connections, must kill.

use super::{HISTORIES, Mutant};

const ACCEPTED: &str = "firewall-agent/src/sync/accepted.rs";
const CLAIMS: &str = "firewall-agent/src/sync/claims.rs";
const PERSISTED: &str = "firewall-agent/src/sync/persisted.rs";
const RECONCILE: &str = "firewall-agent/src/agent/reconcile.rs";
const RESTORATION: &str = "firewall-agent/src/sync/restoration.rs";
const VERBS: &str = "firewall-agent/src/agent/verbs.rs";
const OPEN: &str = "firewall-agent/src/agent/open.rs";
const FAIL_CLOSED: &str = "firewall-agent/src/agent/fail_closed.rs";
const RECORDS: &str = "firewall-agent/src/files/store/records.rs";

pub const MUTANTS: &[Mutant] = &[
    keeping(
        "stored claims without a file are not closed",
        ACCEPTED,
        "desired.closed.clone_from(persisted.closed_set());",
        "",
    ),
    keeping(
        "the addresses of a narrowed wildcard are open",
        CLAIMS,
        "self.rows(open, |_| true, wanted);",
        "self.rows(open.clone(), |to| !open.iter().any(|(one, _)| one.overlaps(to)), wanted);",
    ),
    keeping(
        "a crowded database retains the endpoints that it drops",
        CLAIMS,
        "if wanted.claims(&destination) {",
        "if crowded || wanted.claims(&destination) {",
    ),
    keeping(
        "two claims on one destination are open",
        ACCEPTED,
        "        withdraw_contended(&mut desired);\n",
        "",
    ),
    keeping(
        "a pass opens claims that are not durable",
        RECONCILE,
        "desired.withheld = self.undurable_claims(&desired);",
        "",
    ),
    keeping(
        "an endpoint is opened before its claim is stored",
        RECONCILE,
        "destinations.filter(|to| is_pending(*to) && !is_durable(to.everywhere())).collect()",
        "destinations.filter(|to| is_pending(*to) && is_durable(*to)).collect()",
    ),
    keeping("closing claims are stored after the publish", RECONCILE, COMMITTED_FIRST, COMMITTED_LAST),
    keeping("a start trusts claims that are not stored", OPEN, "changes.confirm();", ""),
    keeping(
        "claims that only the kernel knows are not stored",
        PERSISTED,
        "if !self.claims.contains(&destination) {",
        "if false {",
    ),
    keeping(
        "a refused write leaves the live state certain",
        RECONCILE,
        "self.is_uncertain = published.refused_writes;",
        "self.is_uncertain = false;",
    ),
    keeping("a verb does not read the kernel back", VERBS, "self.read_back()?;", ""),
    keeping(
        "a release counts although a write was refused",
        RECONCILE,
        "if published.errors.is_empty() {",
        "if true {",
    ),
    keeping(
        "a release is not stored",
        RECONCILE,
        "self.persisted.release(&desired.opened, &mut changes);",
        "",
    ),
    keeping(
        "a release precedes its overlapping claims",
        CLAIMS,
        "            !desired.guarded.contains(to.port)\n",
        "            !desired.opened.contains(to) && !desired.guarded.contains(to.port)\n",
    ),
    keeping(
        "forget loses the revision floor",
        PERSISTED,
        "let revision = self.floor(id);",
        "let revision = 0;",
    ),
    keeping("the kernel's revision floor is not stored", PERSISTED, "if !is_known {", "if false {"),
    keeping("the clock mark is not stored", PERSISTED, "changes.put(Record::ClockMark(mark));", ""),
    keeping(
        "the rules in force are not stored before their file is replaced",
        ACCEPTED,
        "self.store_rules(before, persisted, now, changes);",
        "",
    ),
    keeping(
        "the rules in force are not stored before their ranges are replaced",
        ACCEPTED,
        "self.store_rules(candidate, persisted, now, changes);",
        "",
    ),
    keeping(
        "the remainder of a crowded revision counts as complete",
        PERSISTED,
        "InForce::with(stamp.revision, rules), changes);",
        "InForce::complete(stamp.revision), changes);",
    ),
    keeping(
        "a boot without capacity drops the rules in force",
        PERSISTED,
        "rules.filter(|_| accepted.contains_key(&id))",
        "rules.filter(|_| false)",
    ),
    keeping(
        "a revision in force is not recorded",
        RECONCILE,
        "self.persisted.record_in_force(&self.live, self.accepted.files(), published, &mut changes);",
        "",
    ),
    keeping(
        "a refused pass drops the rules in force",
        PERSISTED,
        "absent.retain(|id| !published.refused_writes || !accepted.contains_key(id));",
        "",
    ),
    keeping(
        "new rules take the room of the rules in force",
        RESTORATION,
        "if fallbacks.is_empty() {",
        "if !fallbacks.is_empty() || fallbacks.is_empty() {",
    ),
    keeping(
        "a boot with refused writes does not restore the rules in force",
        RESTORATION,
        "&& no_room.contains(id)",
        "&& no_room.len() > 1_000",
    ),
    keeping(
        "a second publish takes the memory of the first",
        RECONCILE,
        "desired.limits = self.limits();",
        "",
    ),
    keeping(
        "freed memory admits no waiting database",
        RECONCILE,
        "!published.crowded.is_empty() && self.live.prefixes() < prefixes",
        "false",
    ),
    keeping(
        "detached is not stored",
        PERSISTED,
        "Some(since) => changes.put(Record::Detached(since)),",
        "Some(_) => {}",
    ),
    keeping("attached is not stored", PERSISTED, "None => changes.remove(Key::Detached),", "None => {}"),
    starting(
        "a failed start closes no claim",
        FAIL_CLOSED,
        "if !endpoints.is_empty() {",
        "if endpoints.len() > 1_000_000 {",
    ),
    starting(
        "a failed start does not read the store",
        FAIL_CLOSED,
        "LastGoodStore::new(StateFile::new(&config.state_dir)).claims().unwrap_or_default();",
        "Vec::<Destination>::new();",
    ),
    starting(
        "a store of an unknown format is accepted",
        RECORDS,
        "ensure!(version == VERSION,",
        "ensure!(version >= VERSION,",
    ),
];

/// The steps of a pass from the commit of closing claims to the publish.
macro_rules! publishing {
    () => {
        "        if let Err(error) = self.read_back() {
            self.retry.failed(moment.uptime);
            self.is_forced = false;
            reporter.conditions.set(Condition::ReadBack, Some(format!(\"{error:#}\")));
            return Vec::new();
        }
        reporter.conditions.set(Condition::ReadBack, None);
        let prefixes = self.live.prefixes();
        let (desired, published) = self.put_in_force(BTreeSet::new(), now);
"
    };
}
const COMMITTED_FIRST: &str = concat!("        self.commit_closes(now, changes);\n\n", publishing!());
const COMMITTED_LAST: &str = concat!(publishing!(), "        self.commit_closes(now, changes);\n");

/// A mutant of a running agent over restarts, reboots and refused writes.
const fn keeping(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant { name, file, find, replace, targets: &[HISTORIES] }
}

/// A mutant of a failed start.
const fn starting(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant { name, file, find, replace, targets: &["openings"] }
}
