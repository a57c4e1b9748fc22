//! Clients of a PostgreSQL server: single queries, and sessions that stay open.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::postgres::programs;
use super::{Answer, Host};

/// Runs one query over TLS from a host. The error is psql's own text; without any answer it comes after two seconds,
/// psql's shortest timeout.
pub fn psql(from: &Host, server: SocketAddr, sslmode: &str, question: &str) -> Result<String> {
    let answer = Answer::of(client(from, server, sslmode)?.args(["-c", question]))?;
    ensure!(answer.code == Some(0), "{}", answer.err.trim());
    Ok(answer.out.trim().to_owned())
}

/// An open session, closed when dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
}

impl Session {
    /// Connects over TLS; the session is established once it has answered the first query.
    pub fn open(from: &Host, server: SocketAddr) -> Result<Self> {
        let mut command = client(from, server, "require")?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let questions = child.stdin.take().context("psql: no standard input")?;
        let lines = BufReader::new(child.stdout.take().context("psql: no standard output")?).lines();
        let (sender, answers) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { child, questions, answers })
    }

    /// Returns the first line of the answer; `None` if none comes within `within`, or the session has ended.
    pub fn ask(&mut self, question: &str, within: Duration) -> Option<String> {
        writeln!(self.questions, "{question}").ok()?;
        self.answers.recv_timeout(within).ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(from: &Host, server: SocketAddr, sslmode: &str) -> Result<Command> {
    let mut command = from.command(programs()?.join("psql"));
    let (address, port) = (server.ip(), server.port());
    // Lost packets end the connection within seconds, which bounds the wait of a client that is cut off.
    let bounds =
        "connect_timeout=2 tcp_user_timeout=4000 keepalives_idle=1 keepalives_interval=1 keepalives_count=3";
    let target =
        format!("host={address} port={port} user=postgres dbname=postgres sslmode={sslmode} {bounds}");
    command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]).arg(target);
    Ok(command)
}
