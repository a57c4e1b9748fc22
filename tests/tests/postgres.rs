//! PostgreSQL end to end: asserts the steps of the demo.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use firewall_tests::demo::{Moment, play};
use firewall_tests::lab::agent_binary;

#[test]
fn every_demo_step_matches_its_stated_outcome() {
    let (steps, played) = came_out(&agent_binary().unwrap());
    println!("{steps:#?}");
    played.unwrap();
    assert_eq!(steps.len(), 11, "a step is missing");
}

/// Control: the stage works without an agent, and the steps that need one fail.
#[test]
fn demo_fails_with_an_agent_that_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let idler = dir.path().join("idler");
    fs::write(&idler, "#!/bin/sh\nif [ \"$1\" = run ]; then exec sleep 60; fi\n").unwrap();
    fs::set_permissions(&idler, Permissions::from_mode(0o755)).unwrap();
    let (steps, played) = came_out(&idler);
    assert_eq!(steps.len(), 1, "{played:?}");
    assert_eq!(played.unwrap_err().to_string(), "The agent starts");
}

/// Plays the demo with this agent; returns the successful steps and the result.
fn came_out(agent: &Path) -> (Vec<String>, Result<()>) {
    let mut steps = Vec::new();
    let played = play(agent, &mut |moment| {
        if let Moment::CameOut(..) = moment {
            steps.push(format!("{moment:?}"));
        }
    });
    (steps, played)
}
