//! The verdict table: name, frame and expected outcome, under each policy.

use firewall_common::Reason;
use firewall_tests::packets::flag::{ACK, FIN, PSH, RST, SYN};
use firewall_tests::packets::frame;

use crate::frames::{
    BOTH, BRANCH, DESK, ELSEWHERE, LAB, LEFT, OFFICE, ORDERS, SHOP, STRANGER, UNSPECIFIED, acked,
    broken_version, chain, cut, flagged, flagged_far, flagged_first, fragment, icmp, ip4, options,
    past_the_end, portless, tagged, tcp, two_fragment_headers, udp, v4,
};
use crate::judge::Outcome;
use crate::policy::{ANSWERED, ANYWHERE, BLOCKED, GUARDED, OPEN, Policy};

pub struct Row {
    pub name: String,
    pub frame: Vec<u8>,
    pub expected: Outcome,
}

pub fn tables() -> [(Policy, Vec<Row>); 5] {
    [
        (GUARDED, guarded()),
        (OPEN, open()),
        (ANYWHERE, anywhere()),
        (ANSWERED, answered()),
        (BLOCKED, blocked()),
    ]
}

fn guarded() -> Vec<Row> {
    let mut table = Table::default();
    table.row("ARP", vec![frame().arp_request(v4(STRANGER.0), v4(ORDERS.0))], Reason::NotIp, None);
    table.row("LLDP", vec![frame().lldp()], Reason::NotIp, None);
    table.row("MPLS", vec![frame().carrying(0x8847, &[0; 40])], Reason::NotIp, None);
    table.row("ICMP echo, neighbour solicitation", icmp(STRANGER, (8, 135)), Reason::NotProtected, None);
    table.row("ICMP error", icmp(STRANGER, (11, 1)), Reason::NotProtected, None);
    table.row("other port", tcp(STRANGER, ORDERS, 22), Reason::NotProtected, None);
    table.row("other address", tcp(STRANGER, ELSEWHERE, 80), Reason::NotProtected, None);
    table.row("four tags", tagged(4, OFFICE), Reason::Allowed, Some("office"));
    table.row("five tags", tagged(5, OFFICE), Reason::VlanDepth, None);
    table.row("tag cut short", cut(tagged(1, OFFICE), &[17, 17]), Reason::Malformed, None);
    table.row("allowed", tcp(OFFICE, ORDERS, 30_092), Reason::Allowed, Some("office"));
    table.row("allowed by the longer prefix", tcp(DESK, ORDERS, 30_092), Reason::Allowed, Some("desk"));
    table.row("allowed by UDP", udp(SHOP, ORDERS, 30_093), Reason::Allowed, Some("shop"));
    table.row("denied", tcp(STRANGER, ORDERS, 30_092), Reason::NoMatch, Some(""));
    table.row("denied by UDP", udp(OFFICE, ORDERS, 30_093), Reason::NoMatch, Some(""));
    table.row("established, denied", acked(STRANGER), Reason::NoMatch, Some(""));
    table.row("monitored", tcp(STRANGER, LAB, 6432), Reason::WouldDeny, Some(""));
    table.row("tombstone", tcp(OFFICE, LEFT, 7432), Reason::Closed, None);
    table.row("tombstone beside databases", tcp(OFFICE, ORDERS, 7432), Reason::Closed, None);
    table.row("guarded", tcp(OFFICE, ELSEWHERE, 5432), Reason::Closed, None);
    table.row("guarded by UDP beside a TCP endpoint", udp(OFFICE, ORDERS, 30_092), Reason::Closed, None);
    table.row("broken version", broken_version(), Reason::Malformed, None);
    let office = || ip4(OFFICE, ORDERS);
    table.row("IHL below 5", vec![office().header_words(4).tcp(1, 30_092).build()], Reason::Malformed, None);
    table.row(
        "total length below the header",
        vec![office().total_length(19).tcp(1, 30_092).build()],
        Reason::Malformed,
        None,
    );
    table.row("header cut", cut(tcp(OFFICE, ORDERS, 30_092), &[30, 50]), Reason::Malformed, None);
    table.row("TCP header cut", cut(tcp(OFFICE, ORDERS, 30_092), &[53, 73]), Reason::Malformed, None);
    table.row(
        "TCP header cut, guarded address",
        cut(tcp(OFFICE, ELSEWHERE, 80), &[40, 60]),
        Reason::Malformed,
        None,
    );
    table.row("options", options(OFFICE), Reason::Allowed, Some("office"));
    table.row("options, denied", options(STRANGER), Reason::NoMatch, Some(""));
    table.row("eight headers", chain(8, OFFICE, ORDERS, 30_092), Reason::Allowed, Some("office"));
    table.row("nine headers", chain(9, BOTH, ORDERS, 30_092), Reason::NoPort, None);
    table.row("header past the end", past_the_end(BOTH, ORDERS, 30_092), Reason::NoPort, None);
    table.six("two fragment headers", two_fragment_headers(BOTH, ORDERS, 30_092), Reason::NoPort, None);
    let segment = |which, source, to| fragment(which, source, to, 30_092);
    table.row("first fragment", segment(0, OFFICE, ORDERS), Reason::Allowed, Some("office"));
    table.row("first fragment, denied", segment(0, STRANGER, ORDERS), Reason::NoMatch, Some(""));
    table.row("first fragment without ports", portless(OFFICE), Reason::NoPort, None);
    table.row("later fragment", segment(1, OFFICE, ORDERS), Reason::Allowed, Some("office"));
    table.row("later fragment, denied", segment(1, STRANGER, ORDERS), Reason::Fragment, Some(""));
    table.row("later fragment, monitored", segment(1, STRANGER, LAB), Reason::WouldDeny, Some(""));
    table.row("later fragment elsewhere", segment(1, STRANGER, ELSEWHERE), Reason::NotProtected, None);
    table.rows
}

