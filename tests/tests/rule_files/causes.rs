//! The cause of every rejection: each input against the functions that read it, and on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use firewall_agent::agent::{FileReport, RangesPaths, parse};
use firewall_agent::escape::name_text;
use firewall_agent::files::read::{read_file, read_rule_file, read_signature};
use firewall_agent::files::read_cache::ReadCache;
use firewall_agent::files::scan::ScanRequest;
use firewall_agent::files::signature_verifier::SignatureVerifier;
use firewall_agent::rules::{Cause, Limits, MAX_FILE_BYTES, TrustedKey, apply_shrink_guard, read_ranges};
use firewall_agent::sync::{Live, PersistedState, admit};
use firewall_tests::lab::agent_binary;
use serde_json::Value;
use tempfile::TempDir;

/// A public key of minisign 0.11, and its signature of bytes that occur in no file here.
const KEY: &str = "RWQBqKAi8U8ZaxTexoaD/19mLQtg4AOqAF0qZpGAtkYXrLqiZuOube1U";
const SIGNATURE: &str = "\
untrusted comment: signature from minisign secret key\n\
RUQBqKAi8U8Za0EBALxik3/pp1UYzZUnjQXlXPfHYQ0scMaFSLFHMY+61Rsv/BXT7sDhYxS/kqczMp1Mai6fa/akEL101SR6Rw0=\n\
trusted comment: firewall-agent\n\
dhv/1mlWz8E6V9PAqpWtWVM4SUuhLJ2oOsRFYBWhKzkVIrDseXYPOkdjGlcxt1E2CObTwnrYoumBhbzecrgXDA==\n";

const NODE: &str = "db-host-17";

fn good(id: &str, revision: u64, port: u16) -> String {
    format!(
        "schema_version: 1\ndatabase_id: {id}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
         endpoints: [{{port: {port}}}]\nrules: []\n...\n"
    )
}

/// A directory of rule files, and a file outside it.
struct RuleDirs(TempDir);

impl RuleDirs {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("rules.d")).unwrap();
        Self(dir)
    }

    fn rules(&self) -> PathBuf {
        self.0.path().join("rules.d")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.rules().join(name), text).unwrap();
    }

    fn outside(&self) -> PathBuf {
        let path = self.0.path().join("outside.yaml");
        fs::write(&path, good("o", 1, 9)).unwrap();
        path
    }
}

