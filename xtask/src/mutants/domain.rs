//! Mutants of `sync` that the agent's own tests must kill.

use super::Mutant;
use super::table::following;

const CLAIMS: &str = "firewall-agent/src/sync/claims.rs";
const CLAIMANTS: &str = "firewall-agent/src/sync/admit/claimants.rs";
const ROOM: &str = "firewall-agent/src/sync/room.rs";
const PUBLISH: &str = "firewall-agent/src/sync/publish.rs";
const TABLE: &str = "firewall-agent/src/sync/table.rs";
const MEMBER_ROWS: &str = "firewall-agent/src/sync/members.rs";
const UNCHANGED: &str = "firewall-agent/src/sync/unchanged.rs";

pub const MUTANTS: &[Mutant] = &[
    following("leaving endpoints are not closed", CLAIMS, "others.chain(&self.leaving)", "others"),
    following(
        "destinations claimed earlier are not closed",
        CLAIMS,
        "desired.closed.iter().filter(|to| needs_row(to) && is_closed(to)).copied().collect();",
        "Vec::new();",
    ),
    following(
        "desired endpoints that are not open are not closed",
        CLAIMS,
        "self.rows(open, |_| true, wanted);",
        "self.rows(open, |_| true, std::iter::empty());",
    ),
    following(
        "a tombstone closes an address below an open wildcard",
        CLAIMS,
        "(wildcards.is_empty() || !wildcards.contains(&(to.port, to.protocol)))",
        "(wildcards.is_empty() || wildcards.len() < usize::MAX)",
    ),
    following(
        "guarded tombstones have rows",
        CLAIMS,
        "            !desired.guarded.contains(to.port)\n",
        "            to.port < u16::MAX\n",
    ),
    following(
        "a released destination stays closed",
        CLAIMS,
        "rows.closed.retain(|to| !desired.opened.contains(to));",
        "",
    ),
    following(
        "a released destination opens before its overlapping claims",
        CLAIMS,
        "            !desired.guarded.contains(to.port)\n",
        "            !desired.guarded.contains(to.port) && !desired.opened.contains(to)\n",
    ),
    following(
        "a claim that is not stored is opened",
        CLAIMS,
        "filter(|to| !self.desired.withheld.contains(to))",
        "filter(|_| true)",
    ),
    following(
        "a claim that is not stored closes open endpoints",
        CLAIMS,
        "open.extend(stays.map(|to| (*to, claim)));",
        "",
    ),
    following(
        "a revision without room retains the endpoints that it drops",
        CLAIMS,
        "if wanted.claims(&destination) {",
        "if crowded || wanted.claims(&destination) {",
    ),
    following(
        "a revision without room stays in monitor mode",
        CLAIMS,
        "(_, true) => Mode::Enforce,",
        "(_, true) => mode,",
    ),
    following(
        "a tombstone is removed before its replacement is ready",
        CLAIMS,
        "live.endpoints.closed().iter().chain(crowded)",
        "live.endpoints.closed().iter().take(0).chain(crowded)",
    ),
    following(
        "an endpoint is closed for a moment before it opens",
        CLAIMS,
        "let is_closed = |to: &Destination| !to_open.contains(to)",
        "let is_closed = |to: &Destination| to_open.len() < usize::MAX || !to_open.contains(to)",
    ),
    following(
        "a leaving wildcard drops the endpoints below it",
        CLAIMS,
        "filter_map(within).collect()",
        "filter_map(within).take(0).collect()",
    ),
    following(
        "a guarded port is removed before the rows that replace it",
        TABLE,
        "set_ports(before, guarded.union(&live.guarded), live, data_plane)?;",
        "set_ports(before, guarded.clone(), live, data_plane)?;",
    ),
    following(
        "a new database takes the room of a published one",
        ROOM,
        "desired.first.contains(self.id) => 1",
        "false => 1",
    ),
    following(
        "a revocation waits for room",
        PUBLISH,
        "crowded.and_then(|crowded| crowded.remainder.as_ref()).or(revoked.as_ref())",
        "revoked.as_ref()",
    ),
    following("leaving databases make no room", PUBLISH, "if !late.is_empty() && ", "if false && "),
    following(
        "a refused write is not reported",
        PUBLISH,
        "done.refused_writes = data_plane.has_refused();",
        "",
    ),
    following("member rows of an old table are reused", MEMBER_ROWS, "&& members == live.members", ""),
    following("changed prefixes count as unchanged", UNCHANGED, "if net != live_net {", "if false {"),
    following(
        "a file is rejected although its rival is rejected, too",
        CLAIMANTS,
        "        if free {",
        "        if false {",
    ),
    following(
        "a rejected file releases the claims of its database",
        CLAIMANTS,
        "            self.owners.insert(&id, self.owned.get(&id));\n            for",
        "            for",
    ),
];
