//! Interface change events from rtnetlink: report that something changed, without details.

use std::io;

use anyhow::{Context as _, Result};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::{Interest, unix::AsyncFd};

/// Messages are discarded: the kernel may truncate a longer one.
const BUFFER_BYTES: usize = 8 << 10;

/// A subscription to the interface events of the network namespace in which it was made.
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
            socket.bind(&SocketAddr::new(0, libc::RTMGRP_LINK.cast_unsigned()))?;
            socket.set_non_blocking(true)?;
            // SAFETY: the socket owns its descriptor, and nothing closes or replaces it while it is registered.
            Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
        };
        Ok(Self { socket: subscribe().context("cannot receive interface events")? })
    }

    /// Waits until something changed. Later changes are reported by the next call. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel delivers no more events.
    pub async fn changed(&mut self) -> Result<()> {
        loop {
            let mut ready = self.socket.readable().await.context("interface events lost")?;
            if let Ok(drained) = ready.try_io(|socket| drain(socket.get_ref())) {
                return drained.context("interface events lost");
            }
        }
    }
}

/// Discards every queued message.
fn drain(socket: &Socket) -> io::Result<()> {
    let mut some = false;
    let mut buffer = [0u8; BUFFER_BYTES];
    loop {
        match socket.recv(&mut &mut buffer[..], 0) {
            Ok(_) => some = true,
            // Queue overflow: events were lost, and something changed.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => some = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && some => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
