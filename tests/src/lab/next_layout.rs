//! An agent with another map layout: a copy of this tree with a changed layout version and one changed shared type.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use fs_err as fs;

use super::binary::{build, profile_dir};

const COPIED: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "firewall-common",
    "firewall-ebpf",
    "firewall-agent",
];

/// File, text that must occur in it exactly once, and its replacement.
const CHANGES: &[(&str, &str, &str)] = &[
    // Cargo distinguishes packages in one target directory by version, not by path.
    ("Cargo.toml", "version = \"0.1.0\"", "version = \"0.2.0\""),
    ("Cargo.toml", ", \"tests\", \"xtask\"]", "]"),
    ("Cargo.toml", "firewall-tests = { path = \"tests\" }\n", ""),
    // Built in the middle of a test.
    ("Cargo.toml", "debug = \"line-tables-only\"", "debug = false"),
    (
        "Cargo.toml",
        "[profile.dev.package.firewall-agent]\nopt-level = 1",
        "[profile.dev.package.firewall-agent]\nopt-level = 0",
    ),
    (
        "firewall-agent/Cargo.toml",
        "[lints]\n",
        "[[bin]]\nname = \"firewall-agent-next\"\npath = \"src/main.rs\"\n\n[lints]\n",
    ),
    ("firewall-common/src/names.rs", "pub const LAYOUT: &str = \"v3\";", "pub const LAYOUT: &str = \"v4\";"),
    (
        "firewall-common/src/layout.rs",
        "    pub guarded: u64,\n",
        "    pub guarded: u64,\n    pub spare: u64,\n",
    ),
    ("firewall-common/src/layout.rs", "size_of::<PortWord>() == 16", "size_of::<PortWord>() == 24"),
    ("firewall-agent/src/bpf/endpoints.rs", "guarded: *guarded }", "guarded: *guarded, spare: 0 }"),
];

/// Returns the path of the agent of the next layout, built in the profile of the running test.
pub fn next_layout_binary() -> Result<PathBuf> {
    static BUILT: LazyLock<Result<PathBuf>> = LazyLock::new(|| next_layout_of(&profile_dir()?));
    BUILT.as_ref().cloned().map_err(|error| anyhow!("{error:#}"))
}

/// Builds the agent of the next layout in the profile of this directory and returns its path.
pub fn next_layout_of(profile: &Path) -> Result<PathBuf> {
    let copy = profile.parent().context("the test is in no target directory")?.join("next-layout");
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests: no parent directory")?;
    fs::create_dir_all(&copy)?;
    for path in COPIED {
        copy_changed(tree, Path::new(path), &copy)?;
    }
    build(&copy, "firewall-agent-next", profile)
}

/// Copies a path of the tree with its changes. Writes only files that differ, which avoids a rebuild of an unchanged
/// tree.
fn copy_changed(tree: &Path, path: &Path, copy: &Path) -> Result<()> {
    let (from, to) = (tree.join(path), copy.join(path));
    if from.is_dir() {
        fs::create_dir_all(&to)?;
        remove_gone(&from, &to)?;
        for entry in fs::read_dir(&from)? {
            copy_changed(tree, &path.join(entry?.file_name()), copy)?;
        }
        return Ok(());
    }
    let mut content = fs::read(&from)?;
    for (_, before, after) in CHANGES.iter().filter(|(file, ..)| path == Path::new(file)) {
        let text = String::from_utf8(content)?;
        let found = text.matches(before).count();
        ensure!(found == 1, "{}: {before:?} occurs {found} times, must occur once", path.display());
        content = text.replace(before, after).into();
    }
    if fs::read(&to).ok().as_ref() != Some(&content) {
        fs::write(to, content)?;
    }
    Ok(())
}

/// Removes from a copied directory every entry that its origin no longer has, or that changed between file and
/// directory.
fn remove_gone(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(to)? {
        let (path, origin) = entry.map(|entry| (entry.path(), from.join(entry.file_name())))?;
        let is_current = origin.exists() && origin.is_dir() == path.is_dir();
        if !is_current {
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }?;
        }
    }
    Ok(())
}
