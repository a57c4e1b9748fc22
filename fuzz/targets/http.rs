//! Any input from a client yields one documented response or none, and the connection ends.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use firewall_agent::http::{Counters, RequestHandler, SharedState, SocketTally, Tally, converse};
use firewall_agent::status::{KernelMemory, ReasonCounter};
use firewall_agent::sync::CounterId;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

/// Success; bad request; no such path; other method; path too long; head too large; not ready, or not alive.
const CODES: [&str; 7] = ["200", "400", "404", "405", "414", "431", "503"];
/// Far more than the longest response.
const MOST_BYTES: usize = 64 << 10;
/// Shorter than the server's request timeout: a connection with a complete request never reaches it.
const PATIENCE: Duration = Duration::from_secs(4);

struct Nothing;

impl Counters for Nothing {
    fn reasons(&self) -> anyhow::Result<Vec<ReasonCounter>> {
        Ok(Vec::new())
    }

    fn unrecorded(&self) -> anyhow::Result<u64> {
        Ok(0)
    }

    fn tally(&self, _: CounterId) -> anyhow::Result<Tally> {
        Ok(Tally::default())
    }

    fn sockets(&self) -> anyhow::Result<Vec<SocketTally>> {
        Ok(Vec::new())
    }

    fn memory(&self) -> anyhow::Result<KernelMemory> {
        Ok(KernelMemory::default())
    }
}

static DESK: LazyLock<Arc<RequestHandler>> = LazyLock::new(|| {
    Arc::new(RequestHandler::new(Nothing, Arc::new(SharedState::new(Duration::from_secs(120)))))
});
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

fuzz_target!(|bytes: &[u8]| {
    let answer = RUNTIME.block_on(async {
        // Small, to split requests and responses into pieces.
        let (ours, theirs) = tokio::io::duplex(61);
        let (mut from, mut to) = tokio::io::split(ours);
        let send = async {
            // The server may close the connection in between.
            let _ = to.write_all(bytes).await;
            let _ = to.shutdown().await;
        };
        let receive = async {
            let mut answer = Vec::new();
            let _ = from.read_to_end(&mut answer).await;
            answer
        };
        let all = async { tokio::join!(send, receive, converse(theirs, Arc::clone(&DESK))).1 };
        tokio::time::timeout(PATIENCE, all).await.expect("the connection ends")
    });
    assert!(answer.len() <= MOST_BYTES, "an answer of {} bytes", answer.len());
    if answer.is_empty() {
        return;
    }
    // On a malformed body the server closes the connection, even within the response.
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return };
    let (head, body) = (std::str::from_utf8(&answer[..end]).expect("a head of text"), &answer[end + 4..]);
    let code = head.split(' ').nth(1).expect("a status code");
    assert!(head.starts_with("HTTP/1.") && CODES.contains(&code), "{head}");
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let most = announced.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    assert!(body.len() <= most, "{head}: {} bytes follow", body.len());
});
