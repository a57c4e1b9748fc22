//! The files that the documents show.

use std::fs;
use std::path::Path;
use std::process::Command;

use firewall_tests::documents::yaml_blocks;
use firewall_tests::lab::agent_binary;
use tempfile::TempDir;

const DOCUMENTS: [&str; 4] = ["README.md", "docs/control-plane.md", "docs/install.md", "docs/verdicts.md"];

/// Returns whether the agent accepts this file, with this configuration, and its output.
fn validate(config: &str, file: &str) -> (bool, String) {
    let dir = TempDir::new().unwrap();
    let [config_file, rules] = ["config.yaml", "rules.yaml"].map(|name| dir.path().join(name));
    fs::write(&config_file, config).unwrap();
    fs::write(&rules, file).unwrap();
    let mut command = Command::new(agent_binary().unwrap());
    let out = command.arg("--config").arg(config_file).arg("validate").arg(rules).output().unwrap();
    (out.status.success(), format!("{out:?}"))
}

#[test]
fn documented_files_and_settings_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut files, mut configs) = (Vec::new(), Vec::new());
    for name in DOCUMENTS {
        let document = fs::read_to_string(root.join(name)).unwrap();
        for block in yaml_blocks(&document) {
            let kind = if block.starts_with("schema_version:") { &mut files } else { &mut configs };
            kind.push(block.to_owned());
        }
    }
    assert!(files.len() >= 4 && configs.len() >= 3, "{files:#?} {configs:#?}");
    for file in &files {
        // The host that the documents name.
        let (is_valid, output) = validate("node_name: db-host-17\nallow_monitor: true\n", file);
        assert!(is_valid, "{file}\n{output}");
        // Control: a deeper line makes it invalid.
        let (is_valid, output) =
            validate("node_name: db-host-17\n", &file.replacen("revision:", "  revision:", 1));
        assert!(!is_valid, "{output}");
    }
    for config in &configs {
        let (is_valid, output) = validate(&format!("node_name: db-host-17\n{config}"), &files[0]);
        assert!(is_valid, "{config}\n{output}");
        let (is_valid, output) = validate(&format!("node_name: db-host-17\n  {config}"), &files[0]);
        assert!(!is_valid, "{output}");
    }
}
