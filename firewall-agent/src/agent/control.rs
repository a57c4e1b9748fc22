//! The control socket: verbs that reach the running daemon. One JSON line there, one back.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::files::socket::{Name, PRIVATE, bind_at};
use crate::rules::DatabaseId;

/// Longest request, in bytes.
const LONGEST: u64 = 4096;
/// A client that says nothing for so long is not listened to.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two attempts to bind.
const RETRY: Duration = Duration::from_secs(2);
/// Time between two looks at the socket's name on disk.
const NAMED: Duration = Duration::from_secs(1);
/// A publish may take a while.
const ANSWER: Duration = Duration::from_secs(60);

/// What can be asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb", deny_unknown_fields)]
pub enum Verb {
    Forget {
        database: DatabaseId,
        open: bool,
    },
    Rebase {
        database: DatabaseId,
    },
    /// Set the mark of the clock back to this time, or to the synchronised wall clock.
    LowerClock {
        to: Option<Timestamp>,
    },
    /// Take everything down, until `Attach`.
    Detach {},
    Attach {},
    /// Messages about single packets for so many seconds; `None` ends them.
    PacketLog {
        seconds: Option<u64>,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done(String),
    Error(String),
}

/// A verb and who waits for the answer.
#[derive(Debug)]
pub(super) struct Request {
    pub verb: Verb,
    stream: UnixStream,
}

impl From<Result<String>> for Reply {
    fn from(done: Result<String>) -> Self {
        match done {
            Ok(done) => Self::Done(done),
            Err(error) => Self::Error(format!("{error:#}")),
        }
    }
}

impl Request {
    pub async fn reply(mut self, reply: Reply) {
        send(&mut self.stream, &reply).await;
    }
}

/// Asks the daemon; `None` when none listens.
///
/// # Errors
/// When the socket may not be used, or the daemon goes away before it has answered.
pub fn ask(socket: &Path, verb: &Verb) -> Result<Option<Reply>> {
    let asked = || format!("{}: the daemon cannot be asked", socket.display());
    let mut stream = match BlockingStream::connect(socket) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) => {
            return Ok(None);
        }
        connected => connected.with_context(asked)?,
    };
    stream.set_read_timeout(Some(ANSWER))?;
    writeln!(stream, "{}", serde_json::to_string(verb)?).with_context(asked)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).with_context(asked)?;
    serde_json::from_str(&answer).map(Some).with_context(asked)
}

/// The daemon's end of the control socket.
#[derive(Debug)]
pub(super) struct Control {
    requests: Receiver<Request>,
    problem: Arc<Mutex<Option<String>>>,
}

/// Listens, for the agent's own user only. Without a socket the daemon runs all the same, and tries again every two
/// seconds: verbs meanwhile find it locked. A socket whose name on disk is removed is bound again.
///
/// # Panics
/// Outside a tokio runtime with I/O and time.
pub(super) fn listen(path: &Path) -> Control {
    let (sender, requests) = channel(1);
    let problem = Arc::default();
    // The first time at once: whoever sees the daemon run may ask it.
    let first = bind(path, &problem);
    tokio::spawn(attend(path.to_owned(), first, sender, Arc::clone(&problem)));
    Control { requests, problem }
}

impl Control {
    /// The next verb. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// The reason why no verb can be received; `None` while the socket is bound.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A task of its own, so that nothing else that happens makes a client be dropped.
async fn attend(
    path: PathBuf,
    mut bound: Option<(UnixListener, Name)>,
    requests: Sender<Request>,
    problem: Arc<Mutex<Option<String>>>,
) {
    loop {
        if let Some((listener, name)) = bound {
            tokio::select! {
                () = serve(&listener, &requests) => return,
                () = lost(&name) => warn!(socket = %path.display(), "control socket removed from disk, bound again"),
            }
        } else {
            sleep(RETRY).await;
        }
        bound = bind(&path, &problem);
    }
}

/// Binds the socket, or notes why it cannot.
fn bind(path: &Path, problem: &Mutex<Option<String>>) -> Option<(UnixListener, Name)> {
    let bound =
        bind_at(path, PRIVATE).and_then(|(listener, name)| Ok((UnixListener::from_std(listener)?, name)));
    let (bound, error) = match bound {
        Ok(bound) => (Some(bound), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    *problem.lock().unwrap_or_else(PoisonError::into_inner) = error;
    bound
}

/// Waits until nobody can connect any more.
async fn lost(name: &Name) {
    while !name.is_lost() {
        sleep(NAMED).await;
    }
}

/// Hands on each request that makes sense; others are answered here.
async fn serve(listener: &UnixListener, requests: &Sender<Request>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Some(request) = receive(stream).await
                    && requests.send(request).await.is_err()
                {
                    return;
                }
            }
            Err(error) => {
                warn!(error = error.to_string(), "a connection to the control socket failed");
                sleep(PATIENCE).await;
            }
        }
    }
}

async fn receive(mut stream: UnixStream) -> Option<Request> {
    let mut line = String::new();
    let read = async { tokio::io::BufReader::new((&mut stream).take(LONGEST)).read_line(&mut line).await };
    if !matches!(timeout(PATIENCE, read).await, Ok(Ok(1..))) {
        return None;
    }
    let verb = serde_json::from_str(&line).with_context(|| format!("request {:?}", line.trim_end()));
    match verb {
        Ok(verb) => Some(Request { verb, stream }),
        Err(error) => {
            send(&mut stream, &Reply::Error(format!("{error:#}"))).await;
            None
        }
    }
}

async fn send(stream: &mut UnixStream, reply: &Reply) {
    let Ok(mut line) = serde_json::to_vec(reply) else { return };
    line.push(b'\n');
    // Who has gone away does not want to know.
    let _ = timeout(PATIENCE, stream.write_all(&line)).await;
}
