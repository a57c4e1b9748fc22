//! Interfaces that come, go, or change, as the kernel announces them: says when it is worth looking, not what changed.

use std::io;

use anyhow::{Context as _, Result};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::{Interest, unix::AsyncFd};

/// The group of messages about interfaces.
const RTMGRP_LINK: u32 = 1;
/// One message fits, and what does not fit is not read.
const BUFFER_BYTES: usize = 8 << 10;

/// A subscription to the interfaces of the network namespace in which it was made.
#[derive(Debug)]
pub struct LinkEvents {
    socket: AsyncFd<Socket>,
}

impl LinkEvents {
    /// Subscribes.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn new() -> Result<Self> {
        let subscribe = || -> io::Result<AsyncFd<Socket>> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, RTMGRP_LINK))?;
            socket.set_non_blocking(true)?;
            // SAFETY: the socket owns its descriptor, and nothing closes or replaces it while it is registered.
            Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
        };
        Ok(Self { socket: subscribe().context("events of interfaces cannot be received")? })
    }

    /// Waits until something changed. What changes after this returns is reported by the next call. May be dropped and
    /// called again at any time.
    ///
    /// # Errors
    /// When the kernel gives no more events.
    pub async fn changed(&mut self) -> Result<()> {
        loop {
            let mut ready = self.socket.readable().await.context("events of interfaces are lost")?;
            if let Ok(drained) = ready.try_io(|socket| drain(socket.get_ref())) {
                return drained.context("events of interfaces are lost");
            }
        }
    }
}

/// Takes every message that is there.
fn drain(socket: &Socket) -> io::Result<()> {
    let mut some = false;
    let mut buffer = [0u8; BUFFER_BYTES];
    loop {
        match socket.recv(&mut &mut buffer[..], 0) {
            Ok(_) => some = true,
            // Too many at once: what was lost is found by looking.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => some = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && some => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
