//! An overfull directory: memory stays bounded, and accepted databases keep their updates.

use std::fs::File;

use firewall_tests::lab::process_status;

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, builder, file};

const ENDPOINT: &str = "192.0.2.1:30092";
const FILES: usize = 200;
/// Size limit of a file.
const FILE_BYTES: u64 = 4 << 20;
/// All files together would take 800 MiB.
const MOST_KIB: u64 = 256 << 10;

#[test]
fn directory_of_large_files_uses_bounded_memory_and_blocks_no_database() {
    let host = builder().start();
    host.write("z.yaml", file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    host.stop();
    for number in 0..FILES {
        let path = host.home.rule_file(&format!("x{number}.yaml"));
        File::create(path).unwrap().set_len(FILE_BYTES).unwrap();
    }
    // With bpffs unchanged, and as after a boot.
    for revision in [2, 4] {
        host.start();
        host.until_rejected("not read: more than 64 MiB of rule files in the directory");
        let status = host.until_rejected("x199.yaml");
        assert_eq!(status["rejected_files"].as_array().unwrap().len(), FILES, "each is named");
        host.write("z.yaml", file("a", revision, "192.0.2.1", &[SHOP]));
        host.until_revision("a", revision);
        assert_eq!(host.reason(IN_SHOP, ENDPOINT), "allowed");
        assert_eq!(host.reason(IN_OFFICE, ENDPOINT), "no_match");
        let most = most_memory(host.pid());
        println!("{most} KiB");
        assert!(most < MOST_KIB, "{most} KiB");
        host.stop();
        host.remove_pins();
    }
}

/// Returns the peak resident set of a process, in KiB.
fn most_memory(pid: u32) -> u64 {
    process_status(pid).unwrap().vmhwm.unwrap()
}
