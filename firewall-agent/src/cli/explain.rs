//! `firewall-agent explain SRC DATABASE|ADDRESS:PORT[/udp]`: the verdict, from the probe program in the kernel.

mod question;

use std::io::Write;

use anyhow::{Context as _, Result};
use firewall_common::Reason;
use serde::Serialize;

use super::format::Format;
use super::settings::Located;
use super::table::or_dash;
use super::{BadInput, Exit};
use crate::bpf::{Answer, Kernel, Probe};
use crate::escape::write_json;
use crate::rules::PrefixMap;
use crate::sync::{CounterId, CounterKind, Live, Question, RuleCounter};

/// Verdict for one packet. Field names are an interface.
#[derive(Debug, Serialize)]
struct Explanation {
    source: String,
    /// Endpoint of the question, as in the endpoint table.
    endpoint: String,
    /// `pass` or `drop`.
    verdict: &'static str,
    reason: &'static str,
    database_id: Option<String>,
    rule: Option<Rule>,
    /// The destination is closed to new connections only: TCP packets that cannot open one pass.
    new_connections_only: bool,
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
    directories: &Located,
    (source, target): (&str, &str),
    at_socket: bool,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let before = kernel.live()?;
    let questions = question::read(source, target, &before).map_err(BadInput)?;
    let probe = if at_socket { Probe::at_socket } else { Probe::pinned };
    let program = probe(&directories.bpffs_dir)?;
    let answers: Vec<Answer> =
        questions.iter().map(|question| program.answer_to(question)).collect::<Result<_>>()?;
    // The daemon may publish meanwhile: the rule counter may be new, or gone.
    let after = kernel.live()?;
    let explanations: Vec<Explanation> = questions
        .iter()
        .zip(answers)
        .map(|(question, answer)| {
            let live = if after.counters.contains_key(&answer.counter) { &after } else { &before };
            explanation(question, answer, live, at_socket)
        })
        .collect::<Result<_>>()?;
    match format {
        Format::Json => write_json(&explanations, out)?,
        Format::Table => explanations.iter().try_for_each(|one| write_people(one, out))?,
    }
    let denied = explanations.iter().any(|one| one.verdict == "drop");
    Ok(if denied { Exit::WouldBeDenied } else { Exit::Done })
}

fn explanation(question: &Question, answer: Answer, live: &Live, at_socket: bool) -> Result<Explanation> {
    let named = live.counters.get(&answer.counter);
    let database = named.and_then(|named| live.databases.get(&named.database));
    if answer.counter != CounterId::NONE {
        named.with_context(|| format!("rule counter {}: no record in the kernel", answer.counter))?;
    }
    Ok(Explanation {
        source: question.source.to_string(),
        endpoint: question.destination.to_string(),
        verdict: if answer.reason.passes() { "pass" } else { "drop" },
        reason: answer.reason.name(),
        database_id: database.map(|database| database.id.to_string()),
        rule: named
            .zip(database)
            .map(|(named, database)| rule(question, answer.counter, named, &database.sources)),
        new_connections_only: answer.reason == Reason::Closed
            && !at_socket
            && live.admits_answers(&question.destination),
    })
}

fn rule(question: &Question, slot: CounterId, named: &RuleCounter, sources: &PrefixMap<CounterId>) -> Rule {
    let cidr = sources
        .iter()
        .filter(|(net, counter)| **counter == slot && net.contains(&question.source))
        .max_by_key(|(net, _)| net.prefix_len());
    Rule {
        id: named.id.clone(),
        kind: named.kind.name(),
        cidr: cidr.map(|(net, _)| net.to_string()),
        range_id: named.kind.range().map(str::to_owned),
        label: named.label.clone(),
    }
}

fn write_people(one: &Explanation, out: &mut impl Write) -> Result<()> {
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
    if one.new_connections_only {
        writeln!(out, "  guard     new connections only: TCP packets that cannot open one pass")?;
    }
    Ok(())
}
