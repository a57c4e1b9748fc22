//! Files with the memory of refused packets: one for each hour, in `<state_dir>/denied`, bounded in days and bytes.
//!
//! The memory decides nothing, hence it is not in the store: an hour that the disk refuses is lost, and delays nothing.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::read::{ReadError, read_file};

const SECONDS: i64 = 3600;
/// Readable by the agent's user only, as the store: the files name sources.
const DIRECTORY_MODE: u32 = 0o700;
const MODE: u32 = 0o600;
const SUFFIX: &str = ".jsonl";

/// An hour of UTC, as the number of hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hour(i64);

impl Hour {
    /// The hour of a time.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        Self(time.as_second().div_euclid(SECONDS))
    }

    /// Its first moment.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(self.0.saturating_mul(SECONDS)).unwrap_or(Timestamp::MAX)
    }

    /// The hour a number of days before.
    #[must_use]
    pub fn days_before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(i64::from(days) * 24))
    }

    fn of_name(name: &str) -> Option<Self> {
        let time: DateTime = name.strip_suffix(SUFFIX)?.parse().ok()?;
        let hour = Self::of(time.to_zoned(TimeZone::UTC).ok()?.timestamp());
        (format!("{hour}{SUFFIX}") == name).then_some(hour)
    }
}

/// As in the names of the files: `2026-08-21T15`.
impl Display for Hour {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.start().strftime("%Y-%m-%dT%H"))
    }
}

/// The directory. One process writes; any number reads beside it.
#[derive(Debug)]
pub struct HourlyFiles {
    dir: PathBuf,
}

impl HourlyFiles {
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("denied") }
    }

    /// The hours with a file, and the bytes of each. None where the directory is missing.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn hours(&self) -> Result<BTreeMap<Hour, u64>> {
        let mut hours = BTreeMap::new();
        let context = || format!("cannot list {}", self.dir.display());
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(hours),
            entries => entries.with_context(context)?,
        };
        for entry in entries {
            let entry = entry.with_context(context)?;
            let hour = entry.file_name().to_str().and_then(Hour::of_name);
            // A file may be removed meanwhile.
            if let (Some(hour), Ok(metadata)) = (hour, entry.metadata()) {
                hours.insert(hour, metadata.len());
            }
        }
        Ok(hours)
    }

    /// The content of an hour's file; `None` without one.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than any that an agent writes. The error does not name it.
    pub fn read(&self, hour: Hour) -> Result<Option<Vec<u8>>> {
        match read_file(&self.path(hour)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces an hour's file, whole and synced.
    ///
    /// # Errors
    /// The disk refuses; the file is then as before.
    pub fn write(&self, hour: Hour, content: &[u8]) -> Result<()> {
        let (spare, path) = (self.dir.join("new"), self.path(hour));
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&self.dir)?;
            let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(&spare)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&spare, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display())).inspect_err(|_| {
            // A part of a file takes space on a full disk.
            let _ = fs::remove_file(&spare);
        })
    }

    /// Removes the files of hours before `oldest`, then the oldest ones until the others have at most this many bytes.
    /// The newest one stays.
    ///
    /// # Errors
    /// The directory cannot be listed, or a file cannot be removed.
    pub fn prune(&self, oldest: Hour, most_bytes: u64) -> Result<()> {
        let hours = self.hours()?;
        let mut bytes: u64 = hours.values().sum();
        let newest = hours.last_key_value().map(|(hour, _)| *hour);
        for (hour, size) in hours {
            if hour >= oldest && bytes <= most_bytes || Some(hour) == newest {
                continue;
            }
            bytes -= size;
            let path = self.path(hour);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
            }
        }
        Ok(())
    }

    /// The path of an hour's file.
    #[must_use]
    pub fn path(&self, hour: Hour) -> PathBuf {
        self.dir.join(format!("{hour}{SUFFIX}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(text: &str) -> Hour {
        Hour::of(text.parse().unwrap())
    }

    fn names(files: &HourlyFiles) -> Vec<String> {
        files.hours().unwrap().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn an_hour_has_one_name() {
        let found = hour("2026-08-21T15:27:32Z");
        assert_eq!(
            (found.to_string().as_str(), found.start()),
            ("2026-08-21T15", "2026-08-21T15:00:00Z".parse().unwrap())
        );
        assert_eq!(Hour::of_name("2026-08-21T15.jsonl"), Some(found));
        assert_eq!(hour("1969-12-31T23:59:59Z"), Hour(-1));
        assert_eq!(found.days_before(7), hour("2026-08-14T15:00:00Z"));
        for name in [
            "new",
            "2026-08-21T15",
            "2026-08-21T15:30.jsonl",
            "2026-08-21.jsonl",
            "2026-13-21T15.jsonl",
            ".jsonl",
        ] {
            assert_eq!(Hour::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_other_names_are_no_hours() {
        let dir = tempfile::tempdir().unwrap();
        let files = HourlyFiles::new(dir.path());
        let one = hour("2026-08-21T15:00:00Z");
        assert_eq!((files.hours().unwrap().len(), files.read(one).unwrap()), (0, None));
        for content in ["the first, which is longer", "second"] {
            files.write(one, content.as_bytes()).unwrap();
            assert_eq!(files.read(one).unwrap().unwrap(), content.as_bytes());
        }
        fs::write(files.dir.join("new"), "the rest of a killed process").unwrap();
        assert_eq!(names(&files), ["2026-08-21T15"]);
    }

    #[test]
    fn a_refused_write_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let files = HourlyFiles::new(dir.path());
        let one = hour("2026-08-21T15:00:00Z");
        files.write(one, b"first").unwrap();
        fs::create_dir(files.dir.join("new")).unwrap();
        let error = files.write(one, b"second").unwrap_err();
        assert!(format!("{error:#}").contains("2026-08-21T15.jsonl"), "{error:#}");
        assert_eq!(files.read(one).unwrap().unwrap(), b"first");
        fs::remove_dir(files.dir.join("new")).unwrap();
        files.write(one, b"third").unwrap();
        assert_eq!(files.read(one).unwrap().unwrap(), b"third");
    }

    #[test]
    fn old_hours_leave_and_then_the_oldest_of_too_many_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let files = HourlyFiles::new(dir.path());
        let all: Vec<Hour> = (0..6).map(|at| Hour(495_000 + at)).collect();
        all.iter().for_each(|one| files.write(*one, &[b'a'; 100]).unwrap());
        files.prune(all[0], 600).unwrap();
        assert_eq!(files.hours().unwrap().len(), 6, "the control: nothing is too old or too much");
        files.prune(all[1], 600).unwrap();
        assert_eq!(files.hours().unwrap().into_keys().collect::<Vec<_>>(), all[1..]);
        files.prune(all[1], 399).unwrap();
        assert_eq!(files.hours().unwrap().into_keys().collect::<Vec<_>>(), all[3..]);
        files.prune(Hour(500_000), 0).unwrap();
        assert_eq!(files.hours().unwrap().into_keys().collect::<Vec<_>>(), all[5..], "the newest stays");
    }
}
