//! Commands in the documents are commands of the program, the manual names every one, and they work with the README's
//! files.

use std::fs;
use std::path::Path;

use firewall_agent::cli::definition;
use firewall_tests::documents;
use firewall_tests::lab::{TestHost, User};

/// The database of the documents.
const DATABASE: &str = "6a316183d0f1f10ecbcca123";
/// Exit code of timeout(1).
const TIMED_OUT: i32 = 124;
/// Commands that change the host, in the order in which the test runs them, after all others.
const CHANGING: [&str; 10] =
    ["block", "close", "allow", "overlay", "detach", "attach", "restore", "rebase", "forget", "prepare"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn documented_commands_parse() {
    let commands = documents::agent_commands(root()).unwrap();
    assert!(commands.len() >= 25, "{commands:?}");
    let on_hosts = documents::commands(root(), &["firewall-agent"]).unwrap();
    assert!(commands.len() >= on_hosts.len() + 10, "those in pods: {commands:?}");
    for command in commands {
        let parsed = definition().try_get_matches_from(&command.words);
        assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
    }
    // The control.
    assert!(definition().try_get_matches_from(["firewall-agent", "statistics"]).is_err());
}

#[test]
fn manual_has_a_row_and_an_example_of_every_command() {
    let manual = fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let commands = documents::agent_commands(root()).unwrap();
    for command in definition().get_subcommands() {
        let name = command.get_name();
        assert!(manual.contains(&format!("\n| `{name}")), "{name} has no row in docs/commands.md");
        let has_example = commands.iter().any(|documented| documented.words[1] == name);
        assert!(has_example, "{name} is in no sh block of a document");
    }
}

#[test]
fn help_and_manual_have_every_kind_of_finding() {
    let refused = definition().try_get_matches_from(["firewall-agent", "audit", "--accept", "nonsense"]);
    let error = refused.unwrap_err().to_string();
    let kinds = error.split_once("must be one of ").unwrap().1.lines().next().unwrap();
    let kinds: Vec<&str> = kinds.split(", ").collect();
    assert!(kinds.len() >= 19, "{kinds:?}");
    let help = definition().find_subcommand_mut("audit").unwrap().render_long_help().to_string();
    let words: Vec<&str> = help.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
    let manual = fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let rows: Vec<&str> = manual.lines().filter(|line| line.starts_with("| `")).collect();
    for kind in kinds {
        assert!(words.contains(&kind), "{kind} is not in the help");
        assert!(rows.iter().any(|row| row.contains(&format!("`{kind}`"))), "{kind} is not in the manual");
    }
}

#[test]
fn documented_commands_succeed_with_the_files_of_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = documents::yaml_blocks(&readme);
    let [_config, rules, ranges] = blocks[..] else { panic!("{blocks:?}") };
    let host = TestHost::builder().build();
    host.write("orders.yaml", rules);
    host.home.write_ranges(ranges).unwrap();
    fs::create_dir(host.dir().join("new")).unwrap();
    fs::write(host.dir().join("new/orders.yaml"), rules.replace("revision: 42", "revision: 43")).unwrap();
    fs::write(host.dir().join("new/managed-ranges.yaml"), ranges).unwrap();
    host.start();
    host.until_applied(DATABASE, 42);
    host.until("the host is ready", |status| status["ready"] == true);

    let dir = host.dir().display().to_string();
    let here = |word: &String| {
        let paths = [("/etc/firewall-agent/", ""), ("/usr/local/share/man/", ""), ("new/", "new/")];
        let here = |(path, below): (&str, &str)| Some(format!("{dir}/{below}{}", word.strip_prefix(path)?));
        paths.into_iter().find_map(here).unwrap_or_else(|| word.clone())
    };
    let mut commands = documents::agent_commands(root()).unwrap();
    commands.sort_by_key(|command| CHANGING.iter().position(|name| *name == command.words[1]));
    for command in &commands {
        let words: Vec<String> = command.words[1..].iter().map(here).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let expected: &[i32] = match words[..] {
            // The daemon of this host.
            ["run", ..] => continue,
            ["top"] => {
                assert!(!host.home.show(&words, (80, 24), false).unwrap().is_empty(), "{command}");
                continue;
            }
            ["denied", "--follow"] | [.., "--watch" | "--watch=10s"] => {
                let done = host.home.ask_by("timeout 1", &words).unwrap();
                assert_eq!(done.code, Some(TIMED_OUT), "{command} runs on: {done:?}");
                continue;
            }
            ["explain", ..] => &[0, 3],
            ["audit", ..] => &[0, 5],
            // The host has no such entry, and no blocked range.
            ["overlay", "drop", ..] => &[1],
            ["blocked", _] => &[2],
            // There may be nothing to lower.
            ["clock", "--lower", ..] => &[0, 1],
            ["forget", ..] => {
                let _ = host.home.remove_rules("orders.yaml");
                &[0]
            }
            _ => &[0],
        };
        let done = host.ask_as(User::Root, &words);
        assert!(done.code.is_some_and(|code| expected.contains(&code)), "{command}: {done:?}");
    }
    // The control.
    assert_eq!(host.ask_as(User::Root, &["rules", DATABASE]).code, Some(2), "it is forgotten");
}
