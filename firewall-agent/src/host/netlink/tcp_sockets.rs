//! TCP sockets of this network namespace, by sock_diag: lists listeners and sessions, and resets sessions.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result};
use netlink_packet_core::{Emitable as _, Parseable as _, parse_u8};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, INET_DIAG_SKV6ONLY, IPPROTO_TCP, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::link::attributes;
use super::request::{Message, Orders, dump_each};

/// `struct inet_diag_msg`, in bytes.
const HEADER: usize = 72;
// Of <linux/inet_diag.h>: the attribute with the program that selects sockets, and operations of that program.
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_NOP: u8 = 0;
const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_S_GE: u8 = 2;
const INET_DIAG_BC_S_LE: u8 = 3;
/// Most ranges of ports that the kernel compares with each socket.
const MOST_RANGES: usize = 32;

/// FIN_WAIT1, FIN_WAIT2, LAST_ACK and CLOSING, as the kernel numbers the states: a process may have closed the socket. The
/// kernel lists TIME_WAIT sockets that were in FIN_WAIT2 with that state.
const CLOSING: [u8; 4] = [4, 5, 9, 11];

/// A TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSocket {
    family: u8,
    id: SocketId,
    /// An IPv6 listener that accepts no IPv4.
    pub v6_only: bool,
    /// Its process has closed it, and the kernel alone ends it.
    is_orphan: bool,
}

impl TcpSocket {
    /// As the socket has it: an address of IPv4 is mapped at an IPv6 socket.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.id.source_address, self.id.source_port)
    }

    /// As the socket has it.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.id.destination_address, self.id.destination_port)
    }

    /// Index of the interface to which the socket is bound; 0 for none.
    #[must_use]
    pub fn bound(&self) -> u32 {
        self.id.interface_id
    }

    fn parse(body: &[u8]) -> Result<Self> {
        let header = InetResponseHeader::parse(body).context("short answer")?;
        let list = attributes(body.get(HEADER..).unwrap_or_default())?;
        let v6_only = list.iter().find(|attribute| attribute.kind() == INET_DIAG_SKV6ONLY);
        let v6_only = v6_only.map(|attribute| parse_u8(attribute.value())).transpose()?;
        Ok(Self {
            family: header.family,
            v6_only: v6_only.is_some_and(|is| is != 0),
            // A session that no process has accepted has no inode, either.
            is_orphan: header.inode == 0 && CLOSING.contains(&header.state),
            id: header.socket_id,
        })
    }

    fn order(&self) -> Message {
        let request = request(self.family, StateFlags::empty(), self.id.clone());
        Message { kind: SOCK_DESTROY, body: request }
    }
}

/// Passes on each listener at these ports, which are sorted and do not overlap.
///
/// # Errors
/// When the kernel refuses, or the reply is malformed.
pub fn each_listener(ports: &[RangeInclusive<u16>], each: impl FnMut(TcpSocket)) -> Result<()> {
    list(StateFlags::LISTEN, ports, each).context("cannot list listeners by sock_diag (module tcp_diag)")
}

/// Passes on each session whose local port is one of these, which are sorted and do not overlap: in every state from an
/// unfinished handshake on, except TIME_WAIT and orphans. Those hold no locks, end by their own timers, and before Linux
/// 6.11 (bac76cf89816) a destroyed orphan may stay forever.
///
/// # Errors
/// When the kernel refuses, or the reply is malformed.
pub fn each_session(ports: &[RangeInclusive<u16>], mut each: impl FnMut(TcpSocket)) -> Result<()> {
    let states = StateFlags::ESTABLISHED
        | StateFlags::SYN_RECV
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2
        | StateFlags::CLOSE_WAIT
        | StateFlags::LAST_ACK
        | StateFlags::CLOSING;
    let each = |socket: TcpSocket| {
        if !socket.is_orphan {
            each(socket)
        }
    };
    list(states, ports, each).context("cannot list TCP sessions by sock_diag (module tcp_diag)")
}

