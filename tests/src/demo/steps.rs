//! The steps of the demo, in order.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Step;
use super::files::{APPS, BROKEN, DATABASE, OFFICE, RULE_FILE, STRANGER};
use super::hosts::Family::{V4, V6};
use super::hosts::server;
use crate::lab::{CAPABILITY_MASK, Session, User, eventually, process_status};

pub const STEPS: &[Step] = &[
    Step {
        title: "Without the agent",
        claim: "everyone connects, the stranger too",
        play: |hosts| {
            let clients = [&hosts.office, &hosts.app, &hosts.stranger];
            let ways = clients.iter().flat_map(|client| [(client, V4), (client, V6)]);
            ways.map(|(client, family)| hosts.is_answered(client, family)).collect()
        },
    },
    Step {
        title: "The agent starts",
        claim: "revision 1 is in force; the agent is no root and has three capabilities",
        play: |hosts| {
            let written = hosts.push(1, &[OFFICE, APPS])?;
            hosts.agent = Some(hosts.home.start()?);
            hosts.wait_for_revision(1)?;
            let took = written.elapsed().as_millis();
            let process = process_status(hosts.agent()?.0.pid())?;
            let (uid, capabilities) = (process.ruid, process.capeff);
            ensure!(uid == User::Unprivileged.id(), "the agent runs as uid {uid}");
            ensure!(capabilities == CAPABILITY_MASK, "the agent's capabilities are {capabilities:#x}");
            Ok(vec![
                format!("in force {took} ms after the program was started"),
                format!("the agent runs as uid {uid} with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON only"),
            ])
        },
    },
    Step {
        title: "The office",
        claim: "passes by its custom rule fr-1",
        play: |hosts| {
            let mut lines = vec![hosts.is_answered(&hosts.office, V4)?];
            lines.extend(hosts.explained("203.0.113.20", 0, &["fr-1", "Office network"])?);
            hosts.office_session = Some(Session::open(&hosts.office, server(V4))?);
            lines.push(hosts.office_session_answers()?);
            Ok(lines)
        },
    },
    Step {
        title: "The application",
        claim: "passes by the managed range man-example-egress, over IPv4 and IPv6",
        play: |hosts| {
            let mut lines = vec![hosts.is_answered(&hosts.app, V4)?, hosts.is_answered(&hosts.app, V6)?];
            lines.extend(hosts.explained("198.51.100.7", 0, &["fr-2", "man-example-egress"])?);
            Ok(lines)
        },
    },
    Step {
        title: "The stranger",
        claim: "gets nothing, not even a refusal, over IPv4 and IPv6",
        play: |hosts| {
            let mut lines =
                vec![hosts.gets_nothing(&hosts.stranger, V4)?, hosts.gets_nothing(&hosts.stranger, V6)?];
            lines.push(hosts.gets_nothing(&hosts.office, V6).context("the office has no rule for IPv6")?);
            lines.extend(hosts.explained("198.51.100.200", 3, &["no_match"])?);
            Ok(lines)
        },
    },
    Step {
        title: "Revision 2 adds the stranger",
        claim: "the stranger connects, well within the promised time",
        play: |hosts| {
            let written = hosts.push(2, &[OFFICE, APPS, STRANGER])?;
            let attempt = Duration::from_millis(5);
            eventually(Duration::from_secs(10), "the stranger connects", || {
                hosts.stranger.connect(server(V4), attempt).ok()
            })?;
            let took = written.elapsed();
            hosts.wait_for_revision(2)?;
            let line = format!("{} ms from the file's rename to the first connection", took.as_millis());
            Ok(vec![line, hosts.is_answered(&hosts.stranger, V4)?])
        },
    },
    Step {
        title: "Revision 3 removes the stranger",
        claim: "its running session is cut, the office's is not",
        play: |hosts| {
            let mut session = Session::open(&hosts.stranger, server(V4))?;
            let before = session.ask("select 'first answer';", Duration::from_secs(2));
            ensure!(before.as_deref() == Some("first answer"), "the session did not work before: {before:?}");
            let written = hosts.push(3, &[OFFICE, APPS])?;
            hosts.wait_for_revision(3)?;
            let took = written.elapsed().as_millis();
            let after = session.ask("select 'second answer';", Duration::from_secs(3));
            ensure!(after.is_none(), "the session still works: {after:?}");
            Ok(vec![
                "stranger asks in its session: first answer".to_owned(),
                format!("revision 3 in force {took} ms after the file's rename"),
                "stranger asks in the same session: no answer within 3 s".to_owned(),
                hosts.gets_nothing(&hosts.stranger, V4)?,
                hosts.office_session_answers()?,
            ])
        },
    },
    Step {
        title: "A broken file",
        claim: "revision 4 is rejected with every mistake in it, and changes nothing",
        play: |hosts| {
            hosts.push(4, &[OFFICE, APPS, BROKEN[0], BROKEN[1], STRANGER])?;
            let (agent, home) = hosts.agent()?;
            agent.wait_until("the file is rejected", || {
                home.database(DATABASE).is_ok_and(|one| one["state"] == "rejected")
            })?;
            ensure!(home.database(DATABASE)?["revision"] == 3, "status: revision 3 is no longer in force");
            let output = home.ask(&["status"])?.out;
            let mut lines = Vec::new();
            for mistake in ["\"203.0.113.300/24\"", "\"203.0.113.7\""] {
                let mut places = output.lines().filter(|line| line.contains(RULE_FILE));
                let line = places.find(|line| line.contains(mistake));
                let line = line.with_context(|| format!("status: does not name {mistake}:\n{output}"))?;
                lines.push(line.trim().to_owned());
            }
            lines.extend(hosts.is_unchanged()?);
            Ok(lines)
        },
    },
    Step {
        title: "kill -9",
        claim: "the kernel filters on without the agent",
        play: |hosts| {
            hosts.agent.take().context("no agent runs")?.kill()?;
            hosts.is_unchanged()
        },
    },
    Step {
        title: "The agent comes back",
        claim: "it takes over what the kernel holds and puts revision 5 in force; no session notices",
        play: |hosts| {
            hosts.push(5, &[OFFICE, APPS])?;
            hosts.agent = Some(hosts.home.start()?);
            hosts.wait_for_revision(5)?;
            hosts.is_unchanged()
        },
    },
    Step {
        title: "What an operator sees",
        claim: "status, rules and explain answer from what the kernel holds",
        play: |hosts| {
            let mut lines = hosts.shown(&["status"], 0, &["eth0", "applied"])?;
            lines.extend(hosts.shown(&["rules", DATABASE], 0, &["fr-1", "198.51.100.7/32"])?);
            lines.extend(hosts.explained("203.0.113.20", 0, &["fr-1"])?);
            lines.extend(hosts.explained("2001:db8:4::7", 0, &["man-example-egress"])?);
            lines.extend(hosts.explained("198.51.100.200", 3, &["no_match"])?);
            Ok(lines)
        },
    },
];
