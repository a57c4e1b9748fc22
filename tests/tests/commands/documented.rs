//! Commands in the documents are commands of the program, and the manual names every one.

use std::fs;
use std::path::Path;

use firewall_agent::cli::definition;
use firewall_tests::documents;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn documented_commands_parse() {
    let commands = documents::commands(root(), &["firewall-agent"]).unwrap();
    assert!(commands.len() >= 25, "{commands:?}");
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
    let commands = documents::commands(root(), &["firewall-agent"]).unwrap();
    for command in definition().get_subcommands() {
        let name = command.get_name();
        assert!(manual.contains(&format!("\n| `{name}")), "{name} has no row in docs/commands.md");
        let has_example = commands.iter().any(|documented| documented.words[1] == name);
        assert!(has_example, "{name} is in no sh block of a document");
    }
}