/// Where nothing is closed, a packet without a readable port passes if every database at the address allows its source.
fn open() -> Vec<Row> {
    let mut table = Table::default();
    let hidden = |source, to| {
        let frames = [chain(9, source, to, 30_092), past_the_end(source, to, 30_092)];
        ["nine headers", "header past the end"].into_iter().zip(frames)
    };
    for (name, frames) in hidden(BOTH, ORDERS) {
        table.row(&format!("{name}, allowed by both"), frames, Reason::Allowed, Some("office"));
    }
    for (who, source) in [("one", OFFICE), ("the other", SHOP), ("neither", STRANGER)] {
        for (name, frames) in hidden(source, ORDERS) {
            table.row(&format!("{name}, allowed by {who}"), frames, Reason::NoPort, Some(""));
        }
    }
    for (name, frames) in hidden(STRANGER, LAB) {
        table.row(&format!("{name}, monitored"), frames, Reason::WouldDeny, Some(""));
    }
    for (name, frames) in hidden(STRANGER, ELSEWHERE) {
        table.row(&format!("{name}, elsewhere"), frames, Reason::NotProtected, None);
    }
    for (name, frames) in hidden(STRANGER, UNSPECIFIED) {
        table.row(&format!("{name}, to the unspecified address"), frames, Reason::NotProtected, None);
    }
    let fragmented = |source, to| two_fragment_headers(source, to, 30_092);
    table.six("two fragment headers", fragmented(BOTH, ORDERS), Reason::Allowed, Some("office"));
    table.six("two fragment headers, denied", fragmented(OFFICE, ORDERS), Reason::NoPort, Some(""));
    table.six("two fragment headers, monitored", fragmented(STRANGER, LAB), Reason::WouldDeny, Some(""));
    table.row("other protocol", udp(OFFICE, ORDERS, 30_092), Reason::NotProtected, None);
    table.rows
}

/// A block list decides at endpoints only, before rules and mode.
fn blocked() -> Vec<Row> {
    let mut table = Table::default();
    table.row("blocked everywhere", tcp(OFFICE, ORDERS, 30_092), Reason::Blocked, Some("block:0001"));
    table.row("blocked at a database", tcp(DESK, ORDERS, 30_092), Reason::Blocked, Some("block:0002"));
    table.row("blocked in monitor mode", tcp(STRANGER, LAB, 6432), Reason::Blocked, Some("block:0003"));
    table.row("not blocked", tcp(BOTH, ORDERS, 30_092), Reason::Allowed, Some("office"));
    table.row("blocked at another database", tcp(STRANGER, ORDERS, 30_092), Reason::NoMatch, Some(""));
    table.row("blocked, other port", tcp(OFFICE, ORDERS, 22), Reason::NotProtected, None);
    table.row("blocked, tombstone", tcp(OFFICE, LEFT, 7432), Reason::Closed, None);
    table.row("blocked, guarded", tcp(OFFICE, ELSEWHERE, 5432), Reason::Closed, None);
    table.row(
        "later fragment, blocked",
        fragment(1, OFFICE, ORDERS, 30_092),
        Reason::Blocked,
        Some("block:0001"),
    );
    let half = fragment(1, DESK, ORDERS, 30_092);
    table.row("later fragment, blocked at one, denied at the other", half, Reason::Fragment, Some(""));
    table.rows
}

/// A database with an endpoint at every address is a neighbour of each.
fn anywhere() -> Vec<Row> {
    let mut table = Table::default();
    for (situation, to) in [("alone", ELSEWHERE), ("beside another", ORDERS)] {
        let mut row = |name, frames, reason, rule| {
            table.row(&format!("{name}, at every address, {situation}"), frames, reason, rule);
        };
        row("allowed", tcp(BRANCH, to, 6543), Reason::Allowed, Some("branch"));
        row("denied", tcp(OFFICE, to, 6543), Reason::NoMatch, Some(""));
        row("other protocol", udp(BRANCH, to, 6543), Reason::NotProtected, None);
        row("other port", tcp(STRANGER, to, 22), Reason::NotProtected, None);
        row("later fragment", fragment(1, BRANCH, to, 6543), Reason::Allowed, Some("branch"));
        row("later fragment, denied", fragment(1, STRANGER, to, 6543), Reason::Fragment, Some(""));
        row("nine headers, denied", chain(9, STRANGER, to, 6543), Reason::NoPort, Some(""));
    }
    table.row("nine headers", chain(9, BRANCH, ELSEWHERE, 6543), Reason::Allowed, Some("branch"));
    table.row("nine headers, half allowed", chain(9, BRANCH, ORDERS, 6543), Reason::NoPort, Some(""));
    table.row("its own endpoint", tcp(OFFICE, ORDERS, 30_092), Reason::Allowed, Some("office"));
    table.row("not that of another", tcp(BRANCH, ORDERS, 30_092), Reason::NoMatch, Some(""));
    table.rows
}

