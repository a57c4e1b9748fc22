//! A database host with two links: `eth0`, which the agent filters, and `side0`, which it does not know.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use firewall_tests::lab::{Builder, Host, RuleFile, TestHost, eventually};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

pub const DATABASE: &str = "orders";
/// A guarded port, and a port that nothing protects.
pub const PORT: u16 = 5432;
pub const OPEN: u16 = 8432;
/// The host's addresses on both links, and the clients behind each: one that the rules allow, and a stranger.
pub const FILTERED: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
pub const SIDE: [&str; 2] = ["198.51.100.10", "2001:db8:7::10"];
pub const FRIENDS: [&str; 2] = ["198.51.100.20", "2001:db8:7::20"];
pub const STRANGERS: [&str; 2] = ["198.51.100.66", "2001:db8:7::66"];
pub const MODES: [&str; 3] = ["off", "monitor", "enforce"];
/// Interface of the second link, on both hosts.
pub const LINK: &str = "side0";

/// A packet crosses a veth within microseconds, and a refused one never arrives.
pub const REFUSED: Duration = Duration::from_millis(150);
const BOUND: Duration = Duration::from_secs(10);

/// The hosts, without an agent.
pub fn scene(rules: RuleFile) -> TestHost {
    built(TestHost::builder().rules(rules))
}

pub fn built(builder: Builder<'_>) -> TestHost {
    let clients = ["192.0.2.20/24", "2001:db8:2::20/64", "192.0.2.66/24", "2001:db8:2::66/64"];
    let host = builder.clients(&clients).build();
    let db = ["198.51.100.10/24", "2001:db8:7::10/64"];
    let outside = ["198.51.100.20/24", "2001:db8:7::20/64", "198.51.100.66/24", "2001:db8:7::66/64"];
    host.lab.link(host.db.end(LINK, &db), host.outside.end(LINK, &outside)).unwrap();
    host
}

/// The database's file: endpoints at the host's addresses, TCP and UDP, and the friends.
pub fn rules(revision: u64) -> RuleFile {
    friends(endpoints(RuleFile::new(DATABASE, revision), PORT))
}

pub fn endpoints(file: RuleFile, port: u16) -> RuleFile {
    FILTERED.into_iter().chain(SIDE).map(|address| destination(address, port)).fold(file, |file, to| {
        let to = to.to_string();
        file.endpoint(&to).udp_endpoint(&to)
    })
}

/// Allows the friends of every link.
pub fn friends(file: RuleFile) -> RuleFile {
    [
        "192.0.2.20/32",
        "2001:db8:2::20/128",
        "198.51.100.20/32",
        "2001:db8:7::20/128",
        "10.9.0.20/32",
        "10.88.0.20/32",
    ]
    .into_iter()
    .fold(file, RuleFile::allow)
}

pub fn destination(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Replaces the agent by one with the socket filter in this mode, once the rules are in force.
pub fn restart(host: &TestHost, mode: &str, flags: &[&str]) {
    if host.is_running() {
        host.stop();
    }
    host.start_with(&[&["--socket-filter", mode], flags].concat());
    let attached = if mode == "off" { "none" } else { mode };
    host.until(&format!("socket filter {mode}"), |status| status["socket_filter"]["mode"] == attached);
}

/// Listens on the host at every address of both families.
pub fn listen(host: &Host, port: u16) -> TcpListener {
    // A child of another test may hold a closed socket until it executes its program.
    let listener = eventually(BOUND, "the port is free", || host.listen(("::", port)).ok()).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

pub fn receive(host: &Host, port: u16) -> UdpSocket {
    let socket = eventually(BOUND, "the port is free", || host.udp(("::", port)).ok()).unwrap();
    socket.set_read_timeout(Some(REFUSED)).unwrap();
    socket
}

/// Connects by TCP from an address of a host; `None` when the handshake does not end.
pub fn connect(from: &Host, source: &str, to: SocketAddr) -> Option<TcpStream> {
    connect_from(from, destination(source, 0), to)
}

/// The same, with a port; 0 for any.
pub fn connect_from(from: &Host, source: SocketAddr, to: SocketAddr) -> Option<TcpStream> {
    let client = {
        let _inside = from.enter().unwrap();
        Socket::new(if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }, Type::STREAM, None).unwrap()
    };
    client.set_reuse_address(true).unwrap();
    client.bind(&source.into()).unwrap();
    client.connect_timeout(&to.into(), REFUSED).ok()?;
    Some(client.into())
}

/// Returns whether the listener serves the source: the connection, and a byte each way.
pub fn is_served(listener: &TcpListener, from: &Host, source: &str, to: SocketAddr) -> bool {
    while listener.accept().is_ok() {}
    let Some(client) = connect(from, source, to) else { return false };
    let server = eventually(BOUND, "the listener accepts", || listener.accept().ok()).unwrap().0;
    server.set_nonblocking(false).unwrap();
    answers(&client, &server)
}

/// Returns whether a byte passes from the client to the server.
pub fn answers(client: &TcpStream, server: &TcpStream) -> bool {
    use std::io::{Read as _, Write as _};
    server.set_read_timeout(Some(REFUSED)).unwrap();
    let (mut client, mut server) = (client, server);
    client.write_all(b"?").unwrap();
    server.read_exact(&mut [0]).is_ok()
}

/// Returns whether a datagram of the source arrives at the socket.
pub fn arrives(socket: &UdpSocket, from: &Host, source: &str, to: SocketAddr) -> bool {
    arrives_from(socket, from, (source, 0), to)
}

/// The same, with a port; 0 for any.
pub fn arrives_from(socket: &UdpSocket, from: &Host, source: (&str, u16), to: SocketAddr) -> bool {
    let client = from.udp(source).unwrap();
    client.send_to(b"?", to).unwrap();
    socket.recv_from(&mut [0]).is_ok()
}

/// Packets that the socket filter refused, or would have refused, from an interface: those of this reason, and those
/// that the database refused.
pub fn refused(host: &TestHost, interface: &str) -> u64 {
    judged(host, interface, &["no_match", "closed", "no_port"])
}

pub fn judged(host: &TestHost, interface: &str, reasons: &[&str]) -> u64 {
    let status = host.status();
    let counters = status["socket_counters"].as_array().unwrap();
    let is_one =
        |one: &&Value| one["interface"] == interface && reasons.iter().any(|reason| one["reason"] == *reason);
    counters.iter().filter(is_one).map(|one| one["packets"].as_u64().unwrap()).sum()
}
