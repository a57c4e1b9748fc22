//! Queue of log lines: logging never waits for the reader of stderr. A thread writes the lines.
//!
//! `non_blocking` of tracing-appender bounds the number of lines, not their bytes, and does not report whether a line
//! that reports dropped ones has room.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most queued bytes. Every database of a host may log at once.
const ROOM: usize = 1 << 20;

/// Queue, shared by all its clones. Each write is one line, which is queued whole or dropped and counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line left the queue and is not written yet.
    writing: bool,
    dropped: u64,
}

impl Queue {
    /// Writes lines forever, in their order.
    pub fn write_to(&self, mut out: impl Write) -> ! {
        loop {
            let line = self.next();
            let written = out.write_all(&line).and_then(|()| out.flush());
            let mut waiting = self.lock();
            waiting.writing = false;
            waiting.dropped += u64::from(written.is_err());
            self.0.changed.notify_all();
        }
    }

    /// Number of dropped lines since the last call; 0 as long as a line that reports them would have no room.
    pub fn take_dropped(&self) -> u64 {
        if self.has_room() { std::mem::take(&mut self.lock().dropped) } else { 0 }
    }

    pub fn has_room(&self) -> bool {
        self.lock().bytes < ROOM / 2
    }

    /// Waits until everything is written, not longer than `patience`.
    pub fn drain(&self, patience: Duration) {
        let is_left = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        // Lines without a reader are lost.
        let _ = self.0.changed.wait_timeout_while(self.lock(), patience, is_left);
    }

    fn next(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writing = true;
                return line;
            }
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > ROOM {
            waiting.dropped += 1;
        } else {
            waiting.bytes += line.len();
            waiting.lines.push_back(line.to_vec());
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
