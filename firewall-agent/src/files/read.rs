//! Reads rule files and managed ranges: regular, not hidden, of bounded size.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::beneath::{self, open_beneath};
use crate::escape::{escaped, name_text, path_text};
use crate::rules::{Cause, MAX_FILE_BYTES, Rejection};

/// Four lines, two of them comments.
const MAX_SIGNATURE_BYTES: usize = 8 << 10;

/// Reasons not to read a file. Do not name the file.
#[derive(Debug)]
pub enum ReadError {
    Hidden,
    NotRegular,
    /// The escaped file name, which is not UTF-8.
    NotUtf8(String),
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
            Self::NotUtf8(name) => write!(f, "file name \"{name}\": not UTF-8"),
            Self::Outside(target) => write!(f, "a link to {}, outside the directory", path_text(target)),
            Self::TooLarge(bytes) => write!(f, "file of {bytes} bytes: at most {MAX_FILE_BYTES} are read"),
            Self::Io(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl ReadError {
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Hidden => Cause::Hidden,
            Self::NotUtf8(_) => Cause::NotUtf8,
            Self::NotRegular => Cause::NotRegular,
            Self::Outside(_) => Cause::Outside,
            Self::TooLarge(_) => Cause::TooLarge,
            Self::Io(_) => Cause::Unreadable,
        }
    }
}

impl From<ReadError> for Rejection {
    fn from(error: ReadError) -> Self {
        Self::new(error.cause(), error.to_string())
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An open file that can be read: regular, and of at most [`MAX_FILE_BYTES`] when it was opened.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    metadata: Metadata,
}

impl OpenFile {
    fn new(file: File) -> Result<Self, ReadError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ReadError::NotRegular);
        }
        if metadata.len() > MAX_FILE_BYTES as u64 {
            return Err(ReadError::TooLarge(metadata.len()));
        }
        Ok(Self { file, metadata })
    }

    /// As they were when the file was opened.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// The file has grown too large, or cannot be read.
    pub fn read(self) -> Result<Vec<u8>, ReadError> {
        // One more than expected: then a single call finds the end of the file.
        let mut bytes = Vec::with_capacity(usize::try_from(self.metadata.len()).unwrap_or(0) + 1);
        let read = self.file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if read > MAX_FILE_BYTES { Err(ReadError::TooLarge(read as u64)) } else { Ok(bytes) }
    }
}

/// Reads a file of at most [`MAX_FILE_BYTES`]. Follows links.
///
/// # Errors
/// The file is hidden, is not regular, is too large, or cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    open_file(path)?.read()
}

/// As [`read_file`], for a file of a directory of rule files, see [`open_rule_file`].
///
/// # Errors
/// As [`open_rule_file`] and [`OpenFile::read`].
pub fn read_rule_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    open_rule_file(path)?.read()
}

/// Opens a file of at most [`MAX_FILE_BYTES`]. Follows links.
///
/// # Errors
/// The file is hidden, is not regular, is too large, or cannot be opened.
pub fn open_file(path: &Path) -> Result<OpenFile, ReadError> {
    if is_hidden(path) {
        return Err(ReadError::Hidden);
    }
    // Opening a FIFO or a device must not block.
    OpenFile::new(File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?)
}

/// As [`open_file`], for a file of a directory of rule files: a link must lead to a file in the directory, as those of
/// a ConfigMap do. The kernel enforces that during the open, also against concurrent swaps.
///
/// # Errors
/// As [`open_file`]; or the file's name is not UTF-8, a link leaves the directory, or the kernel lacks `openat2`.
pub fn open_rule_file(path: &Path) -> Result<OpenFile, ReadError> {
    if is_hidden(path) {
        return Err(ReadError::Hidden);
    }
    let name = path.file_name().unwrap_or_default();
    if name.to_str().is_none() {
        return Err(ReadError::NotUtf8(escaped(&name_text(name)).into_owned()));
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    match open_beneath(dir, Path::new(name)) {
        Ok(file) => OpenFile::new(file),
        Err(error) if beneath::is_escape(&error) => OpenFile::new(open_target(dir, path)?),
        Err(error) => Err(error.into()),
    }
}

/// Opens the target of a link that is absolute, or leaves the directory and comes back: by its path relative to the
/// directory, and beneath it like every file.
fn open_target(dir: &Path, link: &Path) -> Result<File, ReadError> {
    let target = match fs::canonicalize(link) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error.into()),
        Err(_) => return Err(ReadError::Outside(fs::read_link(link)?)),
    };
    let dir = fs::canonicalize(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?;
    let opened = match target.strip_prefix(&dir) {
        Ok(inside) => open_beneath(&dir, inside),
        Err(_) => return Err(ReadError::Outside(target)),
    };
    // The link was swapped after its resolution.
    opened.map_err(|error| if beneath::is_escape(&error) { ReadError::Outside(target) } else { error.into() })
}

/// Reads the signature beside a file, under its name with the suffix `.minisig`; `None` if there is none.
///
/// # Errors
/// The signature exists and cannot be read, or is too large: [`Cause::BadSignature`].
pub fn read_signature(path: &Path) -> Result<Option<Vec<u8>>, Rejection> {
    signature(&signature_path(path), read_file)
}

/// As [`read_signature`], for a file of a directory of rule files, see [`read_rule_file`].
///
/// # Errors
/// As [`read_signature`]; or the signature is a link that leaves the directory.
pub fn read_rule_signature(path: &Path) -> Result<Option<Vec<u8>>, Rejection> {
    signature(&signature_path(path), read_rule_file)
}

fn signature(
    path: &Path,
    read: impl FnOnce(&Path) -> Result<Vec<u8>, ReadError>,
) -> Result<Option<Vec<u8>>, Rejection> {
    let refuse = |cause, why: String| Err(Rejection::new(cause, format!("{}: {why}", path_text(path))));
    let too_large = |bytes| format!("file of {bytes} bytes: a signature has at most {MAX_SIGNATURE_BYTES}");
    match read(path) {
        Ok(bytes) if bytes.len() > MAX_SIGNATURE_BYTES => {
            refuse(Cause::BadSignature, too_large(bytes.len() as u64))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(ReadError::TooLarge(bytes)) => refuse(Cause::BadSignature, too_large(bytes)),
        Err(error) => refuse(error.cause(), error.to_string()),
    }
}

/// Path of the signature of a file.
#[must_use]
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Calls `take` with each rule file by its name (`*.yaml`), and each similar name (`*.yml`), in no order. Skips hidden
/// names, directories and devices; does not follow links.
pub(super) fn each_file(dir: &Path, mut take: impl FnMut(PathBuf, bool)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let extension = path.extension().map(OsStr::as_bytes).unwrap_or_default();
        let is_rule_file = extension == b"yaml";
        let is_yaml_name = extension.eq_ignore_ascii_case(b"yaml") || extension.eq_ignore_ascii_case(b"yml");
        if is_yaml_name
            && !is_hidden(&path)
            && entry.file_type().map_or(true, |kind| kind.is_file() || kind.is_symlink())
        {
            take(path, is_rule_file);
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."))
}
