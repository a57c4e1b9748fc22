//! Behaviour common to all commands: exit codes, errors, help, pipes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use firewall_tests::lab::{Answer, RuleFile, User, agent_binary};
use serde_json::Value;

use crate::setup::{ORDERS, alone, into_closed_pipe, populated};

const EVERY: [&[&str]; 11] = [
    &["run"],
    &["validate", "/nonesuch"],
    // Works where no agent has ever run.
    &["plan"],
    &["status"],
    &["databases"],
    &["ranges"],
    &["rules"],
    &["explain", "203.0.113.7", "orders"],
    &["audit"],
    &["denied"],
    &["clock"],
];
const MINIMAL: &str = "interfaces: [eth0]\nguarded_ports: [5432]\n";

#[test]
fn help_of_every_command_names_its_exit_codes() {
    for command in EVERY {
        let help = alone(&[command[0], "--help"]);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{command:?}");
        assert!(help.out.contains("Exit codes: 0"), "{command:?}: {}", help.out);
    }
    assert!(alone(&["--help"]).out.contains("Exit codes: 0 done, 1 failed, 2 bad input, 3 would be denied"));
}

#[test]
fn unusable_configuration_exits_2_with_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("unknown.yaml"), format!("{MINIMAL}rule_dir: /x\n")).unwrap();
    fs::write(path("broken.yaml"), "interfaces: [eth0\n").unwrap();
    fs::write(path("value.yaml"), format!("{MINIMAL}xdp_mode: fast\n")).unwrap();
    fs::create_dir(path("directory.yaml")).unwrap();
    for (file, texts) in [
        ("missing.yaml", &["missing.yaml"][..]),
        ("directory.yaml", &["directory.yaml"]),
        ("unknown.yaml", &["unknown.yaml: line 3", "rule_dir"]),
        ("broken.yaml", &["broken.yaml: line "]),
        ("value.yaml", &["value.yaml: line 3", "\"fast\""]),
    ] {
        for command in EVERY {
            let answer = alone(&[command, &["--config", &path(file)]].concat());
            is_one_error(&answer, 2, texts, &format!("{command:?} {file}"));
        }
    }
}

#[test]
fn unreadable_configuration_exits_2_and_is_named() {
    let host = populated();
    let config = host.home.config();
    fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
    for command in EVERY {
        let answer = host.ask_as(User::Unprivileged, command);
        is_one_error(&answer, 2, &[config.to_str().unwrap(), "Permission denied"], &format!("{command:?}"));
    }
}

#[test]
fn run_requires_only_guarded_ports_and_interfaces() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    let config = config.to_str().unwrap();
    for (text, flags, texts) in [
        ("interfaces: [eth0]\n", &[][..], &["guarded_ports: missing"][..]),
        ("guarded_ports: [5432]\n", &[], &["interfaces: "]),
        ("allow_monitor: false\n", &["--guarded-ports", "5432"], &["interfaces: "]),
    ] {
        fs::write(config, text).unwrap();
        let answer = alone(&[&["run", "--config", config], flags].concat());
        is_one_error(&answer, 2, texts, text);
    }
}

#[test]
fn nouns_without_an_agent_exit_1_and_name_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let (config, pins) = (dir.path().join("config.yaml"), dir.path().join("pins"));
    let (pins_at, state) = (pins.display(), pins.join("state"));
    fs::write(&config, format!("{MINIMAL}bpffs_dir: {pins_at}\nstate_dir: {}\n", state.display())).unwrap();
    for noun in &EVERY[3..] {
        let answer = alone(&[noun, &["--config", config.to_str().unwrap()][..]].concat());
        is_one_error(&answer, 1, &[pins.to_str().unwrap()], &format!("{noun:?}"));
    }
}

#[test]
fn invalid_command_line_exits_2() {
    for (arguments, quoted) in [
        (&[][..], "Usage"),
        (&["nonesuch"], "'nonesuch'"),
        (&["status", "-o", "xml"], "'xml'"),
        (&["validate"], "<PATHS>"),
        (&["explain"], "<SOURCE>"),
        (&["run", "--xdp-mode", "fast"], "'fast'"),
        (&["run", "--guarded-ports", "70000"], "'70000'"),
    ] {
        let answer = alone(arguments);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{arguments:?}: {answer:?}");
        assert!(answer.err.contains(quoted), "{arguments:?}: {answer:?}");
    }
}

#[test]
fn validate_exits_0_or_2_with_reasons_as_text_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let (config, good, bad) =
        (dir.path().join("config.yaml"), dir.path().join("good.yaml"), dir.path().join("bad.yaml"));
    let text = RuleFile::new(ORDERS, 1).endpoint("30092").to_string();
    fs::write(&config, MINIMAL).unwrap();
    fs::write(&good, &text).unwrap();
    fs::write(&bad, text.replace("30092", "70000")).unwrap();
    for (file, code, text) in [(&good, 0, "database orders revision 1"), (&bad, 2, "70000")] {
        let validate = |format| {
            let [file, config] = [file, &config].map(|path: &_| Path::to_str(path).unwrap());
            alone(&["validate", file, "-o", format, "--config", config])
        };
        let table = validate("table");
        assert_eq!((table.code, table.err.as_str()), (Some(code), ""), "{table:?}");
        assert!(table.out.contains(text), "{table:?}");
        let answer = validate("json");
        assert_eq!((answer.code, answer.err.as_str()), (Some(code), ""), "{answer:?}");
        let json: Value = serde_json::from_str(&answer.out).unwrap();
        assert_eq!(json["accepted"], code == 0, "{json}");
        assert_eq!(json["files"][0]["accepted"], code == 0, "{json}");
        assert_eq!(json["files"][0]["errors"].to_string().contains("70000"), code == 2, "{json}");
    }
}

#[test]
fn closed_output_pipe_is_no_error() {
    let host = populated();
    let config = host.home.config();
    let rules = host.home.rule_file("orders.yaml");
    let commands: [&[&str]; 9] = [
        &["validate", rules.to_str().unwrap()],
        &["plan", rules.to_str().unwrap()],
        &["status"],
        &["databases"],
        &["ranges", "man-example"],
        &["rules"],
        &["explain", "203.0.113.7", ORDERS],
        &["denied"],
        &["clock"],
    ];
    for (arguments, format) in commands.iter().flat_map(|command| [(command, "table"), (command, "json")]) {
        let mut command = Command::new(agent_binary().unwrap());
        command.args(*arguments).args(["-o", format]).arg("--config").arg(&config);
        let answer = into_closed_pipe(command);
        assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{arguments:?} {format}");
    }
    let mut help = Command::new(agent_binary().unwrap());
    help.arg("--help");
    assert_eq!(into_closed_pipe(help).err, "");
}

/// Requires one line on stderr that contains each of these texts once, and an empty stdout.
fn is_one_error(answer: &Answer, code: i32, texts: &[&str], what: &str) {
    assert_eq!((answer.code, answer.out.as_str()), (Some(code), ""), "{what}: {answer:?}");
    assert!(answer.err.starts_with("error: ") && answer.err.lines().count() == 1, "{what}: {answer:?}");
    for text in texts {
        assert_eq!(answer.err.matches(text).count(), 1, "{what}: {text}: {answer:?}");
    }
}
