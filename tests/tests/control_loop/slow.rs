//! A slow or hanging log reader or disk delays no change.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use firewall_tests::lab::{TestHost, eventually};

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, builder, file};
use crate::strace::Injected;

/// Capacity of a pipe, in bytes.
const PIPE: usize = 64 << 10;
const DATABASES: usize = 20;

#[test]
fn unread_log_delays_no_revocation() {
    let host = builder().start();
    host.stop();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE]).unwrap();
    let full = OwnedFd::from(writer);
    host.own(host.home.start_into(File::from(full.try_clone().unwrap())).unwrap());
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    host.push(&file("a", 2, "192.0.2.1", &[SHOP]));
    host.until("the rule is revoked", |_| host.reason(IN_OFFICE, "a") == "no_match");
    drop(full);
    // A resumed reader gets the whole backlog: a process that ends waits for that.
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    host.stop();
    let text = read.join().unwrap();
    assert_eq!(text.matches("revision in force database=a").count(), 2, "{}", text.trim_start());
    assert!(text.contains("everything stays attached"), "{}", text.trim_start());
}

#[test]
fn slow_disk_delays_no_revocation_and_stores_the_newest() {
    let host = builder().start();
    let name = |number: usize| format!("db{number:02}");
    let target = |number: usize| format!("192.0.2.{number}:30092");
    let write = |host: &TestHost, revision, rule| {
        for number in 1..=DATABASES {
            let text = file(&name(number), revision, &format!("192.0.2.{number}"), &[rule]);
            host.write(&format!("{}.yaml", name(number)), &text);
        }
    };
    let all = |host: &TestHost, source: &str, reason: &str| {
        (1..=DATABASES).all(|number| host.reason(source, &target(number)) == reason)
    };
    write(&host, 1, OFFICE);
    host.until("all are in force", |_| host.reason(IN_OFFICE, &target(DATABASES)) == "allowed");
    (1..=DATABASES).for_each(|number| _ = host.until_state(&name(number), "applied"));

    let slow = Injected::into(host.pid(), "fsync,fdatasync", "delay_enter=2000000");
    write(&host, 2, OFFICE);
    write(&host, 3, SHOP);
    let started = Instant::now();
    // A scan may meet some of the files before they are written, and later ones after that.
    host.until("every rule is revoked", |_| all(&host, IN_OFFICE, "no_match"));
    // At most two passes, neither of which waits for 20 times two seconds. In a quiet moment it takes 0.2 s.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(all(&host, IN_SHOP, "allowed"));
    let reported = || host.log().contains("state.redb: the disk is slow").then_some(());
    eventually(Duration::from_secs(20), "the slow disk is reported", reported).unwrap();

    let caught_up = || host.log().contains("condition cleared condition=\"store\"").then_some(());
    eventually(Duration::from_secs(120), "all is stored, slowly", caught_up).unwrap();
    drop(slow);
    host.kill();
    host.remove_pins();
    for number in 1..=DATABASES {
        fs::remove_file(host.home.rule_file(&format!("{}.yaml", name(number)))).unwrap();
    }
    host.start();
    host.until_state(&name(DATABASES), "orphaned");
    assert!(all(&host, IN_SHOP, "allowed") && all(&host, IN_OFFICE, "no_match"), "{}", host.log());
}

#[test]
fn hanging_disk_blocks_nothing_and_catches_up() {
    let host = builder().start();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    let hangs = Injected::into(host.pid(), "fsync,fdatasync", "delay_enter=600s");
    for revision in 2..12 {
        let (rule, new, old) =
            if revision % 2 == 0 { (SHOP, IN_SHOP, IN_OFFICE) } else { (OFFICE, IN_OFFICE, IN_SHOP) };
        host.push(&file("a", revision, "192.0.2.1", &[rule]));
        let is_in_force =
            || (host.reason(new, "a") == "allowed" && host.reason(old, "a") == "no_match").then_some(());
        eventually(Duration::from_secs(10), "it is in force", is_in_force).unwrap();
    }
    drop(hangs);
    host.until_state("a", "applied");
    host.stop();
    host.remove_pins();
    fs::remove_file(host.home.rule_file("a.yaml")).unwrap();
    host.start();
    host.until_state("a", "orphaned");
    assert_eq!(host.reason(IN_OFFICE, "a"), "allowed", "the last of them");
}
