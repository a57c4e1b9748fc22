//! Events that end the time between two screens.

use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Reason to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Due,
    /// The terminal has another size.
    Resized,
    Ended,
}

/// Waits for the next screen, a signal or a key. Signals are blocked meanwhile: each screen is written whole.
#[derive(Debug)]
pub(super) struct Waker {
    signals: SignalFd,
    /// The terminal of standard input is read for `q`.
    reads_keys: bool,
}

impl Waker {
    /// Blocks SIGINT and SIGTERM, and with a whole screen SIGWINCH.
    pub fn new(in_place: bool) -> Result<Self> {
        let mut blocked: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        if in_place {
            blocked.add(Signal::SIGWINCH);
        }
        blocked.thread_block().context("cannot block signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&blocked, flags).context("cannot receive signals")?;
        Ok(Self { signals, reads_keys: in_place && io::stdin().is_terminal() })
    }

    pub fn wait(&self, due: Instant) -> Result<Wake> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let stdin = io::stdin();
            let mut sources = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if self.reads_keys {
                sources.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut sources, timeout) {
                Ok(0) if Instant::now() >= due => return Ok(Wake::Due),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot wait for signals"),
            }
            let has_key = sources.get(1).and_then(PollFd::any).unwrap_or(false);
            match self.signals.read_signal().context("cannot read a signal")? {
                Some(signal) if signal.ssi_signo == Signal::SIGWINCH as u32 => return Ok(Wake::Resized),
                Some(_) => return Ok(Wake::Ended),
                None if has_key && is_quit()? => return Ok(Wake::Ended),
                None => {}
            }
        }
    }
}

/// Reads the typed keys: `q`, or the end of the terminal.
fn is_quit() -> Result<bool> {
    let mut keys = [0; 64];
    let length = io::stdin().lock().read(&mut keys).context("cannot read the terminal")?;
    Ok(length == 0 || keys[..length].contains(&b'q'))
}
