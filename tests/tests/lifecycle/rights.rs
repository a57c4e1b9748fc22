//! Privileges of commands: reads require the agent's own user, but no capabilities; changes by root leave nothing that
//! the agent's user cannot open.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use firewall_tests::lab::{TestHost, User};

use crate::setup::{ALLOWED, DATABASE, DENIED, hosts};

const QUESTIONS: [(&[&str], i32); 4] = [
    (&["status"], 0),
    (&["rules"], 0),
    (&["explain", ALLOWED[0], DATABASE], 0),
    (&["explain", DENIED[1], DATABASE], 3),
];

/// The agent's own user, without its capabilities.
const BARE: User = User::Powerless(User::Unprivileged.id());

#[test]
fn explain_needs_no_capability_for_the_agent_user() {
    let host = hosts();
    let agent = host.start_agent();
    for (question, code) in QUESTIONS {
        let as_agent = host.ask(question);
        assert_eq!(as_agent.code, Some(code), "{question:?}: {as_agent:?}");
        let bare = host.ask_as(BARE, question);
        assert_eq!(bare.code, Some(code), "{question:?}: {bare:?}");
        assert!(!bare.out.is_empty(), "{question:?}: {bare:?}");
    }
    agent.terminate().unwrap();
    for (question, code) in QUESTIONS {
        let stopped = host.ask_as(BARE, question);
        assert_eq!(stopped.code, Some(code), "{question:?}, the agent stopped: {stopped:?}");
    }
}

/// Control: the capabilities needed to load a program are gone, and another user may not open the pins.
#[test]
fn load_needs_capabilities_and_explain_needs_pins() {
    let host = hosts();
    let bare = host.ask_as(BARE, &["run"]);
    assert_eq!(bare.code, Some(1), "{bare:?}");
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let stranger =
        host.ask_as(User::Powerless(User::Unprivileged.id() - 1), &["explain", ALLOWED[0], DATABASE]);
    assert_eq!(stranger.code, Some(1), "{stranger:?}");
    assert!(stranger.err.contains(&*host.home.pins().to_string_lossy()), "{stranger:?}");
}

/// An operator's shell is root's; the daemon, also one that starts after a boot, is not.
#[test]
fn commands_of_root_without_a_daemon_leave_nothing_of_root() {
    let host = hosts();
    host.start_agent().terminate().unwrap();
    let control = host.state_dir().join("of-root");
    fs::write(&control, "").unwrap();
    assert_eq!(of_root(&host), std::slice::from_ref(&control), "the control: such a file is found");
    fs::remove_file(control).unwrap();
    let commands: [&[&str]; 4] = [&["detach", "--yes"], &["attach"], &["rebase", DATABASE], &["restore"]];
    for is_booted in [false, true] {
        if is_booted {
            host.remove_pins();
        }
        for command in commands.into_iter().skip(if is_booted { 3 } else { 0 }) {
            let done = host.ask_as(User::Root, command);
            assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
            assert!(!done.out.contains("\\u000a"), "{done:?}");
            assert_eq!(of_root(&host), [""; 0].map(PathBuf::from), "{command:?}, booted: {is_booted}");
        }
    }
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
}

#[test]
fn command_of_root_refuses_directories_of_two_users() {
    let host = hosts();
    host.start_agent().terminate().unwrap();
    chown(host.home.pins(), Some(1), Some(1)).unwrap();
    let refused = host.ask_as(User::Root, &["rebase", DATABASE]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in [&*host.state_dir().to_string_lossy(), "uid 65534", "uid 1: must belong to one user"] {
        assert!(refused.err.contains(words), "{words}: {refused:?}");
    }
    assert_eq!(of_root(&host), [""; 0].map(PathBuf::from), "nothing is created");
    // The control.
    let user = Some(User::Unprivileged.id());
    chown(host.home.pins(), user, user).unwrap();
    let done = host.ask_as(User::Root, &["rebase", DATABASE]);
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// Parents of the state directory would be closed to the agent's user.
#[test]
fn prepare_creates_no_parent_of_the_state_directory() {
    let host = hosts();
    let parent = host.dir().join("missing");
    let (state, owner) = (parent.join("state"), User::Unprivileged.id());
    let prepare = || {
        let owner = format!("{owner}:{owner}");
        host.ask_as(User::Root, &["prepare", "--owner", &owner, "--state-dir", state.to_str().unwrap()])
    };
    let refused = prepare();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains(&format!("cannot create {}", state.display())), "{refused:?}");
    assert!(!parent.exists());
    // The control.
    fs::create_dir(&parent).unwrap();
    let done = prepare();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(fs::metadata(&state).unwrap().uid(), owner);
}

/// The command of docs/install.md for a host whose agent once ran as root.
#[test]
fn documented_command_gives_the_files_of_root_to_the_agent_user() {
    let manual = include_str!("../../../docs/install.md");
    let command = manual.lines().find(|line| line.starts_with("chown -R ")).unwrap();
    let host = hosts();
    host.start_agent().terminate().unwrap();
    let [state, pins] = [host.state_dir(), host.home.pins().to_owned()].map(|dir| dir.display().to_string());
    let run = |user: &str| {
        let owner = format!("{user}:{user}");
        let here = [
            ("firewall-agent:", owner.as_str()),
            ("/var/lib/firewall-agent", state.as_str()),
            ("/sys/fs/bpf/firewall-agent", pins.as_str()),
        ];
        let mut words: Vec<&str> = command.split(' ').collect();
        for (documented, used) in here {
            words.iter_mut().filter(|word| **word == documented).for_each(|word| *word = used);
        }
        assert_eq!(words[2..], here.map(|(_, word)| word), "{command}");
        assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success(), "{command}");
    };
    run("0");
    assert!(of_root(&host).len() > 10, "the files of root");
    let refused = host.ask(&["run"]);
    assert_eq!(refused.code, Some(1), "the control: {refused:?}");
    run(&User::Unprivileged.id().to_string());
    assert_eq!(of_root(&host), [""; 0].map(PathBuf::from));
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
}

/// Files, directories and pins of root in the agent's directories.
fn of_root(host: &TestHost) -> Vec<PathBuf> {
    fn add(path: &Path, found: &mut Vec<PathBuf>) {
        let metadata = fs::symlink_metadata(path).unwrap();
        if metadata.uid() == 0 {
            found.push(path.to_owned());
        }
        if metadata.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| add(&entry.unwrap().path(), found));
        }
    }
    let mut found = Vec::new();
    [host.state_dir(), host.home.pins().to_owned()].iter().for_each(|dir| add(dir, &mut found));
    found
}
