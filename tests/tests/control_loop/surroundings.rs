//! A host that lacks a resource, or withdraws it from the running daemon.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::{TestHost, User, eventually};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, setgid, setuid};

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, builder, file};

/// inotify instances per process: fewer than its limit of open files.
const INSTANCES: usize = 900;
/// Longer than the check of the socket paths takes, and shorter than the rescan interval.
const A_WHILE: Duration = Duration::from_millis(2_500);

/// Processes that use up the inotify instances of their user until they are dropped.
struct Hog(Vec<Child>);

impl Hog {
    fn new(user: User) -> Self {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
        let most: usize = most.trim().parse().unwrap();
        Self((0..=most / INSTANCES).map(|_| occupy_instances(user)).collect())
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a process that opens as many instances as are left, or up to [`INSTANCES`].
fn occupy_instances(user: User) -> Child {
    let mut command = Command::new("sleep");
    command.arg("600").stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock after the fork.
    unsafe {
        command.pre_exec(move || {
            setgid(Gid::from_raw(user.id()))?;
            setuid(Uid::from_raw(user.id()))?;
            set_pdeathsig(Signal::SIGKILL)?;
            // Without IN_CLOEXEC, so that the executed program inherits them.
            let mut instances = 0;
            while instances < INSTANCES && libc::inotify_init1(0) >= 0 {
                instances += 1;
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

fn signal(host: &TestHost, signal: Signal) {
    kill(Pid::from_raw(host.pid().cast_signed()), signal).unwrap();
}

const SEEN_LATE: &str = r#"condition raised condition="file_events""#;
const SEEN_AT_ONCE: &str = r#"condition cleared condition="file_events""#;

#[test]
fn without_inotify_the_daemon_rescans_until_an_instance_is_free() {
    let host = builder().user(User::Alone).build();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    let hog = Hog::new(User::Alone);
    host.start_with(&["--rescan-interval", "500ms"]);
    host.until_revision("a", 1);
    host.until("the limit is named", |_| host.log().contains("fs.inotify.max_user_instances"));
    host.push(&file("a", 2, "192.0.2.1", &[SHOP]));
    host.until_revision("a", 2);
    assert_eq!(host.reason(IN_OFFICE, "a"), "no_match", "revoked by a rescan");
    let log = host.log();
    host.stop();

    // Control: without rescans the agent misses the change. The first scan is over once the loop reports lost events.
    let before = log.matches("condition=\"file_events\"").count();
    host.start();
    let logged = || (host.log().matches("condition=\"file_events\"").count() > before).then_some(());
    eventually(Duration::from_secs(20), "the loop runs", logged).unwrap();
    sleep(Duration::from_millis(500));
    host.push(&file("a", 3, "192.0.2.1", &[OFFICE]));
    sleep(A_WHILE);
    assert_eq!(host.home.database("a").unwrap()["revision"], 2, "the control");
    signal(&host, Signal::SIGHUP);
    host.until_revision("a", 3);

    drop(hog);
    host.until("there is an instance again", |_| host.log().contains(SEEN_AT_ONCE));
    host.push(&file("a", 4, "192.0.2.1", &[SHOP]));
    host.until_revision("a", 4);
    assert_eq!(host.log().matches(SEEN_LATE).count(), 2, "once for each start:\n{}", host.log());
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

#[test]
fn only_removed_sockets_are_bound_again() {
    let host = builder().start();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    let sockets = ["http.sock", "control.sock"].map(|name| host.home.config().with_file_name(name));
    let answers = || host.ask(&["health"]).code == Some(0) && host.ask(&["rebase", "a"]).code == Some(0);
    host.until("both answer", |_| answers());
    let before = sockets.each_ref().map(|socket| inode(socket));
    sleep(A_WHILE);
    assert_eq!(sockets.each_ref().map(|socket| inode(socket)), before, "the control: left alone");

    // Stopped, the agent binds nothing before the control.
    signal(&host, Signal::SIGSTOP);
    sockets.iter().for_each(|socket| fs::remove_file(socket).unwrap());
    assert_eq!([host.ask(&["health"]).code, host.ask(&["rebase", "a"]).code], [Some(1); 2], "the control");
    signal(&host, Signal::SIGCONT);
    host.until("both answer again", |_| answers());
    // Other sockets at the same paths.
    for socket in &sockets {
        fs::remove_file(socket).unwrap();
        std::os::unix::net::UnixListener::bind(socket).unwrap();
    }
    host.until("both answer once more", |_| answers());
    host.eventually("the removal is logged", || host.log().contains("socket removed from disk"));
}

#[test]
fn agent_files_are_private_except_the_http_socket() {
    let host = builder().build();
    let dir = host.home.config().parent().unwrap().to_owned();
    fs::remove_dir(dir.join("state")).unwrap();
    host.start();
    let pins = host.home.pins();
    for (path, mode) in [
        (dir.join("state"), 0o700),
        (dir.join("state/agent.lock"), 0o600),
        (pins.join("v3"), 0o700),
        (pins.join("v3/sources"), 0o700),
        (pins.join("links"), 0o700),
        (dir.join("control.sock"), 0o600),
        (dir.join("http.sock"), 0o660),
    ] {
        let found = fs::symlink_metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(found, mode, "{}: {found:o}", path.display());
    }
}

#[test]
fn reading_the_lock_file_does_not_look_like_an_agent() {
    let host = builder().start();
    host.stop();
    let path = host.home.config().with_file_name("state").join("agent.lock");
    let file = fs::File::open(path).unwrap();
    let lock = libc::flock { l_type: libc::F_RDLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    assert_eq!(host.json(&["status"])["agent"]["running"], false);
    let refused = host.ask(&["detach", "--yes"]).err;
    assert!(refused.contains("not an agent, holds a read lock"), "{refused}");
    drop(file);
    // Control: nothing else interfered.
    assert_eq!(host.ask(&["rebase", "a"]).err.matches("lock").count(), 0);
    host.start();
    assert_eq!(host.json(&["status"])["agent"]["running"], true);
}

#[test]
fn unused_signals_do_not_stop_the_agent() {
    let host = builder().start();
    for _ in 0..3 {
        [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP].iter().for_each(|name| signal(&host, *name));
    }
    host.push(&file("a", 1, "192.0.2.1", &[SHOP]));
    host.until_revision("a", 1);
    assert_eq!(host.reason(IN_SHOP, "a"), "allowed");
    host.stop();
}

#[test]
fn stop_ordered_during_the_start_is_orderly() {
    let host = builder().build();
    host.push(&file("a", 1, "192.0.2.1", &[SHOP]));
    let mut agent = host.home.start().unwrap();
    // The first scan, the publish, the store and the attach still follow.
    let log = host.dir().join("log");
    let log = || fs::read_to_string(&log).unwrap_or_default();
    agent.wait_until("the programs are loaded", || log().contains("pinned state adopted")).unwrap();
    let (status, _) = agent.terminate().unwrap();
    assert!(status.success(), "{status}: {}", log());
    assert!(log().contains("stopping: everything stays attached"), "{}", log());
    assert_eq!(host.reason(IN_SHOP, "a"), "allowed");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let host = builder().build();
    host.own(host.home.start_by("env RUST_LOG= FIREWALL_AGENT_LOG_FORMAT=", &[]).unwrap());
    host.push(&file("a", 1, "192.0.2.1", &[SHOP]));
    host.until_revision("a", 1);
    let logged = || host.log().contains("in force database=a").then(|| host.log());
    let human = eventually(Duration::from_secs(10), "it is logged", logged).unwrap();
    assert!(human.contains(" INFO "), "{human}");
    host.stop();
    // Controls: nonempty values take effect.
    host.own(host.home.start_by("env RUST_LOG=error FIREWALL_AGENT_LOG_FORMAT=json", &[]).unwrap());
    host.write("broken.yaml", "junk\n...\n");
    host.until_rejected("junk");
    let after = host.log();
    let json = after.strip_prefix(&human).unwrap();
    assert!(json.lines().filter(|line| line.starts_with('{')).all(|line| line.contains("ERROR")), "{json}");
    assert!(json.contains("\"level\":\"ERROR\"") && !json.contains("\"level\":\"INFO\""), "{json}");
    host.stop();
}
