//! A copy of the source tree, for mutants and for builds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::workspace::Workspace;

/// Makes `to` equal to the source tree. Equal files are left untouched, which avoids rebuilds by cargo.
pub fn copy(workspace: &Workspace, to: &Path) -> Result<()> {
    let files: BTreeSet<PathBuf> = workspace.files()?.into_iter().collect();
    for file in present(to)? {
        if !files.contains(&file) {
            fs::remove_file(to.join(&file))?;
        }
    }
    for file in &files {
        let (from, target) = (workspace.root.join(file), to.join(file));
        let bytes = fs::read(&from)?;
        if fs::read(&target).is_ok_and(|old| old == bytes) {
            continue;
        }
        let dir = target.parent().context("copy: no parent directory")?;
        fs::create_dir_all(dir)?;
        fs::write(&target, bytes)?;
    }
    Ok(())
}

/// Returns every file below `dir`, relative to it.
fn present(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let Ok(entries) = fs::read_dir(dir.join(&relative)) else { continue };
        for entry in entries {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_does_not_exist_has_no_files() {
        assert!(present(Path::new("does/not/exist")).unwrap().is_empty());
    }

    #[test]
    fn the_files_of_a_tree_are_relative_to_it() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = present(here).unwrap();
        assert!(files.contains(&PathBuf::from("src/copy.rs")), "{files:?}");
    }
}
