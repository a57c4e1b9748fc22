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
    following("what leaves is not closed", CLAIMS, "others.chain(&self.leaving)", "others"),
    following(
        "what was ever claimed is not closed",
        CLAIMS,
        "desired.closed.iter().filter(|to| needs_row(to) && is_closed(to)).copied().collect();",
        "Vec::new();",
    ),
    following(
        "what could not be opened is not closed",
        CLAIMS,
        "self.rows(open, |_| true, wanted);",
        "self.rows(open, |_| true, std::iter::empty());",
    ),
    following(
        "a tombstone cuts below a wildcard",
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
        "what is released stays closed",
        CLAIMS,
        "rows.closed.retain(|to| !desired.opened.contains(to));",
        "",
    ),
    following(
        "what is released is open before what overlaps it",
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
        "a claim that is not stored closes what is open",
        CLAIMS,
        "open.extend(stays.map(|to| (*to, claim)));",
        "",
    ),
    following(
        "a revision without room keeps what it drops",
        CLAIMS,
        "if wanted.claims(&destination) {",
        "if crowded || wanted.claims(&destination) {",
    ),
    following(
        "a revision without room watches on",
        CLAIMS,
        "(_, true) => Mode::Enforce,",
        "(_, true) => mode,",
    ),
    following(
        "a tombstone goes before what is in its place is ready",
        CLAIMS,
        "live.endpoints.closed().iter().chain(crowded)",
        "live.endpoints.closed().iter().take(0).chain(crowded)",
    ),
    following(
        "what is about to be opened is closed for a moment",
        CLAIMS,
        "let is_closed = |to: &Destination| !to_open.contains(to)",
        "let is_closed = |to: &Destination| to_open.len() < usize::MAX || !to_open.contains(to)",
    ),
    following(
        "of a wildcard that leaves nothing stays",
        CLAIMS,
        "filter_map(within).collect()",
        "filter_map(within).take(0).collect()",
    ),
    following(
        "a guard goes before the rows in its place",
        TABLE,
        "set_ports(before, guarded.union(&live.guarded), live, data_plane)?;",
        "set_ports(before, guarded.clone(), live, data_plane)?;",
    ),
    following(
        "a newcomer crowds out what was in force",
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
    following("what leaves makes no room", PUBLISH, "if !late.is_empty() && ", "if false && "),
    following("a refused write is not told", PUBLISH, "done.refused_writes = data_plane.has_refused();", ""),
    following("members of an old table are kept", MEMBER_ROWS, "&& members == live.members", ""),
    following("other prefixes are taken for the same", UNCHANGED, "if net != live_net {", "if false {"),
    following(
        "a file is refused although its rival is refused, too",
        CLAIMANTS,
        "        if free {",
        "        if false {",
    ),
    following(
        "a refused file gives up what its database holds",
        CLAIMANTS,
        "            self.owners.insert(&id, self.owned.get(&id));\n            for",
        "            for",
    ),
];