fn list(states: StateFlags, ports: &[RangeInclusive<u16>], mut each: impl FnMut(TcpSocket)) -> Result<()> {
    let (Some(first), Some(last)) = (ports.first(), ports.last()) else { return Ok(()) };
    let whole = [*first.start()..=*last.end()];
    let program = program(if ports.len() > MOST_RANGES { &whole } else { ports })?;
    for (family, id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let body = [request(family, states.clone(), id), program.clone()].concat();
        dump_each(NETLINK_SOCK_DIAG, Message { kind: SOCK_DIAG_BY_FAMILY, body }, |message| {
            let socket = TcpSocket::parse(&message.body)?;
            if ports.iter().any(|range| range.contains(&socket.id.source_port)) {
                each(socket);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn request(family: u8, states: StateFlags, socket_id: SocketId) -> Vec<u8> {
    let extensions = ExtensionFlags::empty();
    let request = InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id };
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut bytes);
    bytes
}

/// The attribute with the program that selects local ports in these ranges. For each range: the next one unless the port
/// is at least its start; the next one unless the port is at most its end; the end of the program, which selects the
/// socket. Behind the last range the program jumps past its end, which does not.
fn program(ranges: &[RangeInclusive<u16>]) -> Result<Vec<u8>> {
    const RANGE: usize = 20;
    let total = ranges.len() * RANGE;
    let mut attribute = u16::try_from(4 + total)?.to_ne_bytes().to_vec();
    attribute.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    let mut operation = |code: u8, yes: u8, no: usize| -> Result<()> {
        attribute.extend([code, yes]);
        attribute.extend(u16::try_from(no)?.to_ne_bytes());
        Ok(())
    };
    for (number, range) in ranges.iter().enumerate() {
        let left = total - number * RANGE;
        let next = if left == RANGE { left + 4 } else { RANGE };
        operation(INET_DIAG_BC_S_GE, 8, next)?;
        operation(INET_DIAG_BC_NOP, 0, usize::from(*range.start()))?;
        operation(INET_DIAG_BC_S_LE, 8, next - 8)?;
        operation(INET_DIAG_BC_NOP, 0, usize::from(*range.end()))?;
        operation(INET_DIAG_BC_JMP, 4, left - 16)?;
    }
    Ok(attribute)
}

/// Resets sessions: the server's next call on the socket fails with ECONNABORTED, and the peer gets a RST.
#[derive(Debug)]
pub struct SocketReset(Orders);

impl SocketReset {
    /// Fails where the kernel cannot destroy sockets.
    ///
    /// # Errors
    /// The kernel refuses, without CONFIG_INET_DIAG_DESTROY by EOPNOTSUPP.
    pub fn new() -> Result<Self> {
        let reset = Self(Orders::new(NETLINK_SOCK_DIAG)?);
        let unspecified =
            TcpSocket { family: AF_INET, id: SocketId::new_v4(), v6_only: false, is_orphan: false };
        match reset.reset(&unspecified) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Err(error).context("the kernel lacks CONFIG_INET_DIAG_DESTROY")
            }
            Err(error) => Err(error).context("cannot reset TCP sessions by sock_diag"),
            Ok(_) => Ok(reset),
        }
    }

    /// Resets one session; returns `false` if it has ended meanwhile. The kernel compares the socket's cookie: a later
    /// session with the same addresses stays.
    ///
    /// # Errors
    /// The kernel refuses, without CAP_NET_ADMIN by EPERM.
    pub fn reset(&self, socket: &TcpSocket) -> io::Result<bool> {
        match self.0.request(socket.order()) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Runs a program as `inet_diag_bc_run` does.
    fn selects(program: &[u8], port: u16) -> bool {
        let mut at = 4;
        while at < program.len() {
            let number = |at: usize| u16::from_ne_bytes([program[at + 2], program[at + 3]]);
            let yes = match program[at] {
                INET_DIAG_BC_S_GE => port >= number(at + 4),
                INET_DIAG_BC_S_LE => port <= number(at + 4),
                code => code == INET_DIAG_BC_NOP,
            };
            at += if yes { usize::from(program[at + 1]) } else { usize::from(number(at)) };
        }
        at == program.len()
    }

    #[test]
    fn program_selects_the_ranges() {
        for ranges in [vec![5432..=5432], vec![80..=90, 5432..=5432, 30_000..=32_767], vec![1..=65_535]] {
            let program = program(&ranges).unwrap();
            for port in [0, 1, 79, 80, 90, 91, 5431, 5432, 5433, 29_999, 30_000, 32_767, 32_768, 65_535] {
                let expected = ranges.iter().any(|range| range.contains(&port));
                assert_eq!(selects(&program, port), expected, "{ranges:?} {port}");
            }
        }
    }

    /// The kernel accepts the programs, and lists what they select.
    #[test]
    fn the_kernels_sockets_are_listed() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).unwrap();
            let peer = client.local_addr().unwrap();
            let port = local.port();
            let many: Vec<_> = (1..60).map(|low| low * 2..=low * 2).chain([port..=port]).collect();
            for ports in [vec![port..=port], vec![1..=1, port..=port], many] {
                let (mut listeners, mut sessions) = (Vec::new(), Vec::new());
                each_listener(&ports, |socket| listeners.push(socket.local())).unwrap();
                each_session(&ports, |socket| sessions.push((socket.local(), socket.peer()))).unwrap();
                assert_eq!(listeners, [local], "{address}");
                assert_eq!(sessions, [(local, peer)], "{address}");
            }
            let mut others = Vec::new();
            each_listener(&[port - 1..=port - 1], |socket| others.push(socket.local())).unwrap();
            assert!(!others.contains(&local), "the control");
        }
    }

    #[test]
    fn listener_of_ipv6_only_is_distinguished() {
        use nix::sys::socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, getsockname, listen, setsockopt,
            socket, sockopt::Ipv6V6Only,
        };
        for v6_only in [false, true] {
            let listener =
                socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
            setsockopt(&listener, Ipv6V6Only, &v6_only).unwrap();
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&listener);
            bind(descriptor, &SockaddrIn6::from("[::]:0".parse::<std::net::SocketAddrV6>().unwrap()))
                .unwrap();
            listen(&listener, Backlog::new(1).unwrap()).unwrap();
            let port = getsockname::<SockaddrIn6>(descriptor).unwrap().port();
            let mut found = Vec::new();
            each_listener(&[port..=port], |socket| found.push((socket.local().ip(), socket.v6_only)))
                .unwrap();
            assert_eq!(found, [(std::net::Ipv6Addr::UNSPECIFIED.into(), v6_only)]);
        }
    }
}
