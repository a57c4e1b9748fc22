//! `cargo xtask tidy`: format, lints, and the rules of the source tree, one file each.

mod boundaries;
mod code;
mod commented_out;
mod debris;
mod imports;
mod length;
mod links;
mod prose;
mod tested_kernels;

use std::fmt;
use std::path::PathBuf;
use std::process::Child;

use anyhow::{Result, ensure};
use fs_err as fs;
use xshell::{Cmd, cmd};

use crate::run::{in_background, say};
use crate::workspace::Workspace;
use crate::{ebpf, fuzz};

const RULES: &[fn(&Source) -> Vec<Finding>] =
    &[imports::check, boundaries::check, debris::check, commented_out::check, prose::check];

/// Scopes of clippy: the workspace, and that of the fuzz targets.
const SCOPES: [&[&str]; 2] = [&["--workspace"], &["--manifest-path", "fuzz/Cargo.toml"]];

/// Starts the lints at the lowest priority, for [`tidy`], which reports findings.
pub fn lint_ahead(workspace: &Workspace) -> Result<Vec<Child>> {
    fuzz::ensure_compiler(workspace)?;
    SCOPES.into_iter().map(|scope| in_background(clippy(workspace, scope))).collect()
}

/// Clippy in a target directory of its own: while it runs, the tests build agents in theirs.
fn clippy<'a>(workspace: &'a Workspace, scope: &[&str]) -> Cmd<'a> {
    let clippy = cmd!(workspace.shell, "cargo clippy {scope...} --all-targets -- -D warnings");
    clippy.env("CARGO_TARGET_DIR", workspace.target.join("lints"))
}

/// Runs every check, even after a failure, so that one run reports all findings.
pub fn tidy(workspace: &Workspace) -> Result<()> {
    ebpf::ebpf(workspace)?;
    let sh = &workspace.shell;
    let format = cmd!(sh, "cargo fmt --all --check").run();
    let fuzz_format = cmd!(sh, "cargo fmt --manifest-path fuzz/Cargo.toml --check").run();
    fuzz::ensure_compiler(workspace)?;
    let lints = SCOPES.map(|scope| clippy(workspace, scope).run());
    let rules = source_rules(workspace);
    format.and(fuzz_format)?;
    lints.into_iter().collect::<Result<(), _>>()?;
    rules
}

fn source_rules(workspace: &Workspace) -> Result<()> {
    let mut findings = Vec::new();
    let mut sources = Vec::new();
    let files = workspace.files()?;
    for path in &files {
        let bytes = fs::read(workspace.root.join(path))?;
        // Fixtures may be invalid UTF-8; they are data, not text to check.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let source = Source { path: path.clone(), text };
        if let Some(question) = length::question(&source) {
            say(format_args!("{question}"));
        }
        findings.extend(RULES.iter().flat_map(|rule| rule(&source)));
        sources.push(source);
    }
    findings.extend(links::check(&sources, &files));
    prose::report(&sources);
    for finding in &findings {
        say(format_args!("{finding}"));
    }
    let table = tested_kernels::check(workspace)?;
    let subjects = prose::long_subjects(workspace)?;
    if let Some(finding) = &table {
        say(format_args!("{finding}"));
    }
    ensure!(subjects.is_empty(), "commit subjects over 72 characters: {}", subjects.join("; "));
    ensure!(findings.is_empty(), "source rules: {} findings in {} files", findings.len(), files.len());
    ensure!(table.is_none(), "source rules: the tables of tested kernels are too old");
    say(format_args!("source rules: {} files are tidy", files.len()));
    Ok(())
}

/// A text file of the tree, its path relative to the root.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    fn is_fixture(&self) -> bool {
        self.path.starts_with("tests/fixtures") || self.path.starts_with("fuzz/corpus")
    }

    /// A finding in this file; lines count from 1.
    fn finding(&self, line: usize, what: String) -> Finding {
        Finding { path: self.path.clone(), line, what }
    }
}

#[derive(Debug)]
pub struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// Returns the findings of `rule` for a file with this path and text, without their positions.
#[cfg(test)]
fn found(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<String> {
    let source = Source { path: path.into(), text: text.to_owned() };
    rule(&source).into_iter().map(|finding| finding.what).collect()
}
