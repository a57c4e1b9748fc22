//! `firewall-agent support-bundle`: everything that a person at a distance needs, in one JSON document.

mod redaction;

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use self::redaction::Redaction;
use super::denied::Question;
use super::events::Selection;
use super::format::Format;
use super::most_hit::MostHit;
use super::settings::{Located, Settings};
use super::style::Style;
use super::{
    Directories, Exit, audit, blocked, clock, databases, denied, events, overlay, range_history, ranges,
    rules, status,
};
use crate::bpf::{Kernel, inventory};
use crate::escape::write_json;
use crate::files::read::read_file;
use crate::version::{OBJECT, PROGRAM_TAGS, VERSION};

/// Most events and rows of refused sources.
const MOST: usize = 2000;

pub(super) fn support_bundle(
    config: &Path,
    settings: Result<Settings>,
    unredacted: bool,
    out: &mut impl std::io::Write,
) -> Result<Exit> {
    let config_text = read_file(config).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut bundle = serde_json::Map::new();
    bundle.insert("created_at".to_owned(), json!(Timestamp::now()));
    bundle.insert("versions".to_owned(), versions());
    bundle.insert("config_file".to_owned(), json!(config));
    bundle.insert("config".to_owned(), part(config_text.map_err(|error| anyhow::anyhow!("{error}"))));
    match settings {
        Ok(settings) => {
            let directories = settings.directories(Directories::default());
            let endpoints = endpoints(&directories);
            let redaction = Redaction::new(&endpoints);
            for (name, value) in parts(&settings, &directories) {
                bundle.insert(name.to_owned(), if unredacted { value } else { redaction.of(value) });
            }
        }
        Err(error) => _ = bundle.insert("error".to_owned(), json!(format!("{error:#}"))),
    }
    write_json(&bundle, out)?;
    Ok(Exit::Done)
}

fn versions() -> Value {
    let kernel = nix::sys::utsname::uname().ok();
    let kernel = kernel.as_ref();
    json!({
        "agent": VERSION.as_str(),
        "object": OBJECT,
        "program_tags": PROGRAM_TAGS,
        "kernel": kernel.map(|kernel| kernel.release().to_string_lossy()),
        "kernel_build": kernel.map(|kernel| kernel.version().to_string_lossy()),
        "machine": kernel.map(|kernel| kernel.machine().to_string_lossy()),
    })
}

/// Addresses in the endpoint table, which are no secret.
fn endpoints(directories: &Located) -> Vec<String> {
    let live = Kernel::open(&directories.bpffs_dir).and_then(|kernel| kernel.live()).unwrap_or_default();
    let addresses = live.table.endpoints.keys().filter_map(|destination| destination.address);
    addresses.map(|address| address.to_string()).collect()
}

/// Each part: the JSON of a reading command, or its error.
fn parts(settings: &Settings, directories: &Located) -> Vec<(&'static str, Value)> {
    let question = Question {
        database: None,
        since: None,
        by_kind: false,
        follow: false,
        by: None,
        by6: None,
        top: MOST,
    };
    let selection = Selection { database: None, since: None, kind: Vec::new(), top: MOST };
    let style = Style::new(Format::Json, true);
    vec![
        ("status", printed(|out| status::status(settings, Directories::default(), true, style, out))),
        ("databases", printed(|out| databases::databases(directories, style, out))),
        ("rules", printed(|out| rules::rules(directories, None, MostHit::default(), style, out))),
        ("ranges", printed(|out| ranges::ranges(directories, None, MostHit::default(), style, out))),
        ("blocked", printed(|out| blocked::blocked(directories, None, style, out))),
        ("overlay", printed(|out| overlay::list(directories, style, out))),
        ("range_history", printed(|out| range_history::history(directories, None, style, out))),
        ("denied", printed(|out| denied::denied(directories, question, style, out))),
        ("clock", printed(|out| clock::clock(directories, style.format, out))),
        ("audit", printed(|out| audit::run(directories, &[], style.format, out))),
        ("events", printed(|out| events::events(directories, &selection, style, out))),
        ("kernel_objects", part(inventory(&directories.bpffs_dir))),
    ]
}

/// The JSON that a command prints.
fn printed(command: impl FnOnce(&mut Vec<u8>) -> Result<Exit>) -> Value {
    let mut text = Vec::new();
    part(command(&mut text).and_then(|_| Ok(serde_json::from_slice::<Value>(&text)?)))
}

/// The value, or an object with the error.
fn part<T: Serialize>(value: Result<T>) -> Value {
    let value = value.and_then(|value| Ok(serde_json::to_value(value)?));
    value.unwrap_or_else(|error| json!({"error": format!("{error:#}")}))
}
