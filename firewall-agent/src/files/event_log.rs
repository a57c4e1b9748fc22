//! Durable history of events: JSON lines in `<state_dir>/events.jsonl`, at most two files of bounded size.
//!
//! The history decides nothing, hence it is not in the store: a line that the disk refuses is lost, and delays nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::owner::create_as_owner_of;

/// Largest size of one file in bytes. A full file replaces the older one: about 5,000 to 10,000 events remain.
const MAX_BYTES: u64 = 1 << 20;
/// Readable by the agent's user only, as the store: lines have the values of rejected files.
const MODE: u32 = 0o600;

/// The newer file, opened for appending. Each write is one line.
#[derive(Debug)]
pub struct EventLog {
    state_dir: PathBuf,
    open: Option<(File, u64)>,
    /// The last write may have left a part of a line.
    is_torn: bool,
}

impl EventLog {
    /// Opens the file with the first line.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), open: None, is_torn: false }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let path = newer(&self.state_dir);
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => {
                // A process of root leaves files that the daemon's user can open. This is a thread of its own.
                create_as_owner_of(&[&self.state_dir]).map_err(io::Error::other)?;
                let file = OpenOptions::new().append(true).create(true).mode(MODE).open(&path)?;
                // A process that was killed may have left a part of a line.
                self.is_torn = true;
                let size = file.metadata()?.len();
                (file, size)
            }
        };
        if size >= MAX_BYTES {
            fs::rename(&path, older(&self.state_dir))?;
            file = OpenOptions::new().append(true).create(true).mode(MODE).open(&path)?;
            size = 0;
        }
        let whole: Vec<u8> = if self.is_torn && size > 0 { [b"\n", line].concat() } else { line.to_vec() };
        self.is_torn = true;
        file.write_all(&whole)?;
        self.is_torn = false;
        self.open = Some((file, size + whole.len() as u64));
        Ok(())
    }
}

impl Write for EventLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the lines of both files, oldest first. Neither may exist yet.
///
/// # Errors
/// A file cannot be read.
pub fn read_event_lines(state_dir: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in [older(state_dir), newer(state_dir)] {
        match fs::read(&path) {
            Ok(bytes) => lines.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    lines.retain(|line| !line.is_empty());
    Ok(lines)
}

fn newer(state_dir: &Path) -> PathBuf {
    state_dir.join("events.jsonl")
}

fn older(state_dir: &Path) -> PathBuf {
    state_dir.join("events.1.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_another_writer_and_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_event_lines(dir.path()).unwrap(), [""; 0]);
        EventLog::new(dir.path()).write_all(b"a\n").unwrap();
        fs::write(newer(dir.path()), "a\n{\"torn").unwrap();
        let mut log = EventLog::new(dir.path());
        log.write_all(b"b\n").unwrap();
        log.write_all(b"c\n").unwrap();
        assert_eq!(read_event_lines(dir.path()).unwrap(), ["a", "{\"torn", "b", "c"]);
    }

    #[test]
    fn two_files_of_bounded_size_have_the_newest_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = EventLog::new(dir.path());
        let line = |n: usize| format!("{n:>1023}\n");
        (0..5000).for_each(|n| log.write_all(line(n).as_bytes()).unwrap());
        let sizes = [older(dir.path()), newer(dir.path())].map(|path| fs::metadata(path).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= MAX_BYTES + 1024), "{sizes:?}");
        let lines = read_event_lines(dir.path()).unwrap();
        assert!(lines.len() >= 1024, "{}", lines.len());
        let last: Vec<String> = (5000 - lines.len()..5000).map(|n| format!("{n:>1023}")).collect();
        assert_eq!(lines, last);
    }

    #[test]
    fn a_refused_line_is_an_error_and_the_next_one_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("later");
        let mut log = EventLog::new(&missing);
        assert!(log.write_all(b"a\n").is_err());
        fs::create_dir(&missing).unwrap();
        log.write_all(b"b\n").unwrap();
        assert_eq!(read_event_lines(&missing).unwrap(), ["b"]);
    }
}
