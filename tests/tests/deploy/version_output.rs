//! The program's own data: version, revision, the embedded object, the tag that the kernel will compute.

use std::path::Path;
use std::process::Command;

use firewall_tests::lab::{agent_binary, artefact};

/// The output of `--version`.
#[derive(Debug)]
pub struct VersionOutput {
    /// Empty in a build without a revision.
    pub revision: String,
    pub object: String,
    /// The tag for the running kernel.
    pub tag: String,
}

impl VersionOutput {
    pub fn of(program: &Path) -> Self {
        let out = Command::new(program).arg("--version").output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [version, object, tags] = lines[..] else { panic!("{text:?}") };
        let (_, revision) = version.split_once(" (").unwrap_or_default();
        let object = object.strip_prefix("object sha256:").unwrap();
        let tags = tags.strip_prefix("program tag ").unwrap();
        let (newer, older) = tags.split_once(" (Linux 6.18 and newer), ").unwrap();
        let tag = if is_newer() { newer } else { older.strip_suffix(" (older)").unwrap() };
        assert!(version.starts_with(concat!("firewall-agent ", env!("CARGO_PKG_VERSION"))), "{version:?}");
        assert_eq!((object.len(), tag.len()), (64, 16), "{text:?}");
        Self {
            revision: revision.trim_end_matches(')').to_owned(),
            object: object.to_owned(),
            tag: tag.to_owned(),
        }
    }
}

/// Returns whether the kernel computes program tags with SHA-256.
fn is_newer() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(18))
}

#[test]
fn clean_builds_in_two_directories_embed_the_same_program() {
    let (here, elsewhere) = (
        VersionOutput::of(&agent_binary().unwrap()),
        VersionOutput::of(&artefact("firewall-agent").unwrap()),
    );
    assert_eq!((&here.object, &here.tag), (&elsewhere.object, &elsewhere.tag));
    let mut git = Command::new("git");
    let head = git.args(["rev-parse", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    let revision = elsewhere.revision.trim_end_matches("-dirty");
    assert!(
        revision.len() >= 7 && head.starts_with(revision),
        "built from {revision}, not {head}: run `cargo xtask test-artefacts`"
    );
}
