//! The tools and the modes in which they run.

use std::time::Duration;

use crate::captures::{MACS, captures};
use crate::rule_set::{SENDER, SERVERS};

/// Amount of traffic of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Every frame is recorded and judged.
    Recorded,
    /// More frames than can be recorded: only the counters see each.
    Flood,
}

/// One run of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub tool: &'static str,
    pub mode: &'static str,
    /// The command line, split at spaces: `{4}` and `{6}` are the guarded addresses, `{from6}` the sender's, `{mac}` is
    /// the MAC address of the guarded host, `{captures}` a directory of captures.
    pub command: &'static str,
    pub load: Load,
    /// The rules refuse none of its frames, even where they deny the tool.
    pub is_unaimed: bool,
    /// The tool is killed after this time.
    pub limit: Duration,
}

const LIMIT: Duration = Duration::from_secs(600);
const FLOOD: Duration = Duration::from_secs(2);
/// Tools that send until they are killed.
const ENDLESS: Duration = Duration::from_secs(6);

impl Case {
    const fn of(tool: &'static str, mode: &'static str, command: &'static str) -> Self {
        Self { tool, mode, command, load: Load::Recorded, is_unaimed: false, limit: LIMIT }
    }

    const fn endless(self) -> Self {
        Self { limit: ENDLESS, ..self }
    }

    const fn unaimed(self) -> Self {
        Self { is_unaimed: true, ..self }
    }

    const fn flood(self) -> Self {
        Self { load: Load::Flood, limit: FLOOD, ..self }
    }

    /// Returns program and arguments.
    pub fn words(&self) -> Vec<String> {
        let fill = |word: &str| {
            let word = word.replace("{4}", SERVERS[0]).replace("{6}", SERVERS[1]).replace("{mac}", MACS[0]);
            let word = word.replace("{from6}", SENDER[1]);
            if word.contains("{captures}") {
                word.replace("{captures}", &captures().display().to_string())
            } else {
                word
            }
        };
        self.command.split_whitespace().map(fill).collect()
    }
}

