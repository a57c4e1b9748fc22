//! Privileges of commands: reads require the agent's own user, but no capabilities.

use std::process::Output;

use firewall_tests::lab::User;

use crate::stage::{ALLOWED, DATABASE, DENIED, Stage};

const QUESTIONS: [(&[&str], i32); 4] = [
    (&["status"], 0),
    (&["rules"], 0),
    (&["explain", ALLOWED[0], DATABASE], 0),
    (&["explain", DENIED[1], DATABASE], 3),
];

#[test]
fn a_question_is_answered_for_the_agents_own_user_without_any_capability() {
    let stage = Stage::new();
    let agent = stage.start();
    for (question, code) in QUESTIONS {
        let as_agent = stage.home.ask(question).unwrap();
        assert_eq!(as_agent.code, Some(code), "{question:?}: {as_agent:?}");
        let bare = answer(&stage, User::Unprivileged.id(), question);
        assert_eq!(bare.status.code(), Some(code), "{question:?}: {bare:?}");
        assert!(!bare.stdout.is_empty(), "{question:?}: {bare:?}");
    }
    agent.terminate().unwrap();
    for (question, code) in QUESTIONS {
        let stopped = answer(&stage, User::Unprivileged.id(), question);
        assert_eq!(stopped.status.code(), Some(code), "{question:?}, the agent stopped: {stopped:?}");
    }
}

/// Control: the capabilities needed to load a program are gone, and another user may not open the pins.
#[test]
fn without_capabilities_nothing_is_loaded_and_without_the_pins_nothing_is_explained() {
    let stage = Stage::new();
    let bare = answer(&stage, User::Unprivileged.id(), &["run"]);
    assert_eq!(bare.status.code(), Some(1), "{bare:?}");
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    let stranger = answer(&stage, User::Unprivileged.id() - 1, &["explain", ALLOWED[0], DATABASE]);
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(said.contains(&*stage.home.pins().to_string_lossy()), "{said}");
}

/// Runs a command as a user without any capability.
fn answer(stage: &Stage, user: u32, arguments: &[&str]) -> Output {
    let mut setpriv = stage.db.command("setpriv");
    let id = user.to_string();
    setpriv.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        setpriv.args([set, "-all"]);
    }
    setpriv.arg("--").arg(stage.dir().join("firewall-agent")).args(arguments);
    setpriv.arg("--config").arg(stage.home.config()).output().unwrap()
}
