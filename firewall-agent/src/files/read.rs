//! Reads rule files and managed ranges: regular, not hidden, of bounded size.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::rules::MAX_FILE_BYTES;

/// Four lines, two of them comments.
const MAX_SIGNATURE_BYTES: usize = 8 << 10;

/// Why a file is not read. Does not name the file.
#[derive(Debug)]
pub enum ReadError {
    Hidden,
    NotRegular,
    /// A link to this file, outside the directory.
    Outside(PathBuf),
    /// Bytes.
    TooLarge(u64),
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden => f.write_str("file is hidden: its name starts with a dot"),
            Self::NotRegular => f.write_str("not a regular file"),
            Self::Outside(target) => write!(f, "a link to {}, outside the directory", target.display()),
            Self::TooLarge(bytes) => write!(f, "file of {bytes} bytes: at most {MAX_FILE_BYTES} are read"),
            Self::Io(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The bytes of a file, at most [`MAX_FILE_BYTES`]. A link is followed.
///
/// # Errors
/// The file is hidden, is not regular, is too large, or cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    if is_hidden(path) {
        return Err(ReadError::Hidden);
    }
    // Opening a FIFO or a device must not wait.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::NotRegular);
    }
    let most = MAX_FILE_BYTES as u64;
    if metadata.len() > most {
        return Err(ReadError::TooLarge(metadata.len()));
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    let read = file.take(most + 1).read_to_end(&mut bytes)?;
    if read > MAX_FILE_BYTES { Err(ReadError::TooLarge(read as u64)) } else { Ok(bytes) }
}

/// As [`read_file`], for a file of a directory of rule files: a link must stay inside, as a ConfigMap's do.
///
/// # Errors
/// As [`read_file`]; or the file is a link that leaves the directory.
pub fn read_rule_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    let target = fs::canonicalize(path)?;
    let dir = fs::canonicalize(path.parent().unwrap_or(Path::new(".")))?;
    if !target.starts_with(dir) {
        return Err(ReadError::Outside(target));
    }
    read_file(path)
}

/// The signature that stands beside a file, under its name and `.minisig`; `None` when there is none.
///
/// # Errors
/// It is there and cannot be read, or is too large for one.
pub fn read_signature(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let path = signature_path(path);
    let refuse = |why: String| Err(format!("{}: {why}", path.display()));
    match read_file(&path) {
        Ok(bytes) if bytes.len() > MAX_SIGNATURE_BYTES => {
            refuse(format!("file of {} bytes: a signature has at most {MAX_SIGNATURE_BYTES}", bytes.len()))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => refuse(error.to_string()),
    }
}

/// Where the signature of a file stands.
#[must_use]
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// The files of a directory that may be rule files, by name.
///
/// # Errors
/// The directory cannot be listed.
pub fn yaml_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    each_yaml_file(dir, |path| paths.push(path))?;
    paths.sort();
    Ok(paths)
}

/// Each file of a directory that may be a rule file, in no order: `*.yaml`, not hidden, regular or not to be told.
pub(super) fn each_yaml_file(dir: &Path, mut take: impl FnMut(PathBuf)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let named = path.extension().is_some_and(|extension| extension == "yaml") && !is_hidden(&path);
        if named && fs::metadata(&path).map_or(true, |metadata| metadata.is_file()) {
            take(path);
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."))
}
