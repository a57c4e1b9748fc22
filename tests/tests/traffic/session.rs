//! An established connection of an allowed source.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use firewall_tests::lab::Host;
use socket2::{Domain, Socket, Type};

/// Bound of an answer, also on a busy machine with a full queue: several retransmissions.
pub const BOUND: Duration = Duration::from_secs(20);

/// Both ends of the connection.
pub struct Session {
    source: IpAddr,
    client: TcpStream,
    server: TcpStream,
}

impl Session {
    /// Connects from this address of a host; closes other connections that wait at the listener.
    pub fn open(from: &Host, source: IpAddr, to: SocketAddr, listener: &TcpListener) -> Self {
        let client = {
            let _inside = from.enter().unwrap();
            Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap()
        };
        client.bind(&SocketAddr::new(source, 0).into()).unwrap();
        let connected = client.connect_timeout(&to.into(), BOUND);
        assert!(connected.is_ok(), "{source}: new connection of an allowed source: {connected:?}");
        let client: TcpStream = client.into();
        let address = client.local_addr().unwrap();
        let started = Instant::now();
        let server = loop {
            match listener.accept() {
                Ok((server, peer)) if (peer.ip().to_canonical(), peer.port()) == (source, address.port()) => {
                    break server;
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(started.elapsed() < BOUND, "{source}: connection not accepted: {error}")
                }
            }
        };
        server.set_nonblocking(false).unwrap();
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
            end.set_read_timeout(Some(BOUND)).unwrap();
        }
        Self { source, client, server }
    }

    /// Sends a question and its answer; returns the time until the answer arrived.
    pub fn round_trip(&mut self) -> Duration {
        let started = Instant::now();
        let (source, mut bytes) = (self.source, *b"question");
        let mut cross = || {
            self.client.write_all(&bytes)?;
            self.server.read_exact(&mut bytes)?;
            self.server.write_all(&bytes)?;
            self.client.read_exact(&mut bytes)
        };
        let crossed = cross();
        assert!(crossed.is_ok(), "{source}: established connection of an allowed source: {crossed:?}");
        started.elapsed()
    }
}
