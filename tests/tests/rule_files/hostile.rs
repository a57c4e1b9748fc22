//! Files that try to exhaust the reader.

use std::env::current_exe;
use std::process::Command;
use std::time::{Duration, Instant};

use firewall_agent::rules::MAX_FILE_BYTES;

use crate::fixtures::{Kind, none, read};

const MARKER: &str = "\n...\n";

#[test]
fn hostile_files_up_to_4_mib_are_refused_quickly_without_panic() {
    let mut failures = Vec::new();
    let files = files();
    let before = kib("VmRSS:");
    for (name, text) in files {
        assert!(text.len() <= MAX_FILE_BYTES, "{name}: {} bytes never reach the parser", text.len());
        let start = Instant::now();
        let outcome =
            read(if text.starts_with("ranges:") { Kind::Ranges } else { Kind::Databases }, text.as_bytes());
        let took = start.elapsed();
        println!("{name}: {took:?}");
        if took > Duration::from_secs(5) {
            failures.push(format!("{name}: {took:?}"));
        }
        match outcome {
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(problems) => {
                let shown: usize = problems.iter().map(|problem| problem.to_string().len()).sum();
                if problems.is_empty() || shown > 1 << 20 {
                    failures.push(format!("{name}: {} problems, {shown} bytes", problems.len()));
                }
            }
        }
    }
    println!("{MEMORY}{}", kib("VmHWM:").saturating_sub(before));
    none(failures);
}

/// Runs in a separate process: the other tests use memory, too.
#[test]
fn hostile_files_use_at_most_64_mib() {
    let test = "hostile::hostile_files_up_to_4_mib_are_refused_quickly_without_panic";
    let run = Command::new(current_exe().unwrap()).args(["--exact", test, "--nocapture"]).output().unwrap();
    let out = String::from_utf8(run.stdout).unwrap();
    let line = out.lines().find_map(|line| line.split_once(MEMORY)).unwrap_or_else(|| panic!("{out}"));
    let used: u64 = line.1.trim().parse().unwrap();
    assert!((1..=64 * 1024).contains(&used), "{used} KiB");
}

const MEMORY: &str = "memory beside the files themselves, in KiB: ";

/// Returns a field of this process's status.
fn kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn file_over_4_mib_is_refused_unread() {
    let text = filled(" ").into_bytes();
    let problems = read(Kind::Databases, &[text.as_slice(), &[b'\n'; 64]].concat()).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].note.message.contains("at most 4194304 are read"), "{}", problems[0]);
}

fn files() -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("lists in lists", filled("[")),
        ("maps in maps", filled("{")),
        ("maps in maps with keys", filled("{a: ")),
        ("block lists in lists", filled("- ")),
        ("block lists deeper by line", deeper("- a:")),
        ("keys in keys", filled("? ")),
        ("anchors", filled("&a ")),
        ("aliases", filled("*a ")),
        ("tags", filled("! ")),
        ("colons", filled(": ")),
        ("commas in a list", format!("[{}", filled(",").split_off(1))),
        ("open double quote", format!("\"{}", filled("x").split_off(1))),
        ("open single quote", format!("'{}", filled("x").split_off(1))),
        ("open block scalar", format!("a: |\n{}", filled(" x\n").split_off(8))),
        ("escapes", format!("\"{}", filled("\\n").split_off(1))),
        ("directives", filled("%YAML 1.2\n")),
        ("documents", filled("---\n")),
        ("markers", filled("...\n")),
        ("comments", filled("# x\n")),
        ("blank lines", filled("\n")),
        ("spaces", filled(" ")),
        ("tabs", filled("\t")),
        ("one huge scalar", filled("x")),
        ("one huge key", filled("x").split_off(8) + ": 1\n...\n"),
        ("one huge label", format!("name: {}", filled("x").split_off(8))),
        ("one huge number", format!("revision: {}", filled("9").split_off(16))),
        ("one key again and again", filled("a: 1\n")),
        ("short items", format!("rules: [{}", filled("a,").split_off(16))),
        ("short items, closed", format!("ranges: [{}]{MARKER}", "a,".repeat(140_000))),
        ("alias bomb", alias_bomb()),
    ];
    let keys: String = (0..400_000).map(|i| format!("k{i:x}: 1\n")).collect();
    files.push(("400,000 keys", keys[..keys.len().min(MAX_FILE_BYTES - 16)].to_owned() + MARKER));
    let keys: String = (0..140_000).map(|i| format!("k{i}: 1\n")).collect();
    files.push(("140,000 keys", keys + MARKER));
    files
}

/// Returns as many copies of `unit` as fit before the marker.
fn filled(unit: &str) -> String {
    unit.repeat((MAX_FILE_BYTES - MARKER.len()) / unit.len()) + MARKER
}

fn deeper(unit: &str) -> String {
    let lines: String = (0..2_000).map(|depth| format!("{}{unit}\n", " ".repeat(depth))).collect();
    lines + MARKER
}

fn alias_bomb() -> String {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for i in 1..1_000 {
        let before = format!("*a{}", i - 1);
        text += &format!("a{i}: &a{i} [{}]\n", [before.as_str(); 9].join(","));
    }
    text + MARKER
}
