//! Creates directories with exact permissions.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// For the agent's own user only.
pub const PRIVATE: u32 = 0o700;
/// Open to the directory's group, which needs to reach a socket there.
pub const GROUP: u32 = 0o750;

/// Creates a directory and its ancestors. Each new one gets the permissions `mode`, whatever the umask; an existing one
/// retains its own.
///
/// # Errors
/// A directory cannot be created, or a part of the path is not a directory.
pub fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        make_dir(above, mode)?;
    }
    // The umask only removes permissions: no other user gets access before they are set.
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(mode)),
        // Another process may have created it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_directories_get_the_mode_and_existing_ones_are_unchanged() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
        fs::create_dir(root.path().join("there")).unwrap();
        fs::set_permissions(root.path().join("there"), Permissions::from_mode(0o755)).unwrap();
        for (dir, wanted) in [("there", PRIVATE), ("there/a/b", PRIVATE), ("c", GROUP), ("c", PRIVATE)] {
            make_dir(&root.path().join(dir), wanted).unwrap();
        }
        assert_eq!(["there", "there/a", "there/a/b", "c"].map(mode), [0o755, 0o700, 0o700, 0o750]);
        fs::write(root.path().join("file"), "").unwrap();
        assert!(make_dir(&root.path().join("file"), PRIVATE).is_err());
        assert!(make_dir(&root.path().join("file/below"), PRIVATE).is_err());
    }
}
