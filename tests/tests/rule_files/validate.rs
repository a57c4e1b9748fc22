//! `firewall-agent validate` on the command line.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use firewall_agent::rules::MAX_FILE_BYTES;
use firewall_tests::lab::agent_binary;
use tempfile::TempDir;

/// File names and contents.
type Files = Vec<(&'static str, String)>;

/// A name that no rule file has.
const RANGES: &str = "ranges";

const ACCEPTED: i32 = 0;
const REFUSED: i32 = 2;

fn database(id: &str, revision: u64, endpoint: &str, rules: &str) -> String {
    format!(
        "schema_version: 1\ndatabase_id: {id}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
         endpoints: [{endpoint}]\nrules: [{rules}]\n...\n"
    )
}

fn ranges() -> String {
    let ranges = "[{id: known, name: n, cidrs: []}]";
    format!("schema_version: 1\nrevision: 7\ngenerated_at: 2026-08-21T15:27:32Z\nranges: {ranges}\n...\n")
}

/// Returns exit code and output for a directory of files and, if present, its file [`RANGES`], with the directory
/// removed from each path.
fn printed(files: &[(&str, String)], format: &str) -> (i32, String) {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let ranges = dir.path().join(RANGES);
    let paths: Vec<PathBuf> =
        [dir.path().to_owned(), ranges].into_iter().filter(|path| path.exists()).collect();
    validated(dir.path(), &paths, format)
}

fn validated(dir: &Path, paths: &[PathBuf], format: &str) -> (i32, String) {
    let elsewhere = TempDir::new().unwrap();
    let config = elsewhere.path().join("config.yaml");
    fs::write(&config, "node_name: db-host-17\n").unwrap();
    let mut command = Command::new(agent_binary().unwrap());
    let out =
        command.arg("--config").arg(config).args(["validate", "-o", format]).args(paths).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    let text = String::from_utf8(out.stdout).unwrap().replace(&format!("{}/", dir.display()), "");
    (out.status.code().unwrap(), text)
}

const HERE: &str = "{port: 30092}";
const MANAGED: &str = "{id: m, type: managed_range, range_id: elsewhere}";

#[test]
fn files_are_validated_singly_and_together() {
    let cases: Vec<(&str, Files, i32, &str)> = vec![
        (
            "valid files are listed with their contents",
            vec![("a.yaml", database("a", 3, HERE, "")), (RANGES, ranges())],
            ACCEPTED,
            "a.yaml: ok, database a revision 3\nranges: ok, managed ranges revision 7\n2 files, 0 rejected\n",
        ),
        (
            "hidden files and other names are ignored, and names similar to rule files are reported",
            vec![
                ("a.yaml", database("a", 3, HERE, "")),
                (".b.yaml", "x".to_owned()),
                ("c.yml", "x".to_owned()),
                ("d.yaml.bak", "x".to_owned()),
            ],
            ACCEPTED,
            "a.yaml: ok, database a revision 3\n\
             c.yml: warning: not read: the name does not end in .yaml\n1 file, 0 rejected\n",
        ),
        (
            "errors have their position",
            vec![("a.yaml", database("a", 0, HERE, "")), ("b.yaml", String::new())],
            REFUSED,
            "a.yaml: line 3, column 11: revision: \"0\": must be a number from 1 to 18446744073709551615 in plain \
             decimal digits\nb.yaml: line 1, column 1: file is incomplete: its last line must be `...` alone, \
             without a comment on or after it\n2 files, 2 rejected\n",
        ),
        (
            "a range in no file is a warning",
            vec![("a.yaml", database("a", 3, HERE, MANAGED)), (RANGES, ranges())],
            ACCEPTED,
            "a.yaml: warning: rule m: range elsewhere is not among the managed ranges\n\
             a.yaml: ok, database a revision 3\nranges: ok, managed ranges revision 7\n2 files, 0 rejected\n",
        ),
        (
            "without a managed-ranges file ranges are not checked",
            vec![("a.yaml", database("a", 3, HERE, MANAGED))],
            ACCEPTED,
            "a.yaml: ok, database a revision 3\n1 file, 0 rejected\n",
        ),
        (
            "managed ranges in a directory are no rule file",
            vec![("a.yaml", database("a", 3, HERE, "")), ("r.yaml", ranges())],
            REFUSED,
            "a.yaml: ok, database a revision 3\nr.yaml: line 1, column 1: database_id: missing\n\
             r.yaml: line 1, column 1: endpoints: missing\nr.yaml: line 1, column 1: rules: missing\n\
             r.yaml: line 4, column 1: ranges: unknown field, known are schema_version, database_id, name, revision, \
             generated_at, state, host, mode, endpoints, rules, internal_ranges\n2 files, 1 rejected\n",
        ),
        (
            "one revision of a database has one content",
            vec![("a.yaml", database("a", 3, HERE, "")), ("b.yaml", database("a", 3, HERE, MANAGED))],
            REFUSED,
            "a.yaml: revision_conflict: revision 3 has different contents in a.yaml, b.yaml\n\
             b.yaml: revision_conflict: revision 3 has different contents in a.yaml, b.yaml\n2 files, 2 rejected\n",
        ),
        (
            "two files may be equal",
            vec![("a.yaml", database("a", 3, HERE, "")), ("b.yaml", database("a", 3, HERE, ""))],
            ACCEPTED,
            "a.yaml: ok, database a revision 3\nb.yaml: ok, database a revision 3\n2 files, 0 rejected\n",
        ),
        (
            "of two revisions the higher counts",
            vec![("a.yaml", database("a", 3, HERE, "")), ("b.yaml", database("a", 4, HERE, MANAGED))],
            REFUSED,
            "a.yaml: stale_revision: revision 3 is lower than 4 in b.yaml\nb.yaml: ok, database a revision 4\n\
             2 files, 1 rejected\n",
        ),
        (
            "two databases cannot claim one endpoint",
            vec![
                ("a.yaml", database("a", 3, "{address: 192.0.2.1, port: 30092}", "")),
                ("b.yaml", database("b", 4, HERE, "")),
            ],
            REFUSED,
            "a.yaml: ok, database a revision 3\nb.yaml: endpoint_claimed: *:30092/tcp is claimed by database a as \
             192.0.2.1:30092/tcp\n2 files, 1 rejected\n",
        ),
        (
            "a removed database claims nothing",
            vec![
                ("a.yaml", database("a", 3, HERE, "")),
                ("b.yaml", database("b", 4, HERE, "").replace("endpoints", "state: removed\nendpoints")),
            ],
            ACCEPTED,
            "a.yaml: ok, database a revision 3\nb.yaml: ok, database b revision 4\n2 files, 0 rejected\n",
        ),
        (
            "a superseded file claims nothing",
            vec![
                ("a.yaml", database("a", 3, HERE, "")),
                ("a2.yaml", database("a", 4, "{port: 30093}", "")),
                ("b.yaml", database("b", 4, HERE, "")),
            ],
            REFUSED,
            "a.yaml: stale_revision: revision 3 is lower than 4 in a2.yaml\na2.yaml: ok, database a revision 4\n\
             b.yaml: ok, database b revision 4\n3 files, 1 rejected\n",
        ),
    ];
    for (name, files, exit, expected) in cases {
        assert_eq!(printed(&files, "table"), (exit, expected.to_owned()), "{name}");
    }
}

#[test]
fn json_has_the_same_facts() {
    let files = [("a.yaml", database("a", 3, HERE, "")), ("b.yaml", database("b", 0, "{port: 30093}", ""))];
    let (exit, text) = printed(&files, "json");
    assert_eq!(exit, REFUSED);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "accepted": false,
        "files": [
            {
                "path": "a.yaml", "accepted": true, "kind": "database", "database_id": "a", "revision": 3,
                "errors": [], "warnings": []
            },
            {
                "path": "b.yaml", "accepted": false, "kind": null, "database_id": null, "revision": null,
                "errors": [{
                    "line": 3, "column": 11, "path": "revision",
                    "message": "\"0\": must be a number from 1 to 18446744073709551615 in plain decimal digits",
                    "cause": "invalid"
                }],
                "warnings": []
            }
        ]
    });
    assert_eq!(json, expected);
}

