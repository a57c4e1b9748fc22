//! Checks of the demo's claims, against the clients and the agent's commands.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::files::DATABASE;
use super::hosts::Family::{self, V4, V6};
use super::hosts::{DemoHosts, server};
use crate::lab::{Host, psql};

/// Time after which a denied client gives up: far longer than any round trip through the router.
const PATIENCE: Duration = Duration::from_millis(700);

impl DemoHosts {
    pub fn wait_for_revision(&mut self, revision: u64) -> Result<()> {
        let (agent, home) = self.agent()?;
        agent.wait_for_revision(home, DATABASE, revision)
    }

    /// Requires that a PostgreSQL client on this host gets an answer over TLS; returns version and cipher.
    pub fn is_answered(&self, client: &Host, family: Family) -> Result<String> {
        let question = "select version || ' ' || cipher from pg_stat_ssl where pid = pg_backend_pid()";
        let answer = psql(client, server(family), "require", question)
            .with_context(|| format!("{}: not answered over {family:?}", client.name()))?;
        ensure!(answer.starts_with("TLS"), "{}: answered without TLS: {answer:?}", client.name());
        Ok(format!("{} connects to {}: {answer}", client.name(), server(family)))
    }

    /// Requires that packets of this host are dropped silently: neither an answer nor a refusal comes back.
    pub fn gets_nothing(&self, client: &Host, family: Family) -> Result<String> {
        let (name, server) = (client.name(), server(family));
        let Err(error) = client.connect(server, PATIENCE) else { bail!("{name}: connects to {server}") };
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        ensure!(kind == Some(ErrorKind::TimedOut), "{name}: received an answer by {server}: {error:#}");
        Ok(format!("{name} to {server}: nothing came back within {} ms", PATIENCE.as_millis()))
    }

    /// Requires that the session that the office opened at the beginning still answers.
    pub fn office_session_answers(&mut self) -> Result<String> {
        let session = self.office_session.as_mut().context("the office has no session")?;
        let answer = session.ask("select 'still here';", Duration::from_secs(2));
        ensure!(answer.as_deref() == Some("still here"), "the office's running session is cut: {answer:?}");
        Ok("office asks in its running session: still here".to_owned())
    }

    /// Requires that office and application pass, the stranger does not, and no session was cut.
    pub fn is_unchanged(&mut self) -> Result<Vec<String>> {
        Ok(vec![
            self.is_answered(&self.office, V4)?,
            self.is_answered(&self.app, V4)?,
            self.is_answered(&self.app, V6)?,
            self.gets_nothing(&self.stranger, V4)?,
            self.gets_nothing(&self.stranger, V6)?,
            self.office_session_answers()?,
        ])
    }

    /// Runs `explain` for a source; exit code 0 means that it passes, 3 that it is denied.
    pub fn explained(&self, source: &str, code: i32, says: &[&str]) -> Result<Vec<String>> {
        self.shown(&["explain", source, DATABASE], code, says)
    }

    /// Runs a command as an operator would; it must exit with `code` and print every one of `says`.
    pub fn shown(&self, arguments: &[&str], code: i32, says: &[&str]) -> Result<Vec<String>> {
        let answer = self.home.ask(arguments)?;
        let command = format!("firewall-agent {}", arguments.join(" "));
        let output = format!("{}{}", answer.out, answer.err);
        ensure!(answer.code == Some(code), "{command}: exit code {:?}, not {code}: {output}", answer.code);
        for word in says {
            ensure!(answer.out.contains(word), "{command}: does not name {word}:\n{output}");
        }
        let prompt = format!("$ {command}");
        Ok([prompt].into_iter().chain(answer.out.lines().map(str::to_owned)).collect())
    }
}
