//! Captures that the source package of tcpdump ships, addressed to the guarded host by tcprewrite.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::thread;

use firewall_tests::lab::tool;
use tempfile::TempDir;

use crate::rule_set::{PORT, SENDER, SERVERS};

/// MAC addresses of the guarded host and of the tools' host.
pub const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];

/// Link type of Ethernet.
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Shortest and longest frame that the link carries.
const FRAMES: std::ops::RangeInclusive<usize> = 14..=9_014;
/// Minimum number of captured frames.
const ENOUGH: usize = 5_000;

/// Captures for tcpreplay.
pub struct Captures {
    pub dir: TempDir,
}

/// Returns the directory of the captures `captured`, with the sources as captured, `sender`, from the tools' host, and
/// `damaged`, the latter with random changes.
pub fn captures() -> &'static Path {
    static MADE: LazyLock<Captures> = LazyLock::new(Captures::new);
    MADE.dir.path()
}

impl Captures {
    fn new() -> Self {
        let (dir, all) = (TempDir::new().unwrap(), ethernet_captures());
        let path = |name: &str| dir.path().join(name);
        let to = [format!("--dstipmap=0.0.0.0/0:{}/32,[::/0]:[{}/128]", SERVERS[0], SERVERS[1])];
        let from = format!("--srcipmap=0.0.0.0/0:{}/32,[::/0]:[{}/128]", SENDER[0], SENDER[1]);
        let both = [to[0].clone(), from];
        thread::scope(|scope| {
            let (all, captured, sender) = (&all, path("captured"), path("sender"));
            scope.spawn(move || rewritten(all, &to, &captured));
            scope.spawn(move || rewritten(all, &both, &sender));
        });
        let (sender, damaged) = (path("sender"), path("damaged"));
        tcprewrite(&["--fuzz-seed=1".to_owned(), "--fuzz-factor=2".to_owned()], &sender, &damaged);
        Self { dir }
    }
}

fn ethernet_captures() -> Vec<PathBuf> {
    let files = fs::read_dir(tool("captures").unwrap()).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| records(&fs::read(file).unwrap()).is_some());
    files.sort();
    files
}

/// Rewrites each capture and writes the frames that the link carries to one capture.
fn rewritten(files: &[PathBuf], options: &[String], to: &Path) {
    let part = to.with_extension("part");
    let mut merged = header();
    let mut count = 0;
    for file in files {
        // tcprewrite gives up at some damaged frames; those before them count.
        tcprewrite(options, file, &part);
        let bytes = fs::read(&part).unwrap_or_default();
        for frame in records(&bytes).unwrap_or_default() {
            let length = (frame.len() as u32).to_ne_bytes();
            merged.extend([[0; 4], [0; 4], length, length].concat());
            merged.extend(frame);
            count += 1;
        }
    }
    assert!(count >= ENOUGH, "{}: only {count} frames", to.display());
    File::create(to).unwrap().write_all(&merged).unwrap();
}

fn tcprewrite(options: &[String], from: &Path, to: &Path) {
    let _ = fs::remove_file(to);
    let mut command = Command::new("tcprewrite");
    command.args(options).args([
        format!("--portmap=0-65535:{PORT}"),
        format!("--enet-dmac={}", MACS[0]),
        format!("--enet-smac={}", MACS[1]),
        format!("--infile={}", from.display()),
        format!("--outfile={}", to.display()),
    ]);
    command.output().unwrap_or_else(|error| panic!("tcprewrite: not started: {error}"));
}

/// Returns a file header: version 2.4, Ethernet.
fn header() -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 262_144, ETHERNET];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Returns the frames of an Ethernet capture that the link carries; `None` for another file.
fn records(capture: &[u8]) -> Option<Vec<&[u8]>> {
    let magic: [u8; 4] = *capture.first_chunk()?;
    let read: fn([u8; 4]) -> u32 = match u32::from_le_bytes(magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => u32::from_le_bytes,
        0xd4c3_b2a1 | 0x4d3c_b2a1 => u32::from_be_bytes,
        _ => return None,
    };
    let word = |at: usize| Some(read(*capture.get(at..)?.first_chunk()?));
    if word(20)? & 0xffff != ETHERNET {
        return None;
    }
    let (mut frames, mut at) = (Vec::new(), FILE_HEADER);
    while let Some(frame) =
        word(at + 8).and_then(|length| capture.get(at + RECORD_HEADER..at + RECORD_HEADER + length as usize))
    {
        frames.push(frame);
        at += RECORD_HEADER + frame.len();
    }
    frames.retain(|frame| FRAMES.contains(&frame.len()));
    Some(frames)
}
