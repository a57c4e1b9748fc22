//! `firewall-agent explain SRC [DATABASE|ADDRESS:PORT[/udp]]`: the verdict, from the probe program in the kernel, and
//! the facts that explain it.

mod question;

use std::io::Write;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use firewall_common::Reason;
use ipnet::IpNet;
use serde::Serialize;

use self::question::{Target, questions};
use super::Exit;
use super::evidence::{
    self, Closed, DecidingEntry, Evidence, ExpiredRule, FileState, PushedFile, Refusals, RevisionInForce,
};
use super::format::Format;
use super::settings::{Located, Settings};
use super::style::Style;
use super::table::or_dash;
use crate::bpf::{Answer, Kernel, Probe};
use crate::escape::write_json;
use crate::rules::{DatabaseId, PrefixMap};
use crate::sync::{BlockListKind, CounterId, CounterKind, Live, Question, RuleCounter};

const PASS: &str = "pass";
const DROP: &str = "drop";
/// Reason of the verdict where a database has no endpoint in the address family of the source.
const NO_ENDPOINT: &str = "no_endpoint";

/// Verdict for one packet. Field names are an interface.
#[derive(Debug, Serialize)]
struct Explanation {
    source: String,
    /// Endpoint of the question, as in the endpoint table; `-` with the reason [`NO_ENDPOINT`].
    endpoint: String,
    /// `pass` or `drop`.
    verdict: &'static str,
    reason: &'static str,
    database_id: Option<String>,
    rule: Option<Rule>,
    /// Rules of the database that would allow the source, had they not expired; none where another rule decided.
    expired: Vec<ExpiredRule>,
    /// An operator's decision over the files.
    overlay: Option<DecidingEntry>,
    /// The destination is closed to new connections only: TCP packets that cannot open one pass.
    new_connections_only: bool,
    /// Of the database.
    in_force: Option<RevisionInForce>,
    /// Of the database, or of the last one that claimed a closed destination.
    file: Option<PushedFile>,
    refusals: Option<Refusals>,
    /// `None` unless the reason is `closed`.
    closed: Option<Closed>,
    /// Facts that could not be read.
    unchecked: Vec<String>,
}

/// Rule that decided.
#[derive(Debug, Serialize)]
struct Rule {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    cidr: Option<String>,
    range_id: Option<String>,
    label: String,
}

pub(super) fn explain(
    settings: Settings,
    directories: &Located,
    (source, target): (&str, Option<&str>),
    at_socket: bool,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let before = kernel.live()?;
    let evidence = Evidence::read(settings, directories, &kernel, &before)?;
    let (source, target) = question::read(source, target, &evidence.databases(&before))?;
    let questions = questions(source, &target, &before, |id| evidence.claims(id));
    let probe = if at_socket { Probe::at_socket } else { Probe::pinned };
    let program = probe(&directories.bpffs_dir)?;
    let answers: Vec<Answer> =
        questions.iter().map(|question| program.answer_to(question)).collect::<Result<_>>()?;
    // The daemon may publish meanwhile: the rule counter may be new, or gone.
    let after = kernel.live()?;
    let explained = questions.iter().zip(answers).map(|(question, answer)| {
        let live = if after.counters.contains_key(&answer.counter) { &after } else { &before };
        explanation(question, answer, live, &evidence, at_socket)
    });
    let mut explanations: Vec<Explanation> = explained.collect::<Result<_>>()?;
    let is_denied = match &target {
        Target::All => {
            explanations.retain(|one| one.verdict == PASS);
            explanations.is_empty()
        }
        Target::Database(id) if explanations.is_empty() => {
            explanations.push(without_endpoint(source, id, &after, &evidence));
            true
        }
        Target::Database(_) | Target::Destination(_) => explanations.iter().any(|one| one.verdict == DROP),
    };
    match style.format {
        Format::Json => write_json(&explanations, out)?,
        Format::Table | Format::Wide if explanations.is_empty() => {
            writeln!(out, "no database admits {source}")?
        }
        Format::Table | Format::Wide => {
            explanations.iter().try_for_each(|one| write_people(one, style, out))?
        }
    }
    Ok(if is_denied { Exit::WouldBeDenied } else { Exit::Done })
}

