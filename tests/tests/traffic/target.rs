//! The guarded host and the host of the tools.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use firewall_tests::lab::{INTERFACE, TestHost};
use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{Backlog, listen};
use nix::unistd::Pid;

use crate::captures::MACS;
use crate::cases::{Case, Load};
use crate::network_counters::{received, transmitted};
use crate::observed::Observed;
use crate::rule_set::{ALLOWED, PORT, RuleSet, SENDER, SERVERS};
use crate::session::Session;
use crate::tally::Tally;
use crate::tap::{Direction, Tap};

/// Fits every captured frame.
const MTU: u32 = 9_000;
/// Exceeds the half-open connections of a case.
const BACKLOG: i32 = 4_096;
const PAUSE: Duration = Duration::from_millis(5);
/// Silence after which no frame is in flight.
const SILENCE: Duration = Duration::from_millis(120);
/// Bound of every wait, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most frames of the established connections in one round, and fewest of a flood.
const ROUND: u64 = 8;
const FLOOD: u64 = 500;
/// Lines of a tool's output in a report.
const LAST_LINES: usize = 6;

/// Two hosts on one link, one of them with an agent unless it is the control.
pub struct Target {
    host: TestHost,
    rules: RuleSet,
    /// The rule set that allows no tool.
    strict: RuleSet,
    /// Process id of the agent.
    agent: Option<u32>,
    listener: TcpListener,
    udp: UdpSocket,
    sessions: Vec<Session>,
    /// The outside end of the link: sent frames and answers. Closed during a flood.
    outside: Option<Tap>,
    /// The database end, after the program. Closed during a flood without the program.
    inside: Option<Tap>,
    counted: Tally,
}

