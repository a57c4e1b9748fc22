//! What is slow beside the daemon, or does not answer at all: it delays no change.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use crate::stage::{IN_OFFICE, OFFICE, SHOP, Stage, file};

/// What a pipe holds.
const PIPE: usize = 64 << 10;

#[test]
fn a_log_that_nobody_reads_delays_no_revocation() {
    let mut stage = Stage::new();
    stage.stop();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE]).unwrap();
    let full = OwnedFd::from(writer);
    stage.start_into(File::from(full.try_clone().unwrap()));
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[OFFICE]));
    stage.until_revision("a", 1);
    stage.write("a.yaml", &file("a", 2, "192.0.2.1", &[SHOP]));
    stage.until("the rule is revoked", |_| stage.reason(IN_OFFICE, "a") == "no_match");
    drop(full);
    // Who reads again gets what waited, to the last line: a process that ends waits for that.
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    stage.stop();
    let text = read.join().unwrap();
    assert_eq!(text.matches("in force database=a").count(), 2, "{}", text.trim_start());
    assert!(text.contains("everything stays attached"), "{}", text.trim_start());
}