/// Where a port is closed to new connections only, TCP packets that cannot open one pass at unclaimed destinations.
fn answered() -> Vec<Row> {
    const PORT: u16 = 30_500;
    let mut table = Table::default();
    for (name, flags) in [("SYN", SYN), ("SYN with FIN", SYN | FIN), ("SYN with RST", SYN | RST)] {
        for (to, host) in [("elsewhere", ELSEWHERE), ("beside databases", ORDERS)] {
            table.row(&format!("{name}, {to}"), flagged(flags, OFFICE, host, PORT), Reason::Closed, None);
        }
        let far = flagged_far(flags, STRANGER, ELSEWHERE, PORT);
        table.row(&format!("{name}, after more headers"), far, Reason::Closed, None);
    }
    let answers = [
        ("SYN with ACK", SYN | ACK),
        ("ACK", ACK),
        ("data", PSH | ACK),
        ("FIN", FIN | ACK),
        ("RST", RST),
        ("no flags", 0),
    ];
    for (name, flags) in answers {
        for (to, host) in [("elsewhere", ELSEWHERE), ("beside databases", ORDERS)] {
            let frames = flagged(flags, STRANGER, host, PORT);
            table.row(&format!("{name}, {to}"), frames, Reason::NotProtected, None);
        }
        let far = flagged_far(flags, STRANGER, ELSEWHERE, PORT);
        table.row(&format!("{name}, after more headers"), far, Reason::NotProtected, None);
    }
    table.row("UDP", udp(STRANGER, ELSEWHERE, PORT), Reason::Closed, None);
    table.row("UDP beside a TCP endpoint", udp(OFFICE, ORDERS, 30_092), Reason::Closed, None);
    table.row("endpoint, ACK, denied", flagged(ACK, STRANGER, ORDERS, 30_092), Reason::NoMatch, Some(""));
    table.row("endpoint, allowed", flagged(ACK, OFFICE, ORDERS, 30_092), Reason::Allowed, Some("office"));
    table.row("tombstone, ACK", flagged(ACK, OFFICE, LEFT, 7432), Reason::Closed, None);
    table.row("tombstone, SYN", tcp(OFFICE, LEFT, 7432), Reason::Closed, None);
    table.row("beside a tombstone, ACK", flagged(ACK, OFFICE, LAB, 7432), Reason::NotProtected, None);
    table.row("beside a tombstone, SYN", tcp(OFFICE, LAB, 7432), Reason::Closed, None);
    table.row("guarded against every packet, ACK", flagged(ACK, OFFICE, LAB, 5432), Reason::Closed, None);
    table.row("the same beside the others, ACK", flagged(ACK, OFFICE, LAB, 30_550), Reason::Closed, None);
    let first = |length, flags| flagged_first(length, flags, STRANGER, ELSEWHERE, PORT);
    table.row("first fragment, ACK", first(16, ACK), Reason::NotProtected, None);
    table.row("first fragment, SYN", first(16, SYN), Reason::Closed, None);
    table.row("first fragment that ends before its flags, ACK", first(8, ACK), Reason::Closed, None);
    let later = fragment(1, STRANGER, ELSEWHERE, PORT);
    table.row("later fragment elsewhere", later, Reason::NotProtected, None);
    table.row("later fragment, denied", fragment(1, STRANGER, ORDERS, PORT), Reason::Fragment, Some(""));
    table.row("nine headers", chain(9, STRANGER, ELSEWHERE, PORT), Reason::NoPort, None);
    let short = cut(flagged(ACK, STRANGER, ELSEWHERE, PORT), &[53, 73]);
    table.row("TCP header cut", short, Reason::Malformed, None);
    table.rows
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a frame of IPv4, or of no family, and one of IPv6. `rule` names its IPv4 rule; `""` is a default counter.
    fn row(&mut self, name: &str, frames: Vec<Vec<u8>>, reason: Reason, rule: Option<&str>) {
        let mut frames = frames.into_iter();
        if let Some(frame) = frames.next() {
            let expected = Outcome { reason, rule: rule.map(str::to_owned) };
            self.rows.push(Row { name: name.to_owned(), frame, expected });
        }
        for frame in frames {
            self.six(name, frame, reason, rule);
        }
    }

    fn six(&mut self, name: &str, frame: Vec<u8>, reason: Reason, rule: Option<&str>) {
        let suffix = |rule: &str| if rule.is_empty() { String::new() } else { format!("{rule}6") };
        let expected = Outcome { reason, rule: rule.map(suffix) };
        self.rows.push(Row { name: format!("{name} (IPv6)"), frame, expected });
    }
}
