//! What steps claim, asked of the clients and of the agent's commands.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::files::DATABASE;
use super::stage::Family::{self, V4, V6};
use super::stage::{Stage, server};
use crate::lab::{Host, psql};

/// How long a client that is refused waits before it gives up: far longer than any way through the router takes.
const PATIENCE: Duration = Duration::from_millis(700);

impl Stage {
    pub fn wait_for_revision(&mut self, revision: u64) -> Result<()> {
        let (agent, home) = self.agent()?;
        agent.wait_for_revision(home, DATABASE, revision)
    }

    /// A PostgreSQL client on this host is answered; its answer, which says how the connection is encrypted.
    pub fn is_answered(&self, client: &Host, family: Family) -> Result<String> {
        let question = "select version || ' ' || cipher from pg_stat_ssl where pid = pg_backend_pid()";
        let answer = psql(client, server(family), "require", question)
            .with_context(|| format!("{}: not answered over {family:?}", client.name()))?;
        ensure!(answer.starts_with("TLS"), "{}: answered without TLS: {answer:?}", client.name());
        Ok(format!("{} connects to {}: {answer}", client.name(), server(family)))
    }

    /// Packets of this host are lost without a trace: neither an answer nor a refusal comes back.
    pub fn gets_nothing(&self, client: &Host, family: Family) -> Result<String> {
        let (name, server) = (client.name(), server(family));
        let Err(error) = client.connect(server, PATIENCE) else { bail!("{name}: connects to {server}") };
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        ensure!(kind == Some(ErrorKind::TimedOut), "{name}: was told something by {server}: {error:#}");
        Ok(format!("{name} to {server}: nothing came back within {} ms", PATIENCE.as_millis()))
    }

    /// The session that the office opened before anything went wrong is still answered.
    pub fn office_session_answers(&mut self) -> Result<String> {
        let session = self.office_session.as_mut().context("the office has no session")?;
        let answer = session.ask("select 'still here';", Duration::from_secs(2));
        ensure!(answer.as_deref() == Some("still here"), "the office's running session is cut: {answer:?}");
        Ok("office asks in its running session: still here".to_owned())
    }

    /// Office and application pass, the stranger does not, and no session was cut.
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

    /// `explain` for a source; exit code 0 says that it passes, 3 that it is denied.
    pub fn explained(&self, source: &str, code: i32, says: &[&str]) -> Result<Vec<String>> {
        self.shown(&["explain", source, DATABASE], code, says)
    }

    /// A command as an operator sees it; it must end with this code and say all of these.
    pub fn shown(&self, arguments: &[&str], code: i32, says: &[&str]) -> Result<Vec<String>> {
        let answer = self.home.ask(arguments)?;
        let command = format!("firewall-agent {}", arguments.join(" "));
        let said = format!("{}{}", answer.out, answer.err);
        ensure!(answer.code == Some(code), "{command}: exit code {:?}, not {code}: {said}", answer.code);
        for word in says {
            ensure!(answer.out.contains(word), "{command}: says nothing of {word}:\n{said}");
        }
        let prompt = format!("$ {command}");
        Ok([prompt].into_iter().chain(answer.out.lines().map(str::to_owned)).collect())
    }
}