fn explanation(
    question: &Question,
    answer: Answer,
    live: &Live,
    evidence: &Evidence,
    at_socket: bool,
) -> Result<Explanation> {
    let named = live.counters.get(&answer.counter);
    // A block belongs to no database.
    let at_endpoint = || live.table.endpoints.deciding(&question.destination)?.slot();
    let is_blocked = answer.reason == Reason::Blocked;
    let slot = named.map(|named| named.database).filter(|_| !is_blocked);
    let slot = slot.or_else(|| at_endpoint().filter(|_| is_blocked));
    let database = slot.and_then(|slot| live.databases.get(&slot));
    if answer.counter != CounterId::NONE {
        named.with_context(|| format!("rule counter {}: no record in the kernel", answer.counter))?;
    }
    let is_closed = answer.reason == Reason::Closed;
    let closed = is_closed.then(|| evidence.closed(&question.destination, live));
    let left_by = || closed.as_ref()?.database_id.as_ref()?.parse().ok();
    let concerned: Option<DatabaseId> = database.map(|database| database.id.clone()).or_else(left_by);
    let overlay = match (is_closed, &concerned) {
        (true, Some(id)) => evidence.closing_entry(id),
        _ => named.and_then(|named| evidence.overlay_entry(&named.id)),
    };
    let unmatched = database.filter(|_| named.is_some_and(|named| named.kind == CounterKind::Default));
    let expired =
        unmatched.map_or(Ok(Vec::new()), |database| evidence.expired(&database.id, question.source))?;
    Ok(Explanation {
        source: question.source.to_string(),
        endpoint: question.destination.to_string(),
        verdict: if answer.reason.passes() { PASS } else { DROP },
        reason: answer.reason.name(),
        database_id: database.map(|database| database.id.to_string()),
        rule: named
            .zip(database)
            .map(|(named, database)| rule(question, answer.counter, named, &database.sources, live)),
        expired,
        overlay,
        new_connections_only: is_closed && !at_socket && live.admits_answers(&question.destination),
        in_force: database.and_then(|database| evidence::in_force(&database.id, live)),
        file: concerned.and_then(|id| evidence.file(&id, live)),
        refusals: evidence.refusals(question.source, &question.destination),
        closed,
        unchecked: evidence.unchecked(),
    })
}

/// The answer about a database without an endpoint in the address family of the source.
fn without_endpoint(source: IpAddr, id: &DatabaseId, live: &Live, evidence: &Evidence) -> Explanation {
    Explanation {
        source: source.to_string(),
        endpoint: "-".to_owned(),
        verdict: DROP,
        reason: NO_ENDPOINT,
        database_id: Some(id.to_string()),
        rule: None,
        expired: Vec::new(),
        overlay: None,
        new_connections_only: false,
        in_force: evidence::in_force(id, live),
        file: evidence.file(id, live),
        refusals: None,
        closed: None,
        unchecked: evidence.unchecked(),
    }
}

fn rule(
    question: &Question,
    slot: CounterId,
    named: &RuleCounter,
    sources: &PrefixMap<CounterId>,
    live: &Live,
) -> Rule {
    let blocking = BlockListKind::ALL.into_iter().find(|kind| kind.counter_kind() == named.kind);
    let contains = |net: &IpNet| net.contains(&question.source);
    let cidr = match blocking {
        Some(kind) => {
            let of_entry = live.blocks.get(kind).sources.iter().filter(|(_, id)| ***id == *named.id);
            let nets = of_entry.map(|(source, _)| source.net).filter(contains);
            nets.max_by_key(IpNet::prefix_len)
        }
        None => {
            let of_rule = sources.iter().filter(|(_, counter)| **counter == slot);
            of_rule.map(|(net, _)| net).filter(contains).max_by_key(IpNet::prefix_len)
        }
    };
    Rule {
        id: named.id.clone(),
        kind: named.kind.name(),
        cidr: cidr.map(|net| net.to_string()),
        range_id: named.kind.range().map(str::to_owned),
        label: named.label.clone(),
    }
}

