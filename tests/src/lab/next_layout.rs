//! An agent with another map layout: a copy of this tree with a changed layout version and one changed shared type.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow, ensure};

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
    (
        "firewall-agent/Cargo.toml",
        "[lints]\n",
        "[[bin]]\nname = \"firewall-agent-next\"\npath = \"src/main.rs\"\n\n[lints]\n",
    ),
    ("firewall-common/src/names.rs", "pub const LAYOUT: &str = \"v1\";", "pub const LAYOUT: &str = \"v2\";"),
    (
        "firewall-common/src/layout.rs",
        "    pub guarded: u64,\n",
        "    pub guarded: u64,\n    pub spare: u64,\n",
    ),
    ("firewall-common/src/layout.rs", "size_of::<PortWord>() == 16", "size_of::<PortWord>() == 24"),
    ("firewall-agent/src/bpf/endpoints.rs", "guarded: *guarded }", "guarded: *guarded, spare: 0 }"),
];

/// Returns the path of the agent of layout `v2`, built in the profile of the running test.
pub fn next_layout_binary() -> Result<PathBuf> {
    static BUILT: LazyLock<Result<PathBuf>> = LazyLock::new(|| next_layout_of(&profile_dir()?));
    BUILT.as_ref().cloned().map_err(|error| anyhow!("{error:#}"))
}

/// Builds the agent of layout `v2` in the profile of this directory and returns its path.
pub fn next_layout_of(profile: &Path) -> Result<PathBuf> {
    let target = profile.parent().context("the test is in no target directory")?;
    let copy = target.join("next-layout");
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests: no parent directory")?;
    fs::create_dir_all(&copy).with_context(|| copy.display().to_string())?;
    for name in COPIED {
        copy_changed(&tree.join(name), &copy.join(name))?;
    }
    for (file, before, _) in CHANGES {
        let path = copy.join(file);
        let text = fs::read_to_string(tree.join(file)).with_context(|| format!("cannot read {file}"))?;
        let found = text.matches(before).count();
        ensure!(found == 1, "{file}: {before:?} occurs {found} times, must occur once");
        let changed = changed(file, text);
        if fs::read_to_string(&path).ok().as_ref() != Some(&changed) {
            fs::write(&path, changed).with_context(|| path.display().to_string())?;
        }
    }
    build(&copy, "firewall-agent-next", profile)
}

/// Returns a file's text with all of its changes.
fn changed(file: &str, text: String) -> String {
    let changes = CHANGES.iter().filter(|(of, ..)| *of == file);
    changes.fold(text, |text, (_, before, after)| text.replace(before, after))
}

/// Removes from a copied directory every entry that its origin no longer has, or that changed between file and
/// directory.
fn remove_gone(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(to).with_context(|| to.display().to_string())? {
        let (path, origin) = entry.map(|entry| (entry.path(), from.join(entry.file_name())))?;
        let is_kept = origin.exists() && origin.is_dir() == path.is_dir();
        if !is_kept {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Copies only files that differ, which avoids a rebuild of an unchanged tree; leaves files with changes to the caller.
fn copy_changed(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to).with_context(|| to.display().to_string())?;
        remove_gone(from, to)?;
        for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
            let name = entry?.file_name();
            copy_changed(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    if CHANGES.iter().any(|(file, ..)| to.ends_with(Path::new("next-layout").join(file))) {
        return Ok(());
    }
    let content = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).ok().as_ref() != Some(&content) {
        fs::write(to, content).with_context(|| to.display().to_string())?;
    }
    Ok(())
}
