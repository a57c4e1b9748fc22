//! Hostile names, labels and paths: no command prints a control character.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fastrand::Rng;
use firewall_agent::bpf::{Kernel, MapSizes, Pins, Programs};
use firewall_agent::rules::{CounterKey, Mode, Protocol, RuleSet};
use firewall_agent::sync::{CounterKind, Desired, DesiredDatabase, Destination, publish};
use firewall_tests::lab::Lab;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::setup::alone;

const BPFFS: &str = "/sys/fs/bpf/hostile";
const DATABASES: u8 = 25;
/// 40 hostile texts per database including its name: 1,000 in all.
const LABELS: u8 = 39;
/// A line of `validate` that a name imitates.
const FORGED: &str = "1 file, 0 refused";
/// Bytes of a label that the kernel stores.
const STORED_BYTES: usize = 256;

const PIECES: &[&str] = &[
    "\u{1b}[2J",
    "\u{1b}]0;owned\u{7}",
    "\u{9b}31m",
    "\r\n",
    "\n",
    "\t",
    "\u{7f}",
    "\u{8}\u{8}",
    "\u{202e}",
    "\u{2066}",
    "\u{200b}",
    "\u{feff}",
    "\u{2028}",
    "\\u001b",
    "\"",
    "'",
    "\\",
    "日本",
    "🔥",
    "e\u{301}",
    "applied",
    "drop",
    " ",
    "{}",
];

fn hostile(rng: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..rng.usize(1..30) {
        match rng.u8(0..3) {
            0 => text.push_str(PIECES[rng.usize(..PIECES.len())]),
            1 => text.push(rng.char('\u{1}'..='\u{ff}')),
            _ => text.push(rng.char(..)),
        }
    }
    text
}

/// Returns the part of a label that the kernel stores: up to its first NUL, whole characters only, with a mark where it
/// is truncated.
fn stored_label(label: &str) -> String {
    let mark = "…";
    let cut = if label.len() > STORED_BYTES {
        format!("{}{mark}", &label[..label.floor_char_boundary(STORED_BYTES - mark.len())])
    } else {
        label.to_owned()
    };
    cut.split('\0').next().unwrap_or_default().to_owned()
}

fn database(rng: &mut Rng, number: u8) -> DesiredDatabase {
    let (mut set, mut lines) = (RuleSet::default(), BTreeMap::new());
    for at in 0..LABELS {
        let net = Ipv4Net::new([100, 64, at, 0].into(), 24).unwrap();
        let key = CounterKey::Rule(format!("r{at}").parse().unwrap());
        set.prefixes.v4.insert(net, key.clone());
        let kind =
            if at % 2 == 0 { CounterKind::Custom } else { CounterKind::Managed(format!("range-{}", at % 5)) };
        lines.insert(key, (kind, hostile(rng)));
    }
    let address = Some([192, 0, 2, number].into());
    let destination = Destination { address, port: 5432, protocol: Protocol::Tcp };
    let (name, destinations) = (hostile(rng), [destination].into());
    DesiredDatabase {
        name,
        revision: 1,
        mode: Mode::Enforce,
        destinations,
        set,
        is_closed: false,
        counters: lines,
    }
}

#[test]
fn hostile_names_and_labels_are_escaped_by_every_noun() {
    let seed = std::env::var("HOSTILE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("HOSTILE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let _lab = Lab::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bpffs = Path::new(BPFFS);
    let pins = Pins::new(bpffs);
    pins.create().unwrap();
    let mut programs = Programs::load(&pins, MapSizes::for_databases(DATABASES.into())).unwrap();
    programs.pin(&pins).unwrap();
    let databases: BTreeMap<_, _> = (0..DATABASES)
        .map(|number| (format!("db{number}").parse().unwrap(), database(&mut rng, number).into()))
        .collect();
    let desired = Desired { databases, ..Desired::default() };
    let mut kernel = Kernel::open(bpffs).unwrap();
    let mut live = kernel.live().unwrap();
    let done = publish(&desired, &mut live, &mut kernel, Timestamp::now());
    assert!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");

    let rules_dir = dir.path().join("rules.d");
    fs::create_dir(&rules_dir).unwrap();
    let evil = rules_dir.join(format!("a\u{1b}[2J\n{FORGED}\n\u{9b}b\u{202e}.yaml"));
    fs::write(&evil, "database_id: \"\u{1b}[2J\"\n").unwrap();
    let forging = format!("ready\n{FORGED}\n");
    let status = json!({"agent": null, "ready": false, "not_ready": ["\u{1b}[2J", forging], "interfaces": [], "databases": [],
        "rejected_files": [{"path": evil.to_str(), "errors": ["\u{9b}31m", forging]}], "errors": ["\u{7f}\u{1b}c", forging],
        "repairs": {}, "counters": []});
    fs::write(dir.path().join("status.json"), status.to_string()).unwrap();
    let config = dir.path().join("config.yaml");
    let at = dir.path().display();
    let text = format!(
        "interfaces: [eth0]\nguarded_ports: []\nbpffs_dir: {BPFFS}\nstate_dir: {at}\nrules_dir: {at}/rules.d\n\
         managed_ranges: {at}/ranges.yaml\n"
    );
    fs::write(&config, text).unwrap();

    let ask = |arguments: &[&str]| {
        let answer = alone(&[arguments, &["--config", config.to_str().unwrap()]].concat());
        for out in [&answer.out, &answer.err] {
            let harmful = out
                .chars()
                .find(|c| *c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{2028}".contains(*c)));
            assert_eq!(harmful, None, "{arguments:?}: {out:?}");
            assert!(!out.lines().any(|line| line == FORGED), "{arguments:?}: {out:?}");
        }
        answer
    };
    for noun in [
        &["status"][..],
        &["databases"],
        &["rules"],
        &["rules", "db3"],
        &["ranges"],
        &["ranges", "range-1"],
        &["denied"],
        &["explain", "100.64.1.1", "db7"],
        &["plan"],
        &["validate", evil.to_str().unwrap()],
        &["validate", rules_dir.to_str().unwrap()],
        &["rules", "\u{1b}[2J\u{9b}"],
        &["denied", "\u{1b}[2J\n"],
        &["rules", "x\n1 file, 0 refused\n"],
        &["explain", "\u{1b}[2J", "db7"],
        &["explain", "100.64.1.1", "\u{202e}"],
    ] {
        let table = ask(noun);
        let json = ask(&[noun, &["-o", "json"]].concat());
        assert_eq!(table.code, json.code, "{noun:?}: {table:?}");
        if json.code != Some(2) {
            let _: Value = serde_json::from_str(&json.out).unwrap();
        }
    }
    let rows: Value = serde_json::from_str(&ask(&["rules", "-o", "json"]).out).unwrap();
    let mut compared = 0;
    for row in rows.as_array().unwrap().iter().filter(|row| row["type"] != "default") {
        let wanted = &desired.databases[&row["database_id"].as_str().unwrap().parse().unwrap()];
        let key = CounterKey::Rule(row["rule"].as_str().unwrap().parse().unwrap());
        assert_eq!(row["label"], stored_label(&wanted.counters[&key].1), "{row}");
        compared += 1;
    }
    assert_eq!(compared, u32::from(DATABASES) * u32::from(LABELS));
}
