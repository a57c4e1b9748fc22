//! `firewall-agent health`: probes the running daemon.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Exit;
use super::daemon_http::get;
use super::settings::Settings;
use crate::config::Listen;
use crate::http::Readiness;

/// Time limit of a request. The daemon's answers never wait for a publish.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let (code, body) = get(&at, if ready { "/readyz" } else { "/healthz" }, PATIENCE)?;
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
