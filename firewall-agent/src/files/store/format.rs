//! A stored file: one header line, then the content.
//!
//! ```text
//! firewall-agent last-good 1 database 6a316183d0f1f10ecbcca123 1234 <SHA-256, 64 hex digits>
//! ```
//! The fields: format version, kind, id (`-` for a kind that is there once), bytes of content, SHA-256 over kind, a
//! space, id, a newline, and the content. Every byte of the line is compared: there is one way to write it.

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::Entry;

const MAGIC: &[u8] = b"firewall-agent last-good ";
const VERSION: &str = "1";
/// The longest header is shorter.
const MAX_HEADER_BYTES: usize = 256;

/// What is stored for `entry`.
pub(super) fn encode(entry: &Entry<'_>, content: &[u8]) -> Vec<u8> {
    let (kind, id) = kind_and_id(entry);
    let header = format!("{VERSION} {kind} {id} {} {}\n", content.len(), checksum(entry, content));
    [MAGIC, header.as_bytes(), content].concat()
}

/// The content of what is stored for `entry`.
///
/// # Errors
/// When the bytes are not exactly what [`encode`] makes of `entry` and some content.
pub(super) fn decode(entry: &Entry<'_>, mut stored: Vec<u8>) -> Result<Vec<u8>> {
    let fields =
        stored.strip_prefix(MAGIC).context("not a stored file of the agent: its first line is another")?;
    let version = fields.split(|byte| matches!(byte, b' ' | b'\n')).next().unwrap_or_default();
    let shown = String::from_utf8_lossy(&version[..version.len().min(16)]);
    ensure!(version == VERSION.as_bytes(), "format version {shown:?}: this agent reads {VERSION:?}");

    let end = stored
        .iter()
        .take(MAX_HEADER_BYTES)
        .position(|byte| *byte == b'\n')
        .context("header is cut short")?;
    let content = stored.split_off(end + 1);
    let line = str::from_utf8(&stored[MAGIC.len()..end]).context("header is damaged")?;
    let [_, kind, id, length, sum] = line.split(' ').collect::<Vec<_>>()[..] else {
        bail!("header is damaged")
    };
    let own = kind_and_id(entry);
    ensure!((kind, id) == own, "holds {kind:?} {id:?} instead of {:?} {:?}", own.0, own.1);
    let bytes = content.len();
    ensure!(length == bytes.to_string(), "header announces {length:?} bytes, {bytes} are there");
    ensure!(sum == checksum(entry, &content), "damaged: the checksum is another");
    Ok(content)
}

fn kind_and_id<'a>(entry: &Entry<'a>) -> (&'static str, &'a str) {
    match entry {
        Entry::Database(id) => ("database", id.as_str()),
        Entry::Ranges => ("ranges", "-"),
        Entry::Ledger => ("ledger", "-"),
    }
}

/// In lower-case hex.
fn checksum(entry: &Entry<'_>, content: &[u8]) -> String {
    let (kind, id) = kind_and_id(entry);
    let hash = Sha256::new().chain_update(format!("{kind} {id}\n")).chain_update(content).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