#[test]
fn only_regular_files_within_the_size_limit_are_read_through_symlinks() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("real"), database("a", 3, HERE, "")).unwrap();
    symlink(at("real"), at("link.yaml")).unwrap();
    symlink(at("nowhere"), at("dangling.yaml")).unwrap();
    fs::write(at(".hidden.yaml"), database("a", 3, HERE, "")).unwrap();
    fs::write(at("large.yaml"), vec![b' '; MAX_FILE_BYTES + 1]).unwrap();
    nix::unistd::mkfifo(&at("fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    let lines = |paths: &[PathBuf]| validated(dir.path(), paths, "table").1;
    for (name, expected) in [
        ("link.yaml", "link.yaml: ok, database a revision 3"),
        ("dangling.yaml", "dangling.yaml: cannot be read: No such file or directory (os error 2)"),
        (".hidden.yaml", ".hidden.yaml: file is hidden: its name starts with a dot"),
        ("large.yaml", "large.yaml: file of 4194305 bytes: at most 4194304 are read"),
        ("fifo.yaml", "fifo.yaml: not a regular file"),
        ("missing.yaml", "missing.yaml: cannot be read: No such file or directory (os error 2)"),
    ] {
        assert_eq!(lines(&[at(name)]).lines().next(), Some(expected));
    }
    let listed = lines(&[dir.path().to_owned(), at("link.yaml")]);
    assert!(listed.ends_with("3 files, 2 rejected\n"), "{listed}");
}

#[test]
fn file_names_cannot_forge_lines_and_non_utf8_names_are_refused() {
    let dir = TempDir::new().unwrap();
    let forging = "x: ok, database prod revision 9\n1 file, 0 rejected\n.yaml";
    fs::write(dir.path().join(forging), database("a", 3, HERE, "")).unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(b"b\xff.yaml")), database("b", 3, HERE, "")).unwrap();
    let paths = [dir.path().to_owned()];
    let (code, text) = validated(dir.path(), &paths, "table");
    let refused = r#"b\xff.yaml: file name "b\xff.yaml": not UTF-8"#;
    let accepted =
        r"x: ok, database prod revision 9\u000a1 file, 0 rejected\u000a.yaml: ok, database a revision 3";
    assert_eq!((code, text), (REFUSED, format!("{refused}\n{accepted}\n2 files, 1 rejected\n")));
    let (code, text) = validated(dir.path(), &paths, "json");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let path = |at: usize| json["files"][at]["path"].as_str().unwrap().to_owned();
    assert_eq!((code, [path(0), path(1)]), (REFUSED, [r"b\xff.yaml".to_owned(), forging.to_owned()]));
}