/// One input: expected cause, whether the host trusts a key, the function that writes the files, and the rejected file.
type Case = (Cause, bool, fn(&RuleDirs), &'static [u8]);

/// One input for every cause that `validate` of a directory can report.
const CASES: [Case; 15] = [
    (Cause::StaleRevision, false, |at| at.write("b.yaml", &good("a", 1, 1)), b"b.yaml"),
    (Cause::RevisionConflict, false, |at| at.write("b.yaml", &good("a", 2, 2)), b"b.yaml"),
    (Cause::EndpointClaimed, false, |at| at.write("b.yaml", &good("b", 1, 1)), b"b.yaml"),
    (Cause::Incomplete, false, |at| at.write("b.yaml", &good("b", 1, 2).replace("...\n", "")), b"b.yaml"),
    (Cause::Invalid, false, |at| at.write("b.yaml", &good("b", 0, 2)), b"b.yaml"),
    (
        Cause::WrongHost,
        false,
        |at| at.write("b.yaml", &good("b", 1, 2).replace("rules", "host: other\nrules")),
        b"b.yaml",
    ),
    (
        Cause::NotPermitted,
        false,
        |at| at.write("b.yaml", &good("b", 1, 2).replace("rules", "mode: monitor\nrules")),
        b"b.yaml",
    ),
    (
        Cause::NotPermitted,
        false,
        |at| {
            let rules = (0..31).map(|n| format!("{{id: r{n}, type: custom_range, cidr: 192.0.2.{n}/32}}"));
            let rules = format!("rules: [{}]", rules.collect::<Vec<_>>().join(", "));
            at.write("b.yaml", &good("b", 1, 2).replace("rules: []", &rules));
        },
        b"b.yaml",
    ),
    (Cause::Unsigned, true, |at| at.write("b.yaml", &good("b", 1, 2)), b"b.yaml"),
    (
        Cause::BadSignature,
        true,
        |at| {
            at.write("b.yaml", &good("b", 1, 2));
            at.write("b.yaml.minisig", SIGNATURE);
        },
        b"b.yaml",
    ),
    (
        Cause::BadSignature,
        true,
        |at| {
            at.write("b.yaml", &good("b", 1, 2));
            at.write("b.yaml.minisig", &"x".repeat(9000));
        },
        b"b.yaml",
    ),
    (
        Cause::TooLarge,
        false,
        |at| {
            let file = File::create(at.rules().join("b.yaml")).unwrap();
            file.set_len(MAX_FILE_BYTES as u64 + 1).unwrap();
        },
        b"b.yaml",
    ),
    (Cause::Unreadable, false, |at| symlink("nowhere", at.rules().join("b.yaml")).unwrap(), b"b.yaml"),
    (Cause::Outside, false, |at| symlink(at.outside(), at.rules().join("b.yaml")).unwrap(), b"b.yaml"),
    (
        Cause::NotUtf8,
        false,
        |at| fs::write(at.rules().join(OsStr::from_bytes(b"b\xff.yaml")), good("b", 1, 2)).unwrap(),
        b"b\xff.yaml",
    ),
];

/// Inputs for further causes that `validate` of a single file reports.
const NAMED: [Case; 2] = [
    (Cause::Hidden, false, |at| at.write(".b.yaml", &good("b", 1, 2)), b".b.yaml"),
    (
        Cause::NotRegular,
        false,
        |at| nix::unistd::mkfifo(&at.rules().join("b.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
        b"b.yaml",
    ),
];

/// Causes that depend on the state in force, or on a bounded pass: the tests below have one input for each.
const ELSEWHERE: [Cause; 2] = [Cause::RangeShrunk, Cause::NotRead];

#[test]
fn each_cause_has_an_input() {
    let cases = CASES.iter().chain(&NAMED).map(|(cause, ..)| *cause);
    let seen: BTreeSet<Cause> = cases.chain(ELSEWHERE).collect();
    assert_eq!(seen, Cause::ALL.into());
}

/// Returns the causes per file when the agent's functions read a directory in one pass.
fn read(dirs: &RuleDirs, keys: &[TrustedKey], most_files: usize) -> BTreeMap<PathBuf, Vec<Cause>> {
    let (known, ranges) = (BTreeSet::new(), dirs.0.path().join("none"));
    let request = ScanRequest {
        rules_dir: &dirs.rules(),
        managed_ranges: &ranges,
        blocked_ranges: Path::new(""),
        known: &known,
        most_files,
    };
    let paths = RangesPaths { managed: &ranges, blocked: Path::new("") };
    let limits = Limits { max_rules: 30, allow_monitor: false, node_name: Some(NODE.to_owned()) };
    let reports = parse(
        &SignatureVerifier::new(keys.to_vec()).scan(&request, &mut ReadCache::default()),
        paths,
        &limits,
    );
    let mut causes: BTreeMap<PathBuf, Vec<Cause>> = BTreeMap::new();
    for report in reports.iter().filter(|report| report.is_refused()) {
        let rejections = report.rejections();
        causes.insert(report.path.clone(), rejections.iter().map(|one| one.cause).collect());
    }
    let candidates = reports.iter().filter_map(FileReport::candidate).collect();
    let (nothing, persisted) = (BTreeMap::new(), PersistedState::default());
    for refusal in admit(candidates, &nothing, &persisted, &Live::default()).refused {
        causes.entry(refusal.path).or_default().push(refusal.reason.cause);
    }
    causes
}

#[test]
fn each_input_is_refused_for_its_cause() {
    for (cause, signed, put, name) in CASES {
        let dirs = RuleDirs::new();
        if !signed {
            dirs.write("a.yaml", &good("a", 2, 1));
        }
        put(&dirs);
        let keys: Vec<TrustedKey> = signed.then(|| KEY.parse().unwrap()).into_iter().collect();
        let path = dirs.rules().join(OsStr::from_bytes(name));
        let causes = read(&dirs, &keys, 100);
        assert_eq!(causes.get(&path), Some(&vec![cause]), "{causes:?}");
    }
    for (cause, _, put, name) in NAMED {
        let dirs = RuleDirs::new();
        put(&dirs);
        let path = dirs.rules().join(OsStr::from_bytes(name));
        for read in [read_file, read_rule_file] {
            assert_eq!(read(&path).unwrap_err().cause(), cause);
        }
    }
    // Control: a valid file is accepted.
    let dirs = RuleDirs::new();
    dirs.write("a.yaml", &good("a", 2, 1));
    assert_eq!(read(&dirs, &[], 100), BTreeMap::new());
}

#[test]
fn unreadable_signature_is_distinguished_from_an_invalid_one() {
    let dirs = RuleDirs::new();
    dirs.write("b.yaml", &good("b", 1, 2));
    let path = dirs.rules().join("b.yaml");
    assert_eq!(read_signature(&path), Ok(None), "the control");
    symlink(dirs.rules().join("loop"), dirs.rules().join("loop")).unwrap();
    symlink("loop", dirs.rules().join("b.yaml.minisig")).unwrap();
    assert_eq!(read_signature(&path).unwrap_err().cause, Cause::Unreadable);
}

#[test]
fn files_beyond_the_scan_limit_are_not_read() {
    let dirs = RuleDirs::new();
    for n in 1..=3 {
        dirs.write(&format!("{n}.yaml"), &good(&n.to_string(), 1, n));
    }
    assert_eq!(read(&dirs, &[], 3), BTreeMap::new(), "the control");
    let causes = read(&dirs, &[], 2);
    assert_eq!(causes, [(dirs.rules().join("3.yaml"), vec![Cause::NotRead])].into());
}

#[test]
fn range_that_shrinks_too_far_is_retained() {
    let ranges = |revision: u64, cidrs: &str| {
        let text = format!(
            "schema_version: 1\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
             ranges: [{{id: r, name: r, cidrs: [{cidrs}]}}]\n...\n"
        );
        read_ranges(text.as_bytes()).unwrap().value
    };
    let causes = |cidrs: &str| -> Vec<Cause> {
        let old = ranges(1, "10.0.0.1/32, 10.0.0.2/32, 10.0.0.3/32, 10.0.0.4/32");
        let used = ["r".parse().unwrap()].into();
        apply_shrink_guard(&old, ranges(2, cidrs), &used).rejections().map(|one| one.cause).collect()
    };
    assert_eq!(causes("10.0.0.1/32"), [Cause::RangeShrunk]);
    assert_eq!(causes("10.0.0.1/32, 10.0.0.2/32"), [], "the control");
}

/// Returns the causes that `validate -o json` reports, by file name.
fn validated(signed: bool, paths: &[PathBuf]) -> BTreeMap<String, Vec<String>> {
    let elsewhere = TempDir::new().unwrap();
    let config = elsewhere.path().join("config.yaml");
    let keys = if signed { format!("trusted_keys: [{KEY}]\n") } else { String::new() };
    fs::write(&config, format!("node_name: {NODE}\n{keys}")).unwrap();
    let mut command = Command::new(agent_binary().unwrap());
    command.arg("--config").arg(config).args(["validate", "-o", "json"]).args(paths);
    let out = command.output().unwrap();
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    let refused = json["files"].as_array().unwrap().iter().filter(|file| file["accepted"] == false);
    let name = |file: &Value| {
        let path = Path::new(file["path"].as_str().unwrap());
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    let cause = |error: &Value| error["cause"].as_str().unwrap().to_owned();
    refused.map(|file| (name(file), file["errors"].as_array().unwrap().iter().map(cause).collect())).collect()
}

#[test]
fn validate_reports_each_detectable_cause() {
    for (cases, whole_directory) in [(&CASES[..], true), (&NAMED, false)] {
        for (cause, signed, put, name) in cases {
            let dirs = RuleDirs::new();
            if !signed {
                dirs.write("a.yaml", &good("a", 2, 1));
            }
            put(&dirs);
            let path = dirs.rules().join(OsStr::from_bytes(name));
            let causes = validated(*signed, &[if whole_directory { dirs.rules() } else { path }]);
            let name = name_text(OsStr::from_bytes(name));
            assert_eq!(causes.get(&name), Some(&vec![cause.name().to_owned()]), "{causes:?}");
        }
    }
}

#[test]
fn runbook_has_a_row_for_each_cause() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/on-call.md")).unwrap();
    let section = text.split("## Causes of a rejected file\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(names, Cause::ALL.map(Cause::name));
    for row in &rows {
        assert!(row.len() == 3 && row.iter().all(|cell| cell.len() > 5), "{row:?}");
    }
}
