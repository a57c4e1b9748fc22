//! Client of the daemon's HTTP server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread::spawn;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::config::Listen;

/// Most bytes of an answer: the status of a full host has less than 1 MiB.
const LONGEST: u64 = 16 << 20;

/// Requests `path`; returns status code and body. The whole request takes at most `patience`, whatever the daemon does.
///
/// # Errors
/// No answer in time, or an answer that is not HTTP; the error names the listener.
pub(super) fn get(at: &Listen, path: &'static str, patience: Duration) -> Result<(u16, String)> {
    let (sender, receiver) = channel();
    let listener = at.clone();
    // A blocked thread ends with the process. Even a connect can block: when the daemon no longer accepts.
    spawn(move || sender.send(ask(&listener, path)));
    let answer = receiver
        .recv_timeout(patience)
        .map_err(|_| anyhow!("nothing within {} s", patience.as_secs()))
        .and_then(|answer| answer);
    answer.with_context(|| format!("{at}: no answer from the daemon"))
}

fn ask(at: &Listen, path: &str) -> Result<(u16, String)> {
    let answer = match at {
        Listen::Unix(socket) => exchange(UnixStream::connect(socket)?, path)?,
        Listen::Tcp(address) => exchange(TcpStream::connect(address)?, path)?,
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[test]
    fn daemon_that_accepts_or_answers_nothing_delays_a_request_by_the_patience_only() {
        let dir = tempfile::tempdir().unwrap();
        let at = Listen::Unix(dir.path().join("http.sock"));
        let Listen::Unix(path) = &at else { return };
        let absent = get(&at, "/status", PATIENCE).unwrap_err();
        assert!(format!("{absent:#}").contains("No such file"), "{absent:#}");

        let listener = UnixListener::bind(path).unwrap();
        let started = Instant::now();
        let silent = get(&at, "/status", PATIENCE).unwrap_err();
        let took = started.elapsed();
        assert!(
            format!("{silent:#}").contains("no answer from the daemon: nothing within 1 s"),
            "{silent:#}"
        );
        assert!(took >= PATIENCE && took < 3 * PATIENCE, "{took:?}");

        // The control: the same socket with a server.
        spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut request) = (stream.unwrap(), [0; 1024]);
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nthe body");
            }
        });
        assert_eq!(get(&at, "/status", PATIENCE).unwrap(), (200, "the body".to_owned()));
    }
}
