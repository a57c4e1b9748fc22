//! A database host, clients on its filtered link, and sessions between them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use firewall_tests::lab::{Builder, Host, RuleFile, TestHost, eventually};
use socket2::{Domain, Socket, Type};

pub const DATABASE: &str = "orders";
/// Guarded ports, of which the database has both.
pub const PORT: u16 = 5432;
pub const MAPPED: u16 = 30_432;
pub const SERVERS: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
/// Clients of both families: those that keep their access, and those that lose it.
pub const FRIENDS: [&str; 2] = ["192.0.2.20", "2001:db8:2::20"];
pub const REVOKED: [&str; 2] = ["192.0.2.21", "2001:db8:2::21"];
pub const RESET: &str = "revoke_sessions: reset\nallow_monitor: true\n";
pub const KEEP: &str = "allow_monitor: true\n";

/// A packet crosses a veth within microseconds, and a refused one never arrives.
const REFUSED: Duration = Duration::from_millis(150);
const BOUND: Duration = Duration::from_secs(20);

/// The hosts, without an agent.
pub fn stopped(config: &'static str) -> TestHost {
    built(TestHost::builder().config(config).rules(everyone(1)))
}

pub fn built(builder: Builder<'_>) -> TestHost {
    let clients = ["192.0.2.20/24", "192.0.2.21/24", "2001:db8:2::20/64", "2001:db8:2::21/64"];
    builder.clients(&clients).build()
}

/// An agent that allows everyone.
pub fn scene(config: &'static str) -> TestHost {
    let host = stopped(config);
    host.start();
    host.until_applied(DATABASE, 1);
    host
}

fn allowing(revision: u64, sources: &[&str]) -> RuleFile {
    let file = RuleFile::new(DATABASE, revision).endpoint(&PORT.to_string()).endpoint(&MAPPED.to_string());
    sources.iter().fold(file, |file, source| {
        file.allow(&format!("{source}/{}", if source.contains(':') { 128 } else { 32 }))
    })
}

pub fn everyone(revision: u64) -> RuleFile {
    allowing(revision, &[FRIENDS, REVOKED].concat())
}

pub fn friends(revision: u64) -> RuleFile {
    allowing(revision, &FRIENDS)
}

/// A session, with both of its sockets.
#[derive(Debug)]
pub struct Session {
    pub client: TcpStream,
    pub server: TcpStream,
}

impl Session {
    /// Opens a session from an address of a host to a listener of the database host.
    pub fn open(from: &Host, source: &str, listener: &TcpListener, to: SocketAddr) -> Self {
        let source: IpAddr = source.parse().unwrap();
        let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let client = {
            let _inside = from.enter().unwrap();
            Socket::new(domain, Type::STREAM, None).unwrap()
        };
        client.bind(&SocketAddr::new(source, 0).into()).unwrap();
        client.connect_timeout(&to.into(), BOUND).unwrap();
        let client = TcpStream::from(client);
        let (server, _) = eventually(BOUND, "accepted", || listener.accept().ok()).unwrap();
        server.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        Self { client, server }
    }

    /// Returns whether a byte passes from the client to the server.
    pub fn answers(&self) -> bool {
        let (mut client, mut server) = (&self.client, &self.server);
        let _ = client.write_all(b"?");
        eventually(REFUSED, "a byte arrives", || server.read_exact(&mut [0]).ok()).is_ok()
    }

    /// Returns whether the kernel has both sockets' connection as established on the database host.
    pub fn is_established(&self, host: &TestHost) -> bool {
        let [local, peer] =
            [self.server.local_addr(), self.server.peer_addr()].map(|end| end.map(|end| end.to_string()));
        let (Ok(local), Ok(peer)) = (local, peer) else { return false };
        let sockets = host.db.run("ss -H -t -n state established").unwrap();
        let mut words = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.any(|words| words.contains(&local.as_str()) && words.contains(&peer.as_str()))
    }

    /// The error that the server reads; `None` while the session is open.
    pub fn error(&self) -> Option<ErrorKind> {
        match (&self.server).read(&mut [0]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Some(error.kind()),
            Ok(_) | Err(_) => None,
        }
    }

    /// Waits until the server's socket and the client's are reset.
    pub fn until_reset(&self, host: &TestHost) {
        let mut found = None;
        host.eventually("the server's socket is reset", || {
            found = self.error();
            found.is_some()
        });
        assert_eq!(found, Some(ErrorKind::ConnectionAborted));
        host.eventually("the client's socket is reset", || {
            let read = (&self.client).read(&mut [0]);
            read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        });
        assert!(!self.is_established(host));
    }

    /// Asserts that the session is as open as before.
    pub fn assert_open(&self, host: &TestHost) {
        assert!(self.is_established(host), "{self:?}\n{}", host.log());
        assert_eq!(self.error(), None, "{self:?}");
    }
}

/// Listens on the database host.
pub fn listen(host: &TestHost, at: &str) -> TcpListener {
    listen_at(&host.db, at)
}

pub fn listen_at(host: &Host, at: &str) -> TcpListener {
    let listener = host.listen(at).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// The address of the database host of the source's family, at this port.
pub fn server(source: &str, port: u16) -> SocketAddr {
    SocketAddr::new(SERVERS[usize::from(source.contains(':'))].parse().unwrap(), port)
}

/// Sessions of a source at an IPv4 listener or an IPv6 one, and at a listener of both families.
pub fn sessions(host: &TestHost, listeners: &[TcpListener; 3], source: &str) -> [Session; 2] {
    let own = &listeners[usize::from(source.contains(':'))];
    let open = |listener, port| Session::open(&host.outside, source, listener, server(source, port));
    [open(own, PORT), open(&listeners[2], MAPPED)]
}

pub fn listeners(host: &TestHost) -> [TcpListener; 3] {
    ["192.0.2.10:5432", "[2001:db8:2::10]:5432", "[::]:30432"].map(|at| listen(host, at))
}

/// Sessions of a database that the agent has reset, by its metrics. `None` when they do not name the database: those of a
/// removed one do from its first reset on.
pub fn count(host: &TestHost, database: &str) -> Option<u64> {
    let mut http = UnixStream::connect(host.dir().join("http.sock")).unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).unwrap();
    let series = format!("firewall_sessions_reset_total{{database=\"{database}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&series)).map(|sessions| sessions.parse().unwrap())
}

/// Waits until the agent has reset this number of a database's sessions.
pub fn until_counted(host: &TestHost, database: &str, sessions: u64) {
    host.eventually(&format!("{sessions} sessions of {database} reset"), || {
        count(host, database) == Some(sessions)
    });
}
