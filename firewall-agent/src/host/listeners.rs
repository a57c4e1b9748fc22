//! Listeners of this network namespace, from /proc/net.

use std::fs;
use std::io;
use std::net::SocketAddr;

use procfs_core::net::{TcpNetEntries, TcpState, UdpNetEntries, UdpState};
use procfs_core::{ExplicitSystemInfo, FromBufReadSI as _, ProcResult};

use crate::audit::Listener;
use crate::rules::Protocol;

/// File and protocol.
const TABLES: [(&str, Protocol); 4] = [
    ("/proc/self/net/tcp", Protocol::Tcp),
    ("/proc/self/net/tcp6", Protocol::Tcp),
    ("/proc/self/net/udp", Protocol::Udp),
    ("/proc/self/net/udp6", Protocol::Udp),
];
/// The byte order in which the kernel prints addresses. The other fields are not used by these tables.
const SYSTEM: ExplicitSystemInfo = ExplicitSystemInfo {
    is_little_endian: cfg!(target_endian = "little"),
    boot_time_secs: 0,
    ticks_per_second: 0,
    page_size: 0,
};

/// Reads every listener, once.
///
/// # Errors
/// When a table cannot be read, or has a malformed line. Without IPv6, its tables are missing, which is accepted.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for (path, protocol) in TABLES {
        let table = match fs::read(path) {
            Ok(table) => table,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with('6') => continue,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
        };
        // The error of the parser names lines of its own source.
        let listening = listening(&table, protocol)
            .map_err(|_| io::Error::other(format!("{path}: not a socket table")))?;
        for address in listening {
            let listener = Listener { address: address.ip().to_canonical(), port: address.port(), protocol };
            if !found.contains(&listener) {
                found.push(listener);
            }
        }
    }
    Ok(found)
}

/// Local addresses of the sockets in a table that accept packets from any peer.
fn listening(table: &[u8], protocol: Protocol) -> ProcResult<Vec<SocketAddr>> {
    Ok(match protocol {
        Protocol::Tcp => {
            let sockets = TcpNetEntries::from_buf_read(table, &SYSTEM)?.0.into_iter();
            sockets.filter(|one| one.state == TcpState::Listen).map(|one| one.local_address).collect()
        }
        // A connected socket is in the state `Established`.
        Protocol::Udp => {
            let sockets = UdpNetEntries::from_buf_read(table, &SYSTEM)?.0.into_iter();
            sockets.filter(|one| one.state == UdpState::Close).map(|one| one.local_address).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";
    const REST: &str = "00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0";

    /// The addresses in a table of these sockets: local and remote address, and state.
    fn found(protocol: Protocol, sockets: &[&str]) -> Option<Vec<String>> {
        let line = |socket: &&str| format!("   0: {socket} {REST}\n");
        let table = format!("{HEAD}{}", sockets.iter().map(line).collect::<String>());
        let found = listening(table.as_bytes(), protocol).ok()?;
        Some(found.into_iter().map(|one| format!("{} {}", one.ip().to_canonical(), one.port())).collect())
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listening_sockets_are_returned() {
        let listens = "0100007F:1538 00000000:0000 0A";
        let connected = "0A0200C0:758C 140200C0:C350 01";
        let local = Some(vec!["127.0.0.1 5432".to_owned()]);
        assert_eq!(found(Protocol::Tcp, &[listens, connected]), local);
        let (unconnected, connected) = ("0100007F:1538 00000000:0000 07", "0A0200C0:758C 140200C0:C350 01");
        assert_eq!(found(Protocol::Udp, &[unconnected, connected]), local);
        assert_eq!(found(Protocol::Tcp, &[]), Some(Vec::new()));
        // Every state of the kernel is accepted, from TCP_ESTABLISHED to TCP_NEW_SYN_RECV.
        for state in 1..=12 {
            let socket = format!("0100007F:1538 00000000:0000 {state:02X}");
            assert!(found(Protocol::Tcp, &[&socket]).is_some(), "{socket}");
        }
    }

    #[test]
    fn a_malformed_line_is_an_error() {
        for cut in ["0100007F:1538", "0100007:1538 00000000:0000 0A", "0100007F1538 00000000:0000 0A"] {
            assert_eq!(found(Protocol::Tcp, &[cut]), None, "{cut}");
            let line = format!("{HEAD}   0: {cut}\n");
            assert!(listening(line.as_bytes(), Protocol::Tcp).is_err(), "{cut}");
        }
        for odd in ["0100007F:15380 00000000:0000 0A", "01\u{e9}007F:1538 00000000:0000 0A", "x x x", ""] {
            assert_eq!(found(Protocol::Tcp, &[odd]), None, "{odd}");
            assert_eq!(found(Protocol::Udp, &[odd]), None, "{odd}");
        }
        assert!(listening(&[HEAD.as_bytes(), b"\xff\xff\n"].concat(), Protocol::Tcp).is_err());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_decoded_per_32_bit_word() {
        for (hex, address) in [
            ("0A0200C0", Some("192.0.2.10")),
            ("00000000", Some("0.0.0.0")),
            ("B80D01200000000000000000010000000", None),
            ("B80D0120000000000000000001000000", Some("2001:db8::1")),
            ("00000000000000000000000001000000", Some("::1")),
            ("0000000000000000FFFF00000A0200C0", Some("192.0.2.10")),
        ] {
            let expected = address.map(|address| vec![format!("{address} 5432")]);
            assert_eq!(found(Protocol::Tcp, &[&format!("{hex}:1538 {hex}:0000 0A")]), expected, "{hex}");
        }
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        let found = listeners().unwrap();
        let has = |port| found.iter().any(|one| one.port == port && one.address == local.ip());
        assert!(has(local.port()), "{local}: not in {found:?}");
    }
}
