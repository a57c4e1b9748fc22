//! Routing of requests to answers.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tracing::error;

use super::metrics::{CONTENT_TYPE as METRICS, Exporter};
use super::{Counters, SharedState, socket_counters};
use crate::escape::write_json;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PATHS: &str = "not found; paths: /metrics, /healthz, /readyz, /status\n";

/// Handler of all requests.
pub struct RequestHandler {
    shared: Arc<SharedState>,
    exporter: Mutex<Exporter>,
}

/// Answer of `/readyz`. Field names are an interface.
#[derive(Debug, Serialize, Deserialize)]
pub struct Readiness {
    pub ready: bool,
    /// Reasons why not.
    pub not_ready: Vec<String>,
}

impl std::fmt::Debug for RequestHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHandler").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl RequestHandler {
    /// Creates a handler that answers from the shared state and the counters.
    pub fn new(counters: impl Counters + 'static, shared: Arc<SharedState>) -> Self {
        Self { exporter: Mutex::new(Exporter::new(Box::new(counters), Arc::clone(&shared))), shared }
    }

    pub(super) fn shared_state(&self) -> &SharedState {
        &self.shared
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => page(StatusCode::OK, METRICS, self.exporter().metrics()),
            "/healthz" => match self.shared.dead() {
                None => page(StatusCode::OK, TEXT, "alive\n".to_owned()),
                Some(why) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
            },
            "/readyz" => self.readiness(),
            "/status" => self.status(),
            _ => page(StatusCode::NOT_FOUND, TEXT, PATHS.to_owned()),
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        let snapshot = self.shared.snapshot();
        let mut not_ready = snapshot.status.not_ready.clone();
        not_ready.extend(self.shared.dead());
        let ready = snapshot.status.ready && self.shared.dead().is_none();
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(code, &Readiness { ready, not_ready })
    }

    fn status(&self) -> Response<Full<Bytes>> {
        let snapshot = self.shared.snapshot();
        let mut status = snapshot.status.clone();
        if let Some(why) = self.shared.dead() {
            status.ready = false;
            status.not_ready.push(why);
        }
        let exporter = self.exporter();
        match exporter.reasons() {
            Ok(counters) => status.counters = counters,
            Err(error) => status.errors.push(format!("{error:#}")),
        }
        match exporter.sockets() {
            Ok(sockets) => status.socket_counters = socket_counters(sockets, &snapshot.counters),
            Err(error) => status.errors.push(format!("{error:#}")),
        }
        match exporter.memory() {
            Ok(memory) => status.kernel_memory = Some(memory),
            Err(error) => status.errors.push(format!("{error:#}")),
        }
        json(StatusCode::OK, &status)
    }

    fn exporter(&self) -> std::sync::MutexGuard<'_, Exporter> {
        self.exporter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(code: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let mut text = Vec::new();
    match write_json(value, &mut text) {
        Ok(()) => page(code, JSON, text),
        Err(error) => {
            error!(error = error.to_string(), "cannot serialise an answer");
            page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n"))
        }
    }
}

fn page(code: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use anyhow::bail;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::PublishedState;
    use crate::status::{KernelMemory, ReasonCounter, Status};
    use crate::sync::CounterId;
    use firewall_common::Tally;

    struct Unreadable;

    impl Counters for Unreadable {
        fn unrecorded(&self) -> anyhow::Result<u64> {
            Ok(0)
        }

        fn reasons(&self) -> anyhow::Result<Vec<ReasonCounter>> {
            bail!("no counters here")
        }

        fn sockets(&self) -> anyhow::Result<Vec<crate::http::SocketTally>> {
            Ok(Vec::new())
        }

        fn memory(&self) -> anyhow::Result<KernelMemory> {
            Ok(KernelMemory::default())
        }

        fn tally(&self, _: CounterId) -> anyhow::Result<Tally> {
            bail!("no counters here")
        }
    }

    fn shared_state(ready: bool) -> SharedState {
        let shared = SharedState::new(Duration::from_secs(120));
        let not_ready = if ready { Vec::new() } else { vec!["eth0: not there".to_owned()] };
        shared.post(PublishedState {
            status: Status { ready, not_ready, ..Status::default() },
            ..PublishedState::default()
        });
        shared
    }

    fn get(shared: SharedState, path: &str) -> (u16, String) {
        let handler = RequestHandler::new(Unreadable, Arc::new(shared));
        let answer = handler.answer(&Request::get(path).body(()).unwrap());
        let code = answer.status().as_u16();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn liveness_follows_the_loop_and_readiness_the_posted_status() {
        assert_eq!(get(shared_state(false), "/healthz"), (200, "alive\n".to_owned()));
        let (code, body) = get(shared_state(false), "/readyz");
        assert!(code == 503 && body.contains("eth0: not there"), "{code} {body}");
        assert_eq!(get(shared_state(true), "/readyz").0, 200);
        let unknown = shared_state(true);
        unknown.unknown("the pins are gone", BTreeMap::new());
        let (code, body) = get(unknown, "/readyz");
        assert!(code == 503 && body.contains("the pins are gone"), "{code} {body}");
    }

    #[test]
    fn stalled_loop_is_neither_alive_nor_ready() {
        let aged = |seconds| {
            let mut shared = shared_state(true);
            shared.tick();
            shared.age(Duration::from_secs(seconds));
            shared
        };
        for (seconds, expected) in [(25, 200), (35, 503)] {
            for path in ["/healthz", "/readyz"] {
                let (code, body) = get(aged(seconds), path);
                assert_eq!(code, expected, "{path} after {seconds} s: {body}");
                assert!(code == 200 || body.contains("has not ticked for 35 seconds"), "{body}");
            }
            let (code, body) = get(aged(seconds), "/status");
            let status: Status = serde_json::from_str(&body).unwrap();
            assert_eq!((code, status.ready), (200, expected == 200), "{body}");
            assert_eq!(body.contains("has not ticked for 35 seconds"), expected == 503, "{body}");
        }
    }

    #[test]
    fn unreadable_counters_are_reported_beside_other_metrics() {
        let (code, body) = get(shared_state(true), "/metrics");
        assert!(code == 200 && body.contains("firewall_counters_readable 0.0\n"), "{body}");
        assert!(body.contains("firewall_ready 1.0\n") && !body.contains("firewall_packets"), "{body}");
        let (code, body) = get(shared_state(true), "/status");
        assert!(code == 200 && body.contains("no counters here"), "{body}");
    }
}
