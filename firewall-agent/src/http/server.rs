//! HTTP listeners: one thread, one runtime, bounds on everything that a client can use.

use std::io;
use std::os::unix::net::UnixListener as BlockingListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::request_handler::RequestHandler;
use super::{Counters, SharedState};
use crate::config::Listen;

/// Most connections of one listener at a time; further ones wait in the kernel's queue. The bound is per listener: a
/// flood on one leaves the others reachable.
const CONNECTIONS: usize = 32;
/// Time limit for receiving a whole request.
const REQUEST: Duration = Duration::from_secs(5);
/// Time limit of a connection, whatever its client does.
const CONNECTION: Duration = Duration::from_secs(10);
/// Most bytes of a request's head: the minimum that hyper accepts.
const HEAD: usize = 8192;
/// Most headers of a request.
const HEADERS: usize = 64;
/// Time between two attempts to bind.
const RETRY: Duration = Duration::from_secs(2);
/// Time between two checks of a socket's path.
const NAMED: Duration = Duration::from_secs(1);
const STACK: usize = 512 << 10;

/// Returns `true` if a unix socket's path is gone or leads to another file: no client can connect any more.
pub type SocketLost = Box<dyn Fn() -> bool + Send + Sync>;

/// Binds a unix socket, in place of one that an earlier agent left.
pub type Bind = fn(&Path) -> Result<(BlockingListener, SocketLost)>;

/// Serves on every listener until the process ends. Retries a listener that cannot be bound; until then the log
/// and the shared state report it. Binds a unix socket again after its path was removed, as by a clean-up of /run.
///
/// # Errors
/// When no thread can be started.
pub fn serve(
    listen: Vec<Listen>,
    bind: Bind,
    counters: impl Counters + 'static,
    shared: Arc<SharedState>,
) -> Result<()> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(every(listen, bind, Arc::new(RequestHandler::new(counters, shared))))
            }
            Err(error) => error!(error = error.to_string(), "HTTP server not started"),
        }
    };
    let thread = std::thread::Builder::new().name("http".to_owned()).stack_size(STACK);
    thread.spawn(run).context("cannot start the HTTP thread")?;
    Ok(())
}

async fn every(listen: Vec<Listen>, bind: Bind, handler: Arc<RequestHandler>) {
    let listeners: Vec<_> =
        listen.into_iter().map(|at| tokio::spawn(run_listener(at, bind, Arc::clone(&handler)))).collect();
    for listener in listeners {
        // Each runs until the process ends.
        let _ = listener.await;
    }
}

async fn run_listener(at: Listen, bind: Bind, handler: Arc<RequestHandler>) {
    let name = at.to_string();
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let socket = bound(&at, &name, bind, &handler).await;
        info!(listen = name, "HTTP listener bound");
        tokio::select! {
            () = accept(&socket, &name, &permits, &handler) => return,
            () = socket.removed() => warn!(listen = name, "socket removed from disk, bound again"),
        }
    }
}

/// Retries to bind until it succeeds.
async fn bound(at: &Listen, name: &str, bind: Bind, handler: &RequestHandler) -> Socket {
    loop {
        match Socket::bind(at, bind).await {
            Ok(socket) => {
                handler.shared_state().bound(name, None);
                return socket;
            }
            Err(error) => {
                handler.shared_state().bound(name, Some(format!("listen {at}: {error:#}")));
                sleep(RETRY).await;
            }
        }
    }
}

async fn accept(socket: &Socket, name: &str, permits: &Arc<Semaphore>, handler: &Arc<RequestHandler>) {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
        match socket.accept().await {
            Ok(stream) => {
                let handler = Arc::clone(handler);
                tokio::spawn(async move {
                    converse(stream, handler).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(listen = name, error = error.to_string(), "HTTP connection failed");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Serves one request on a connection.
///
/// # Panics
/// Outside a tokio runtime with a timer.
pub async fn converse(stream: impl AsyncRead + AsyncWrite + Send + Unpin, handler: Arc<RequestHandler>) {
    let answer = service_fn(move |request| {
        let answer = handler.answer(&request);
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = error.to_string(), "HTTP connection ended early"),
        Err(_) => debug!("HTTP connection timed out"),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Socket {
    Unix(UnixListener, SocketLost),
    Tcp(TcpListener),
}

impl Socket {
    async fn bind(at: &Listen, bind: Bind) -> Result<Self> {
        Ok(match at {
            Listen::Unix(path) => {
                let (listener, is_lost) = bind(path)?;
                Self::Unix(UnixListener::from_std(listener)?, is_lost)
            }
            Listen::Tcp(address) => Self::Tcp(TcpListener::bind(address).await.context("cannot bind")?),
        })
    }

    /// Waits until no client can connect any more.
    async fn removed(&self) {
        match self {
            Self::Unix(_, is_lost) => {
                while !is_lost() {
                    sleep(NAMED).await;
                }
            }
            Self::Tcp(_) => std::future::pending().await,
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}
