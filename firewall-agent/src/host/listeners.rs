//! Listeners of this network namespace, from /proc/net.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::audit::Listener;
use crate::rules::Protocol;

/// File, protocol, and the state of a socket that accepts packets from any peer (TCP_LISTEN, TCP_CLOSE).
const TABLES: [(&str, Protocol, &str); 4] = [
    ("/proc/self/net/tcp", Protocol::Tcp, "0A"),
    ("/proc/self/net/tcp6", Protocol::Tcp, "0A"),
    ("/proc/self/net/udp", Protocol::Udp, "07"),
    ("/proc/self/net/udp6", Protocol::Udp, "07"),
];

/// Reads every listener, once.
///
/// # Errors
/// When a table cannot be read, or has a malformed line. Without IPv6, its tables are missing, which is accepted.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for (path, protocol, state) in TABLES {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with('6') => continue,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
        };
        let listening = listening(&text, protocol, state);
        let listening = listening.ok_or_else(|| io::Error::other(format!("{path}: not a socket table")))?;
        for listener in listening {
            if !found.contains(&listener) {
                found.push(listener);
            }
        }
    }
    Ok(found)
}

/// Parses a table; `None` if a line is malformed.
fn listening(table: &str, protocol: Protocol, state: &str) -> Option<Vec<Listener>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, is) = (fields.next()?, fields.next()?, fields.next()?);
        if is == state {
            let (address, port) = local.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            found.push(Listener { address: address_of(address)?, port, protocol });
        }
    }
    Some(found)
}

/// Parses an address. The kernel prints words of 32 bits, each as a number in the byte order of this machine.
fn address_of(hex: &str) -> Option<IpAddr> {
    if !hex.len().is_multiple_of(8) {
        return None;
    }
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_those_who_listen_are_found() {
        let table = format!(
            "{HEAD}   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
             1: 0A0200C0:758C 140200C0:C350 01 00000000:00000000 00:00000000 00000000     0\n"
        );
        let listener =
            Listener { address: "127.0.0.1".parse().unwrap(), port: 5432, protocol: Protocol::Tcp };
        assert_eq!(listening(&table, Protocol::Tcp, "0A"), Some(vec![listener]));
        assert_eq!(listening(HEAD, Protocol::Tcp, "0A"), Some(Vec::new()));
        for cut in ["   0: 0100007F:1538", "   0: 0100007:1538 0:0 0A", "   0: 0100007F1538 0:0 0A"] {
            assert_eq!(listening(&format!("{HEAD}{cut}\n"), Protocol::Tcp, "0A"), None, "{cut}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_word_by_word() {
        for (hex, address) in [
            ("0A0200C0", "192.0.2.10"),
            ("00000000", "0.0.0.0"),
            ("B80D01200000000000000000010000000", ""),
            ("B80D0120000000000000000001000000", "2001:db8::1"),
            ("00000000000000000000000001000000", "::1"),
            ("0000000000000000FFFF00000A0200C0", "192.0.2.10"),
        ] {
            assert_eq!(address_of(hex), address.parse().ok(), "{hex}");
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
