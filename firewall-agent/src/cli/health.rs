//! `firewall-agent health`: probes the running daemon.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Exit;
use super::settings::Settings;
use crate::config::Listen;
use crate::http::Readiness;

/// Time limit of a request. The daemon's answers never wait for a publish.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LONGEST: u64 = 1 << 20;

pub(super) fn health(
    settings: &Settings,
    listen: Option<Listen>,
    ready: bool,
    out: &mut impl Write,
) -> Result<Exit> {
    let at = match listen {
        Some(at) => at,
        None => settings.listener()?,
    };
    let (code, body) = get(&at, if ready { "/readyz" } else { "/healthz" })
        .with_context(|| format!("{at}: no answer from the daemon"))?;
    let body = body.trim_end();
    match (code, ready) {
        (200, _) => {
            writeln!(out, "{}", if ready { "ready" } else { "alive" })?;
            Ok(Exit::Done)
        }
        (503, true) => {
            let answer: Readiness = serde_json::from_str(body)
                .with_context(|| format!("{at}: not a readiness answer: {body:?}"))?;
            if answer.not_ready.is_empty() {
                writeln!(out, "not ready")?;
            }
            for reason in &answer.not_ready {
                writeln!(out, "not ready: {reason}")?;
            }
            Ok(Exit::NotReady)
        }
        (503, false) => bail!("{at}: {body}"),
        _ => bail!("{at}: answer {code} instead of 200 or 503: {body:?}"),
    }
}

/// Requests `path`; returns status code and body.
fn get(at: &Listen, path: &str) -> Result<(u16, String)> {
    let answer = match at {
        Listen::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, path)?
        }
        Listen::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, path)?
        }
    };
    let (head, body) = answer.split_once("\r\n\r\n").context("truncated answer")?;
    let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Ok((code.with_context(|| format!("not an HTTP answer: {head:?}"))?, body.to_owned()))
}

fn exchange(mut stream: impl Read + Write, path: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: firewall-agent\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}