/// The tool that needs the least time: the normal run of the tests has these cases.
pub const QUICK: &[Case] = &[
    Case::of("hping3", "SYN", "hping3 -S -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "SYN in fragments of 16 bytes", "hping3 -S -f -d 100 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "record route", "hping3 -S -G -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "SYN, random sources", "hping3 -S --rand-source -p 30092 -c 50 -i u2000 {4}"),
    Case::of("hping3", "flood of SYN, random sources", "hping3 --flood -S --rand-source -p 30092 {4}")
        .flood(),
];

/// All others.
pub const LONG: &[Case] = &[
    Case::of("hping3", "FIN, push, urgent", "hping3 -F -P -U -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "no flags", "hping3 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "every flag", "hping3 -F -S -R -P -A -U -X -Y -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "ACK with data", "hping3 -A -d 1200 -p 30092 -c 50 -i u2000 {4}"),
    Case::of("hping3", "loose source route", "hping3 -S --lsrr 192.0.2.66 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "strict source route", "hping3 -S --ssrr 192.0.2.66 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "data offset 3", "hping3 -S -O 3 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "data offset 15", "hping3 -S -O 15 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "first fragments alone", "hping3 -S -x -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "later fragments alone", "hping3 -S -x -g 8 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "fragments of 8 bytes", "hping3 -S -f -m 8 -d 200 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "UDP of 3,000 bytes", "hping3 -2 -d 3000 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "UDP in fragments of 16 bytes", "hping3 -2 -f -d 100 -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "bytes as TCP", "hping3 -0 -H 6 -d 40 -c 5 -i u20000 {4}").unaimed(),
    Case::of("hping3", "bytes as UDP", "hping3 -0 -H 17 -d 40 -c 5 -i u20000 {4}").unaimed(),
    Case::of("hping3", "bytes as AH", "hping3 -0 -H 51 -d 40 -c 5 -i u20000 {4}"),
    Case::of("hping3", "wrong checksum", "hping3 -S -b -p 30092 -c 5 -i u20000 {4}"),
    Case::of("hping3", "scan of 300 ports", "hping3 --scan 30000-30299 -S {4}"),
    Case::of("hping3", "ICMP unreachable", "hping3 -1 -C 3 -K 4 -c 5 -i u20000 {4}").unaimed(),
    Case::of("hping3", "SYN, allowed source", "hping3 -S -a 203.0.113.6 -p 30092 -c 20 -i u5000 {4}")
        .unaimed(),
    Case::of("hping3", "flood of SYN", "hping3 --flood -S -p 30092 {4}").flood(),
    Case::of("hping3", "flood of fragments", "hping3 --flood -S -f -d 200 -p 30092 {4}").flood(),
    Case::of("hping3", "flood of UDP, random sources", "hping3 --flood -2 --rand-source -p 30092 {4}")
        .flood(),
    Case::of("nping", "SYN", "nping --tcp --flags syn -p 30092 -c 5 --delay 20ms {4}"),
    Case::of("nping", "every flag", "nping --tcp --flags 0xff -p 30092 -c 5 --delay 20ms {4}"),
    Case::of("nping", "SYN to 102 ports", "nping --tcp --flags syn -p 5432,30000-30100 -c 1 --rate 200 {4}"),
    Case::of("nping", "connections", "nping --tcp-connect -p 30092 -c 5 --delay 20ms {4}"),
    Case::of("nping", "wrong checksum", "nping --tcp --flags syn --badsum -p 30092 -c 5 --delay 20ms {4}"),
    Case::of(
        "nping",
        "wrong IP checksum",
        "nping --tcp --flags syn --badsum-ip -p 30092 -c 5 --delay 20ms {4}",
    ),
    Case::of(
        "nping",
        "fragments of 16 bytes",
        "nping --udp --mtu 16 --data-length 200 -p 30092 -c 5 --delay 20ms {4}",
    ),
    Case::of(
        "nping",
        "record route",
        "nping --tcp --flags syn --ip-options R -p 30092 -c 5 --delay 20ms {4}",
    ),
    Case::of("nping", "timestamps", "nping --tcp --flags syn --ip-options T -p 30092 -c 5 --delay 20ms {4}"),
    Case::of("nping", "SYN over IPv6", "nping -6 --tcp --flags syn -p 30092 -c 5 --delay 20ms {6}"),
    Case::of("nping", "UDP over IPv6", "nping -6 --udp --data-length 100 -p 30092 -c 5 --delay 20ms {6}"),
    Case::of("nmap", "SYN scan", "nmap -n -Pn -sS -p 30000-30300,5432 {4}"),
    Case::of("nmap", "connect scan", "nmap -n -Pn -sT -p 30092 {4}"),
    Case::of("nmap", "fragments of 8 bytes", "nmap -n -Pn -sS -f -p 30092,5432 {4}"),
    Case::of("nmap", "fragments of 16 bytes", "nmap -n -Pn -sS -f -f -p 30092,5432 {4}"),
    Case::of(
        "nmap",
        "fragments of 24 bytes, decoys",
        "nmap -n -Pn -sS --mtu 24 -D 198.51.100.1,198.51.100.2,ME,203.0.113.77 -p 30092 {4}",
    ),
    Case::of("nmap", "FIN scan", "nmap -n -Pn -sF -p 30092 {4}"),
    Case::of("nmap", "NULL scan", "nmap -n -Pn -sN -p 30092 {4}"),
    Case::of("nmap", "Xmas scan", "nmap -n -Pn -sX -p 30092 {4}"),
    Case::of("nmap", "Maimon scan", "nmap -n -Pn -sM -p 30092 {4}"),
    Case::of("nmap", "ACK scan", "nmap -n -Pn -sA -p 30092,5432 {4}"),
    Case::of("nmap", "window scan", "nmap -n -Pn -sW -p 30092,5432 {4}"),
    Case::of("nmap", "every flag", "nmap -n -Pn -sS --scanflags URGACKPSHRSTSYNFIN -p 30092 {4}"),
    Case::of("nmap", "UDP scan", "nmap -n -Pn -sU -p 30092,30093 --max-retries 1 {4}"),
    Case::of("nmap", "wrong checksum", "nmap -n -Pn -sS --badsum -p 30092 {4}"),
    Case::of("nmap", "loose source route", "nmap -n -Pn -sS --ip-options L192.0.2.66 -p 30092 {4}"),
    Case::of("nmap", "DNS's source port, data", "nmap -n -Pn -sS -g 53 --data-length 200 -p 30092 {4}"),
    Case::of("nmap", "operating system", "nmap -n -Pn -O --max-os-tries 1 -p 30092,22 {4}"),
    Case::of("nmap", "SYN scan over IPv6", "nmap -n -Pn -6 -sS -p 30092,5432 {6}"),
    Case::of("nmap", "UDP scan over IPv6", "nmap -n -Pn -6 -sU -p 30092 --max-retries 1 {6}"),
    Case::of("nmap", "operating system over IPv6", "nmap -n -Pn -6 -O --max-os-tries 1 -p 30092,22 {6}"),
    Case::of("thc-ipv6", "firewall6", "atk6-firewall6 eth0 {6} 30092"),
    Case::of("thc-ipv6", "firewall6, UDP", "atk6-firewall6 -u eth0 {6} 30092"),
    Case::of("thc-ipv6", "fragmentation6", "atk6-fragmentation6 -p eth0 {6}"),
    Case::of("thc-ipv6", "implementation6", "atk6-implementation6 -p eth0 {6}"),
    Case::of("thc-ipv6", "exploit6", "atk6-exploit6 eth0 {6}").endless().unaimed(),
    Case::of("thc-ipv6", "fuzz_ip6, SYN", "atk6-fuzz_ip6 -a -I -s 30092 eth0 {6}"),
    Case::of("thc-ipv6", "fuzz_ip6, fragments and options", "atk6-fuzz_ip6 -a -I -F -D -H -s 30092 eth0 {6}"),
    Case::of("thc-ipv6", "thcsyn6", "atk6-thcsyn6 -i 1000 eth0 {6} 30092").endless(),
    Case::of(
        "thc-ipv6",
        "thcsyn6, atomic fragments, options",
        "atk6-thcsyn6 -i 1000 -R -a -d -f eth0 {6} 30092",
    )
    .endless(),
    Case::of(
        "thc-ipv6",
        "thcsyn6, twelve headers",
        "atk6-thcsyn6 -i 1000 -d -d -d -d -d -d -f -f -f -f -f -f eth0 {6} 30092",
    )
    .endless(),
    Case::of("thc-ipv6", "thcsyn6, ACK", "atk6-thcsyn6 -A -i 1000 eth0 {6} 30092").endless(),
    Case::of("thc-ipv6", "flood of thcsyn6, random sources", "atk6-thcsyn6 -R eth0 {6} 30092").flood(),
    Case::of("thc-ipv6", "denial6, large hop-by-hop", "atk6-denial6 eth0 {6} 1").flood().unaimed(),
    Case::of("thc-ipv6", "denial6, large destination options", "atk6-denial6 eth0 {6} 2").flood().unaimed(),
    Case::of("thc-ipv6", "denial6, 180 headers", "atk6-denial6 eth0 {6} 3").flood(),
    Case::of("thc-ipv6", "denial6, first fragments", "atk6-denial6 eth0 {6} 6").flood().unaimed(),
    Case::of("ipv6toolkit", "tcp6, SYN", "tcp6 -i eth0 -D {mac} -s {from6} -d {6} -a 30092 -X S"),
    Case::of(
        "ipv6toolkit",
        "tcp6, fragments of 8 bytes",
        "tcp6 -i eth0 -D {mac} -s {from6} -d {6} -a 30092 -X S -y 8",
    ),
    Case::of(
        "ipv6toolkit",
        "tcp6, all headers, fragments of 64 bytes",
        "tcp6 -i eth0 -D {mac} -s {from6} -d {6} -a 30092 -X S -H 16 -U 24 -u 40 -y 64",
    ),
    Case::of(
        "ipv6toolkit",
        "tcp6, flood of 200 sources, 5 ports",
        "tcp6 -i eth0 -D {mac} -s 2001:db8:bad::/64 -d {6} -a 30092 -X S -F 200 -T 5 -l -z 1",
    )
    .flood(),
    Case::of("ipv6toolkit", "udp6", "udp6 -i eth0 -D {mac} -s {from6} -d {6} -a 30092 -P 100"),
    Case::of(
        "ipv6toolkit",
        "udp6, fragments of 16 bytes",
        "udp6 -i eth0 -D {mac} -s {from6} -d {6} -a 30092 -P 100 -y 16",
    ),
    // frag6 sends ICMPv6 only, without an option for a port. Behind destination options (`-u`) its later fragments do not
    // name the protocol, and may belong to a packet to a protected port.
    Case::of(
        "ipv6toolkit",
        "frag6, many fragments behind options",
        "frag6 -i eth0 -D {mac} -s {from6} -d {6} -F 100 -u 24",
    )
    .endless(),
    Case::of(
        "ipv6toolkit",
        "frag6, last fragment behind options",
        "frag6 -i eth0 -D {mac} -s {from6} -d {6} -O last -P 100 -u 24",
    )
    .endless(),
    Case::of(
        "ipv6toolkit",
        "frag6, ping of death behind options",
        "frag6 -i eth0 -D {mac} -s {from6} -d {6} -X -u 24",
    )
    .endless(),
    Case::of("ipv6toolkit", "frag6, reassembly policy", "frag6 -i eth0 -D {mac} -s {from6} -d {6} -p")
        .endless()
        .unaimed(),
    Case::of("ipv6toolkit", "frag6, ping of death", "frag6 -i eth0 -D {mac} -s {from6} -d {6} -X")
        .endless()
        .unaimed(),
    Case::of("ipv6toolkit", "frag6, many fragments", "frag6 -i eth0 -D {mac} -s {from6} -d {6} -F 100")
        .endless()
        .unaimed(),
    Case::of("ipv6toolkit", "frag6, atomic", "frag6 -i eth0 -D {mac} -s {from6} -d {6} -O atomic -P 100")
        .endless()
        .unaimed(),
    Case::of("ipv6toolkit", "path6, TCP behind options", "path6 -d {6} -u 10 -p tcp -a 30092"),
    Case::of("ipv6toolkit", "jumbo6", "jumbo6 -i eth0 -D {mac} -s {from6} -d {6}").unaimed(),
    Case::of(
        "ipv6toolkit",
        "icmp6, packet too big",
        "icmp6 -i eth0 -D {mac} -s {from6} -d {6} -t 2:0 -m 1280",
    )
    .unaimed(),
    Case::of("ipv6toolkit", "ni6", "ni6 -i eth0 -D {mac} -s {from6} -d {6}").unaimed(),
    Case::of(
        "trafgen",
        "six frames, random sources",
        "trafgen -q --cpus 1 --num 6000 --gap 200us --in tests/traffic/frames/mixed.cfg --out eth0",
    ),
    Case::of(
        "trafgen",
        "flood of SYN, random sources",
        "trafgen --cpus 1 --in tests/traffic/frames/syn.cfg --out eth0",
    )
    .flood(),
    Case::of(
        "trafgen",
        "flood of six frames, random sources",
        "trafgen --cpus 1 --in tests/traffic/frames/mixed.cfg --out eth0",
    )
    .flood(),
    Case::of("tcpreplay", "captures", "tcpreplay -q -i eth0 --pps 2000 {captures}/captured"),
    Case::of("tcpreplay", "captures from one source", "tcpreplay -q -i eth0 --pps 2000 {captures}/sender"),
    Case::of("tcpreplay", "damaged captures", "tcpreplay -q -i eth0 --pps 2000 {captures}/damaged"),
];
