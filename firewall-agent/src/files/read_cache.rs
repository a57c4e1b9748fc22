//! Files read before: an unchanged file is not read again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::mem::take;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::file_content::FileContent;
use super::read::{OpenFile, ReadError};

/// Age of a file's last change from which on another change gets another time: file systems round times, to 2 s at most.
const OLD_AGE: Duration = Duration::from_secs(2);

/// Files that a scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// Those that are changed since the scan before, by their inode, size and times.
    Changed,
    /// Every file: a file system can miss to change the times, as for a write through a memory map, or show old ones, as
    /// NFS does.
    All,
}

/// The files of the last scan.
#[derive(Debug, Default)]
pub struct ReadCache {
    /// By path; comparing two paths by their components takes several times as long.
    files: BTreeMap<OsString, ReadFile>,
    /// Those of the scan before that are not asked for yet.
    before: BTreeMap<OsString, ReadFile>,
    /// `true` if the times are not trusted.
    reads_all: bool,
}

/// A file, as it was read.
#[derive(Debug)]
struct ReadFile {
    version: FileVersion,
    /// The last change was so long before that a later one has another time.
    is_old: bool,
    content: FileContent,
}

/// Attributes that change with the content of a file. Times are seconds and nanoseconds by the clock of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl ReadCache {
    /// Begins a scan.
    pub fn begin(&mut self, reading: Reading) {
        self.before = take(&mut self.files);
        self.reads_all = reading == Reading::All;
    }

    /// Ends a scan: no byte remains of files that it did not ask for, or that were rejected.
    pub fn end<'a>(&mut self, rejected: impl Iterator<Item = &'a Path>) {
        self.before.clear();
        rejected.for_each(|path| _ = self.files.remove(path.as_os_str()));
    }

    /// Returns the content and the attributes of a file that is unchanged, without opening it.
    pub fn unchanged(&mut self, path: &Path) -> Option<(FileContent, Metadata)> {
        let before = self.before.get(path.as_os_str()).filter(|before| !self.reads_all && before.is_old)?;
        let metadata = fs::metadata(path).ok()?;
        if before.version != FileVersion::of(&metadata) {
            return None;
        }
        let (path, file) = self.before.remove_entry(path.as_os_str())?;
        let content = file.content.clone();
        self.files.insert(path, file);
        Some((content, metadata))
    }

    /// Reads a file. Equal content is shared with that of the scan before.
    ///
    /// # Errors
    /// The file is too large, or cannot be read.
    pub fn read(&mut self, path: &Path, file: OpenFile) -> Result<FileContent, ReadError> {
        let version = FileVersion::of(file.metadata());
        // Before the read: a change during it has another time.
        let is_old = version.is_old(SystemTime::now());
        let bytes = file.read()?;
        let before = self.before.remove(path.as_os_str()).map(|before| before.content);
        let content = before.filter(|content| **content == *bytes).unwrap_or_else(|| bytes.into());
        self.files.insert(path.into(), ReadFile { version, is_old, content: content.clone() });
        Ok(content)
    }
}

impl FileVersion {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns whether a change at `now` or later gets another time than this one.
    fn is_old(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_before = |(seconds, _): (i64, i64)| {
            // A whole second more than the rounding of either time can hide.
            u64::try_from(seconds).is_ok_and(|seconds| now.as_secs() > seconds + OLD_AGE.as_secs())
        };
        is_before(self.changed) && is_before(self.modified)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::files::read::open_file;

    /// A file with this age, and its content by a cache.
    struct Scene {
        dir: tempfile::TempDir,
        cache: ReadCache,
    }

    impl Scene {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), cache: ReadCache::default() }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("a.yaml")
        }

        fn read(&mut self, reading: Reading) -> FileContent {
            self.cache.begin(reading);
            match self.cache.unchanged(&self.path()) {
                Some((content, _)) => content,
                None => self.cache.read(&self.path(), open_file(&self.path()).unwrap()).unwrap(),
            }
        }

        /// Makes the file look as if its last change was known to be old.
        fn age(&mut self) {
            self.cache.files.get_mut(self.path().as_os_str()).unwrap().is_old = true;
        }
    }

    #[test]
    fn only_an_old_and_unchanged_file_is_not_read_again() {
        let mut scene = Scene::new();
        fs::write(scene.path(), "one").unwrap();
        let first = scene.read(Reading::Changed);
        assert_eq!(&*first, b"one");
        assert!(
            !scene.cache.files[scene.path().as_os_str()].is_old,
            "a file of this moment may still change unseen"
        );
        scene.age();
        // Nothing that a file system shows of the file tells that it was written: the cache must not read it.
        let written = scene.cache.files[scene.path().as_os_str()].version;
        let as_before = |scene: &mut Scene| {
            scene.cache.files.get_mut(scene.path().as_os_str()).unwrap().version =
                FileVersion::of(&fs::metadata(scene.path()).unwrap());
        };
        fs::write(scene.path(), "two").unwrap();
        assert_ne!(written, FileVersion::of(&fs::metadata(scene.path()).unwrap()), "the control");
        as_before(&mut scene);
        assert_eq!(&*scene.read(Reading::Changed), b"one");
        as_before(&mut scene);
        assert_eq!(&*scene.read(Reading::All), b"two");
    }

    #[test]
    fn changed_file_is_read_and_equal_content_is_shared() {
        let mut scene = Scene::new();
        fs::write(scene.path(), "one").unwrap();
        let first = scene.read(Reading::Changed);
        let again = scene.read(Reading::All);
        assert!(Arc::ptr_eq(&first.shared(), &again.shared()));
        scene.age();
        let replacement = scene.dir.path().join("new");
        fs::write(&replacement, "two").unwrap();
        fs::rename(replacement, scene.path()).unwrap();
        assert_eq!(&*scene.read(Reading::Changed), b"two");
        scene.age();
        let same_size = File::options().write(true).open(scene.path()).unwrap();
        (&same_size).write_all(b"new").unwrap();
        assert_eq!(&*scene.read(Reading::Changed), b"new");
        // No byte remains of a file that a scan did not ask for, or rejected.
        scene.cache.end(std::iter::empty());
        assert_eq!(scene.cache.files.len(), 1, "the control");
        let path = scene.path();
        scene.cache.end([path.as_path()].into_iter());
        assert!(scene.cache.files.is_empty());
        scene.read(Reading::Changed);
        scene.cache.begin(Reading::Changed);
        scene.cache.end(std::iter::empty());
        assert!(scene.cache.files.is_empty() && scene.cache.before.is_empty());
    }

    #[test]
    fn file_is_old_once_a_change_gets_another_time() {
        let version = |modified, changed| FileVersion {
            device: 1,
            inode: 1,
            bytes: 1,
            modified: (modified, 0),
            changed: (changed, 999_999_999),
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (now, is_old) in [(50, false), (100, false), (102, false), (103, true), (1_000, true)] {
            assert_eq!(version(100, 100).is_old(at(now)), is_old, "{now}");
            assert_eq!(version(0, 100).is_old(at(now)), is_old, "{now}");
            assert_eq!(version(100, 0).is_old(at(now)), is_old, "{now}");
        }
        assert!(!version(-1, 0).is_old(at(1_000)), "before 1970");
    }
}
