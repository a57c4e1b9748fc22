//! Raw frames to and from an interface of the thread's network namespace.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, setsockopt, sockopt,
};
use nix::sys::socket::{bind, recv, send, socket};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::{setsockopt_impl, sockopt_impl};

const EVERY_PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();
const RECEIVE_BUFFER: usize = 16 << 20;

sockopt_impl!(IgnoreOutgoing, SetOnly, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, bool);

/// A packet socket on one interface. It stays in the namespace in which it was opened.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Opens the interface named `interface`; the socket then receives every incoming frame and no outgoing one.
    ///
    /// # Errors
    /// Without CAP_NET_RAW and CAP_NET_ADMIN, or when there is no such interface in this network namespace.
    pub fn open(interface: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        // Bound to no protocol, the socket receives nothing until it is bound to its interface.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&socket, IgnoreOutgoing, &true)?;
        bind(socket.as_raw_fd(), &link_address(index))?;
        Ok(Self { socket })
    }

    /// Sends one frame, Ethernet header included.
    ///
    /// # Errors
    /// Those of `send(2)`; EMSGSIZE for a frame longer than the MTU allows.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// Returns the next frame that arrives before `deadline`, truncated to 64 KiB; `None` if none does.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub fn receive(&self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let timeout = TimeVal::microseconds(left.as_micros() as i64);
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &timeout)?;
        let mut frame = vec![0; 65_536];
        match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the address of every protocol on the interface numbered `index`, for a packet socket to be bound to.
#[must_use]
pub fn link_address(index: u32) -> LinkAddr {
    let raw = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: EVERY_PROTOCOL,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `raw`, a packet socket's address.
    let address = unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) };
    address.expect("a packet socket's address is accepted as one")
}
