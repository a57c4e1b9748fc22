//! File events alone detect every style of writing a file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, builder, file};

type Style = (&'static str, fn(&Path, &str));

const STYLES: [Style; 6] = [
    ("temporary file and rename", |path, text| {
        let temporary = path.with_file_name(".temporary");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, path).unwrap();
    }),
    ("in place", |path, text| fs::write(path, text).unwrap()),
    ("in place, in two pieces", |path, text| {
        let mut file = fs::File::create(path).unwrap();
        let (first, second) = text.split_at(text.len() / 2);
        file.write_all(first.as_bytes()).unwrap();
        file.sync_all().unwrap();
        file.write_all(second.as_bytes()).unwrap();
    }),
    ("hard link", |path, text| {
        let other = path.with_file_name(".other");
        fs::write(&other, text).unwrap();
        fs::remove_file(path).unwrap();
        fs::hard_link(&other, path).unwrap();
        fs::remove_file(other).unwrap();
    }),
    ("deleted and written anew", |path, text| {
        fs::remove_file(path).unwrap();
        fs::write(path, text).unwrap();
    }),
    ("directory deleted and made anew", |path, text| {
        let dir = path.parent().unwrap();
        fs::remove_dir_all(dir).unwrap();
        fs::create_dir(dir).unwrap();
        fs::write(path, text).unwrap();
    }),
];

#[test]
fn each_write_style_is_detected() {
    let host = builder().start();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    let mut revision = 1;
    for (what, write) in STYLES.iter().chain(&STYLES) {
        revision += 1;
        let (rule, allowed, denied) =
            if revision % 2 == 0 { (SHOP, IN_SHOP, IN_OFFICE) } else { (OFFICE, IN_OFFICE, IN_SHOP) };
        write(&host.home.rule_file("a.yaml"), &file("a", revision, "192.0.2.1", &[rule]).to_string());
        host.until_revision("a", revision);
        assert_eq!(host.reason(allowed, "a"), "allowed", "{what}");
        assert_eq!(host.reason(denied, "a"), "no_match", "{what}");
    }
}

/// The swap of a ConfigMap by Kubernetes: files are links into `..data`, itself a link to a directory.
#[test]
fn fifty_rapid_config_map_swaps_end_at_the_last() {
    let host = builder().start();
    let dir = host.home.rule_file("a.yaml").parent().unwrap().to_owned();
    for revision in 1..=50_u64 {
        let version = dir.join(format!("..version-{revision}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("a.yaml"), file("a", revision, "192.0.2.1", &[OFFICE]).to_string()).unwrap();
        symlink(version.file_name().unwrap(), dir.join("..next")).unwrap();
        fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
        if revision == 1 {
            symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
            host.until_revision("a", 1);
        }
    }
    host.until_revision("a", 50);
}

#[test]
fn symlink_out_of_the_directory_is_refused() {
    let host = builder().start();
    let outside = host.home.config().with_file_name("outside.yaml");
    fs::write(&outside, file("a", 1, "192.0.2.1", &[OFFICE]).to_string()).unwrap();
    symlink(&outside, host.home.rule_file("a.yaml")).unwrap();
    host.until_rejected("outside the directory");
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:30092"), "closed");
    // Control: the same file inside the directory.
    fs::remove_file(host.home.rule_file("a.yaml")).unwrap();
    fs::rename(outside, host.home.rule_file("a.yaml")).unwrap();
    host.until_revision("a", 1);
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:30092"), "allowed");
}
