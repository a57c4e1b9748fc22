//! Every frame that crosses one end of a link, in both directions.

use std::os::fd::{AsRawFd as _, OwnedFd};

use firewall_tests::lab::{Host, INTERFACE};
use firewall_tests::packets::link_address;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockType, bind, recvfrom, setsockopt, socket, sockopt,
};

/// Holds the frames of the longest pause between two calls of [`Tap::receive`].
const RECEIVE_BUFFER: usize = 256 << 20;
const LONGEST: usize = 65_536;

/// A packet socket on a host's interface. It sees incoming frames after a native XDP program.
pub struct Tap {
    socket: OwnedFd,
    frame: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

impl Tap {
    pub fn open(host: &Host) -> Self {
        let _inside = host.enter().unwrap();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).unwrap();
        let interface = if_nametoindex(INTERFACE).unwrap();
        bind(socket.as_raw_fd(), &link_address(interface)).unwrap();
        Self { socket, frame: vec![0; LONGEST] }
    }

    /// Passes each waiting frame to `each`; returns their number.
    pub fn receive(&mut self, mut each: impl FnMut(Direction, &[u8])) -> usize {
        let mut frames = 0;
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut self.frame) {
                Ok((length, from)) => {
                    let is_out = from.unwrap().pkttype() == libc::PACKET_OUTGOING;
                    let direction = if is_out { Direction::Out } else { Direction::In };
                    each(direction, &self.frame[..length]);
                    frames += 1;
                }
                Err(Errno::EAGAIN) => return frames,
                Err(error) => panic!("packet socket: {error}"),
            }
        }
    }
}