impl Target {
    pub fn new(rules: RuleSet, has_agent: bool) -> Self {
        let host =
            TestHost::builder().clients(&["192.0.2.66/24", "2001:db8:2::66/64"]).rules(rules.file()).build();
        // Not on the link's interface, where some tools would take them for their own source.
        for address in ALLOWED {
            host.outside.run(&format!("ip address add {address} dev lo")).unwrap();
        }
        for (one, mac, gateways) in [(&host.db, MACS[0], SENDER), (&host.outside, MACS[1], SERVERS)] {
            one.run(&format!("ip link set {INTERFACE} address {mac}")).unwrap();
            one.run(&format!("ip link set {INTERFACE} mtu {MTU}")).unwrap();
            // The kernel would merge segments of one connection into fewer frames.
            one.run(&format!("ip link set {INTERFACE} gro_max_size 1")).unwrap();
            // Answers to forged sources leave over the link.
            one.route_by(&gateways).unwrap();
        }
        for one in [&host.db, &host.outside] {
            one.run(&format!("ip neighbour flush dev {INTERFACE}")).unwrap();
        }
        // Answers to one case end before the next.
        host.db.set("net/ipv4/tcp_synack_retries", "0").unwrap();
        let agent = has_agent.then(|| {
            host.start();
            host.until_applied("orders", 1);
            host.pid()
        });
        let listener = host.db.listen(("::", PORT)).unwrap();
        listen(&listener, Backlog::new(BACKLOG).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let udp = host.db.udp(("::", PORT)).unwrap();
        udp.set_nonblocking(true).unwrap();
        let mut target = Self {
            host,
            rules,
            strict: RuleSet::new(false),
            agent,
            listener,
            udp,
            sessions: Vec::new(),
            outside: None,
            inside: None,
            counted: Tally::default(),
        };
        target.sessions = ALLOWED.into_iter().zip(SERVERS).map(|pair| target.connect(pair)).collect();
        target.record();
        target
    }

    /// Runs a case to its end, or to its time limit once the tool sends.
    pub fn observe(&mut self, case: &Case) -> Observed {
        let is_flood = case.load == Load::Flood;
        if is_flood {
            self.outside = None;
            if self.agent.is_none() {
                self.inside = None;
            }
            self.synchronize();
        }
        let mut seen = Observed::default();
        let (sent_before, received_before) = (transmitted(&self.host.outside), received(&self.host.db));
        let output = self.host.dir().join("output");
        let started = Instant::now();
        let mut child = self.spawn(case, &output);
        let mut rounds = 0;
        loop {
            self.judge(&mut seen);
            for session in &mut self.sessions {
                seen.slowest = seen.slowest.max(session.round_trip());
            }
            rounds += 1;
            if child.try_wait().unwrap().is_some() {
                break;
            }
            let is_working = if is_flood {
                transmitted(&self.host.outside) - sent_before > rounds * ROUND + FLOOD
            } else {
                seen.aimed > 0 || case.is_unaimed && seen.sent > 0
            };
            if started.elapsed() >= if is_working { case.limit } else { case.limit + 3 * PATIENCE } {
                killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
                child.wait().unwrap();
                break;
            }
            sleep(PAUSE);
        }
        seen.took = started.elapsed();
        if let Some(agent) = self.agent {
            assert_eq!(self.host.status()["agent"]["pid"], agent, "the agent has ended or was restarted");
            self.connect((ALLOWED[0], SERVERS[0])).round_trip();
        }
        self.drain(&mut seen);
        if self.agent.is_some() {
            self.count(&mut seen, is_flood.then_some(sent_before));
        }
        if is_flood {
            seen.sent = transmitted(&self.host.outside) - sent_before;
        }
        seen.received = received(&self.host.db) - received_before;
        if is_flood {
            self.record();
        }
        let text = fs::read(&output).unwrap();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        seen.output = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        seen
    }

    fn connect(&self, (source, server): (&str, &str)) -> Session {
        let to = SocketAddr::new(server.parse().unwrap(), PORT);
        Session::open(&self.host.outside, source.parse().unwrap(), to, &self.listener)
    }

    fn spawn(&self, case: &Case, output: &Path) -> Child {
        let mut words = case.words();
        let mut command = self.host.outside.command(words.remove(0));
        let out = File::create(output).unwrap();
        command.args(words).process_group(0);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        command.spawn().unwrap_or_else(|error| panic!("{}: not started: {error}", case.command))
    }

    /// Opens both taps.
    fn record(&mut self) {
        self.outside = Some(Tap::open(&self.host.outside));
        self.inside = Some(Tap::open(&self.host.db));
        self.synchronize();
    }

    /// Reads the program's counters when no frame is in flight or waits at a tap.
    fn synchronize(&mut self) {
        let started = Instant::now();
        loop {
            self.drain(&mut Observed::default());
            if self.agent.is_none() {
                return;
            }
            let before = transmitted(&self.host.outside);
            self.counted = Tally::of(&self.host.status());
            sleep(SILENCE);
            if transmitted(&self.host.outside) == before && Tally::of(&self.host.status()) == self.counted {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "the link is never silent");
        }
    }

    /// Judges the frames that wait at the taps, and empties the sockets; returns the number of frames.
    fn judge(&mut self, seen: &mut Observed) -> usize {
        let (rules, strict) = (&self.rules, &self.strict);
        let mut frames = 0;
        if let Some(tap) = &mut self.outside {
            frames += tap.receive(|direction, frame| match direction {
                Direction::Out => seen.sent(frame, rules, strict),
                Direction::In => {
                    if let Some(peer) = answered(frame) {
                        seen.delivered(peer, rules);
                    }
                }
            });
        }
        if let Some(tap) = &mut self.inside {
            frames += tap.receive(|direction, frame| {
                if direction == Direction::In {
                    seen.passed(frame, rules, strict);
                }
            });
        }
        while self.listener.accept().is_ok() {}
        loop {
            match self.udp.recv_from(&mut [0; 64]) {
                Ok((_, from)) => seen.delivered(from.ip().to_canonical(), rules),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return frames,
                Err(error) => panic!("udp socket: {error}"),
            }
        }
    }

    /// Judges frames until none comes.
    fn drain(&mut self, seen: &mut Observed) {
        let (started, mut silent) = (Instant::now(), Instant::now());
        while silent.elapsed() < SILENCE && started.elapsed() < PATIENCE {
            if self.judge(seen) > 0 {
                silent = Instant::now();
            }
            sleep(PAUSE);
        }
    }

    /// Reads the increase of the program's counters until it agrees with the model, or in a flood, from this number of
    /// frames on, with their number.
    fn count(&mut self, seen: &mut Observed, flood_from: Option<u64>) {
        let started = Instant::now();
        loop {
            let counted = Tally::of(&self.host.status());
            seen.counted = counted.since(&self.counted);
            self.judge(seen);
            let agrees = match flood_from {
                Some(before) => seen.counted.packets() == transmitted(&self.host.outside) - before,
                None => seen.counted == seen.expected,
            };
            if agrees || started.elapsed() > PATIENCE {
                self.counted = counted;
                return;
            }
            sleep(PAUSE);
        }
    }
}

/// Returns the destination of a TCP or UDP packet from a protected port.
fn answered(frame: &[u8]) -> Option<IpAddr> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let port = match packet.transport? {
        TransportSlice::Tcp(tcp) => tcp.source_port(),
        TransportSlice::Udp(udp) => udp.source_port(),
        TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) => return None,
    };
    let to = match packet.net? {
        LaxNetSlice::Ipv4(ip) => IpAddr::from(ip.header().destination_addr()),
        LaxNetSlice::Ipv6(ip) => IpAddr::from(ip.header().destination_addr()),
        LaxNetSlice::Arp(_) => return None,
    };
    RuleSet::guards(port).then_some(to)
}