fn write_people(one: &Explanation, style: Style, out: &mut impl Write) -> Result<()> {
    writeln!(out, "{} → {}: {} ({})", one.source, one.endpoint, one.verdict, one.reason)?;
    if let Some(database) = &one.database_id {
        writeln!(out, "  database  {database}")?;
    }
    match &one.rule {
        Some(rule) if rule.kind == CounterKind::Default.name() => {
            writeln!(out, "  rule      none of its rules allows the source")?;
        }
        Some(rule) => {
            let cidr = or_dash(rule.cidr.as_ref());
            writeln!(out, "  rule      {} ({}) {cidr} {}", rule.id, rule.kind, rule.label)?;
            if let Some(range) = &rule.range_id {
                writeln!(out, "  range     {range}")?;
            }
        }
        None => {}
    }
    for ExpiredRule { id, cidr, expires_at } in &one.expired {
        writeln!(out, "  expired   {id} {cidr}, {}", style.time(*expires_at))?;
    }
    if one.reason == NO_ENDPOINT {
        let family = if one.source.contains(':') { "IPv6" } else { "IPv4" };
        writeln!(out, "  endpoint  none for {family} sources")?;
    }
    if let Some(closed) = one.closed.as_ref().filter(|_| one.overlay.is_none()) {
        writeln!(out, "  closed    {}", closed_by(closed, style))?;
    }
    if let Some(DecidingEntry { id, action, until, note }) = &one.overlay {
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        writeln!(out, "  overlay   {id}: {action}, until {}{note}", style.time(*until))?;
    }
    if one.new_connections_only {
        writeln!(out, "  guard     new connections only: TCP packets that cannot open one pass")?;
    }
    if let Some(RevisionInForce { revision, generation, applied_at }) = &one.in_force {
        let applied = style.time(*applied_at);
        writeln!(out, "  in force  revision {revision}, applied {applied}, generation {generation}")?;
    }
    if let Some(file) = one.file.as_ref().filter(|file| file.state != FileState::InForce) {
        write_file(file, style, out)?;
    }
    if let Some(Refusals { packets, first_seen, last_seen }) = &one.refusals {
        let (first, last) = (style.time(*first_seen), style.time(*last_seen));
        writeln!(out, "  refused   {packets} packets of this source, first {first}, last {last}")?;
    }
    one.unchecked.iter().try_for_each(|problem| writeln!(out, "  unchecked {problem}"))?;
    Ok(())
}

fn closed_by(closed: &Closed, style: Style) -> String {
    let Some(id) = &closed.database_id else {
        return if closed.is_tombstone {
            "left behind by a database that the store does not name".to_owned()
        } else {
            "guarded port, no file claims it".to_owned()
        };
    };
    let why = match (closed.presence, closed.revision) {
        (Some("removed"), Some(revision)) => format!("removed by revision {revision}"),
        (Some("active"), Some(revision)) => format!("not in its revision {revision}"),
        (presence, _) => presence.unwrap_or("unknown to the store").to_owned(),
    };
    let since = closed.since.map_or(String::new(), |at| format!(", closed {}", style.time(at)));
    format!("left behind by database {id}: {why}{since}")
}

fn write_file(file: &PushedFile, style: Style, out: &mut impl Write) -> Result<()> {
    let revision = file.revision.map(|revision| format!("revision {revision}, "));
    let changed = file.changed_at.map(|at| format!("changed {}, ", style.time(at)));
    let seen = match (file.state, file.seen_at) {
        (_, Some(at)) => format!("seen {}, ", style.time(at)),
        (FileState::InForce | FileState::NotInForce, None) => "not reported as seen, ".to_owned(),
        (FileState::Rejected | FileState::Gone, None) => String::new(),
    };
    let state = match file.state {
        FileState::InForce => "in force",
        FileState::NotInForce => "not in force yet",
        FileState::Rejected => "rejected",
        FileState::Gone => "gone; its rules stay in force",
    };
    let (revision, changed) = (revision.unwrap_or_default(), changed.unwrap_or_default());
    writeln!(out, "  file      {}: {revision}{changed}{seen}{state}", file.path)?;
    file.errors.iter().try_for_each(|error| writeln!(out, "            {error}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{check, now};

    #[test]
    fn screens_of_explain() {
        let id = "6a316183d0f1f10ecbcca123".to_owned();
        let file = PushedFile {
            path: format!("/etc/firewall-agent/rules.d/{id}.yaml"),
            state: FileState::Rejected,
            revision: None,
            changed_at: Some(now()),
            seen_at: Some(now()),
            errors: vec![
                "line 8, column 42: rules[0].cidr: '203.0.113.300/24': is not an IPv4 address".to_owned(),
            ],
        };
        let one = Explanation {
            source: "2001:db8:4:1234:5678:9abc:def0:7".to_owned(),
            endpoint: "[2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp".to_owned(),
            verdict: DROP,
            reason: Reason::Closed.name(),
            database_id: Some(id.clone()),
            rule: None,
            expired: Vec::new(),
            overlay: None,
            new_connections_only: true,
            in_force: Some(RevisionInForce { revision: 42, generation: 7, applied_at: now() }),
            file: Some(file),
            refusals: Some(Refusals { packets: 12, first_seen: now(), last_seen: now() }),
            closed: Some(Closed {
                is_tombstone: true,
                database_id: Some(id),
                presence: Some("active"),
                revision: Some(42),
                since: Some(now()),
            }),
            unchecked: vec!["/var/lib/firewall-agent/state.redb: damaged: invalid page".to_owned()],
        };
        check("explain", |style, out| write_people(&one, style, out));
    }
}
