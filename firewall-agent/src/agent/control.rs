//! The control socket: verbs for the running daemon. One JSON line per request and per reply.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::files::lock::Lock;
use crate::files::socket::{Name, PRIVATE, bind_at};
use crate::rules::DatabaseId;
use crate::sync::{Expiry, OverlayAction, OverlayId};

/// Longest request, in bytes.
const LONGEST: u64 = 4096;
/// A client that sends nothing for this long is disconnected.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two attempts to bind.
const RETRY: Duration = Duration::from_secs(2);
/// Time between two checks of the socket's name on disk.
const NAMED: Duration = Duration::from_secs(1);
/// Longest wait for a reply: a publish may take a while.
const ANSWER: Duration = Duration::from_secs(60);

/// Longest wait for the socket of a daemon that starts, and time between two attempts.
const STARTING: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_millis(50);

/// Requests to the daemon.
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
    /// Lowers the clock mark to this time, or to the synchronised wall clock.
    LowerClock {
        to: Option<Timestamp>,
    },
    /// Detaches every interface, until `Attach`.
    Detach {},
    Attach {},
    /// Adds an entry to the overlay.
    AddOverlay {
        action: OverlayAction,
        expiry: Expiry,
        note: String,
    },
    /// Drops entries of the overlay.
    DropOverlay {
        entries: Vec<OverlayId>,
    },
    /// Acknowledges the changes of managed ranges.
    AcknowledgeRanges {},
    /// Starts the packet log for this number of seconds; `None` ends it.
    PacketLog {
        seconds: Option<u64>,
    },
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done(String),
    Error(String),
}

/// A verb with the connection for its reply.
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

/// Sends a verb to the daemon; `None` when none listens. Waits a few seconds for one that owns the state directory: a
/// daemon that starts has attached before it listens.
///
/// # Errors
/// The socket may not be used, or the daemon disconnects before its reply.
pub fn send_verb(socket: &Path, state_dir: &Path, verb: &Verb) -> Result<Option<Reply>> {
    let start = Instant::now();
    loop {
        let reply = try_send(socket, verb)?;
        if reply.is_some() || Lock::owner(state_dir).is_none() || start.elapsed() > STARTING {
            return Ok(reply);
        }
        thread::sleep(ATTEMPT);
    }
}

fn try_send(socket: &Path, verb: &Verb) -> Result<Option<Reply>> {
    let cannot_talk = || format!("{}: cannot talk to the daemon", socket.display());
    let mut stream = match BlockingStream::connect(socket) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) => {
            return Ok(None);
        }
        connected => connected.with_context(cannot_talk)?,
    };
    stream.set_read_timeout(Some(ANSWER))?;
    writeln!(stream, "{}", serde_json::to_string(verb)?).with_context(cannot_talk)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).with_context(cannot_talk)?;
    serde_json::from_str(&answer).map(Some).with_context(cannot_talk)
}

/// The daemon's end of the control socket.
#[derive(Debug)]
pub(super) struct Control {
    requests: Receiver<Request>,
    problem: Arc<Mutex<Option<String>>>,
}

/// Listens, for the agent's own user only. Without a socket the daemon runs anyway, and retries every two seconds:
/// verbs meanwhile find it locked. Binds again when the socket's name is removed from disk.
///
/// # Panics
/// Outside a tokio runtime with I/O and time.
pub(super) fn listen(path: &Path) -> Control {
    let (sender, requests) = channel(1);
    let problem = Arc::default();
    // Binds at once the first time: a client that sees the daemon run may connect.
    let first = bind(path, &problem);
    tokio::spawn(run_socket(path.to_owned(), first, sender, Arc::clone(&problem)));
    Control { requests, problem }
}

impl Control {
    /// The next verb. Cancel-safe.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// The reason that no verb can be received; `None` while the socket is bound.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs as a task of its own, so that no other event drops a client.
async fn run_socket(
    path: PathBuf,
    mut bound: Option<(UnixListener, Name)>,
    requests: Sender<Request>,
    problem: Arc<Mutex<Option<String>>>,
) {
    loop {
        if let Some((listener, name)) = bound {
            tokio::select! {
                () = serve(&listener, &requests) => return,
                () = removed(&name) => warn!(socket = %path.display(), "control socket removed from disk, bound again"),
            }
        } else {
            sleep(RETRY).await;
        }
        bound = bind(&path, &problem);
    }
}

/// Binds the socket, or stores the error.
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

/// Waits until clients can no longer connect.
async fn removed(name: &Name) {
    while !name.is_lost() {
        sleep(NAMED).await;
    }
}

/// Forwards each valid request; answers the others itself.
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
                warn!(error = error.to_string(), "control connection failed");
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
    // A client that has disconnected needs no reply.
    let _ = timeout(PATIENCE, stream.write_all(&line)).await;
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as BlockingListener;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn a_command_waits_for_a_daemon_that_starts() {
        let dir = tempdir().unwrap();
        let socket = dir.path().join("control");
        let lock = Lock::take(dir.path()).unwrap();
        let daemon = thread::spawn({
            let socket = socket.clone();
            move || {
                thread::sleep(4 * ATTEMPT);
                let (mut stream, _) = BlockingListener::bind(socket).unwrap().accept().unwrap();
                // Closed with an unread request, the socket would reset the connection and drop the reply.
                BufReader::new(&stream).read_line(&mut String::new()).unwrap();
                let reply = serde_json::to_string(&Reply::Done("attached".to_owned())).unwrap();
                writeln!(stream, "{reply}").unwrap();
                lock
            }
        });
        let reply = send_verb(&socket, dir.path(), &Verb::Attach {}).unwrap();
        assert_eq!(reply, Some(Reply::Done("attached".to_owned())));
        drop(daemon.join().unwrap());
        let start = Instant::now();
        assert_eq!(send_verb(&dir.path().join("none"), dir.path(), &Verb::Attach {}).unwrap(), None);
        assert!(start.elapsed() < STARTING, "no daemon owns the directory, and the command waited for one");
    }
}
