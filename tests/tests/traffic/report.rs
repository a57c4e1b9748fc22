//! The table of cases.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;

use crate::cases::Load;
use crate::observed::Observed;
use crate::outcome::Outcome;
use crate::rule_set::passes;

const PACKAGES: &[&str] = &["hping3", "nmap", "thc-ipv6", "ipv6toolkit", "netsniff-ng", "tcpreplay"];

const INTRODUCTION: &str = "\
# Traffic of other tools

Scanners, packet generators, protocol testers, floods and captures against a guarded host, by `cargo xtask traffic`.
Each tool runs three times on a veth pair with native XDP: without the agent, with the agent while its source is
denied, and with the agent while its source is allowed.

* Without the agent: frames that the rules of the second run refuse / of these, frames that reached the host's network
  stack / answers of protected ports and datagrams at their sockets.
* Denied, allowed: frames that the rules of the second run refuse / of these, frames that passed the program / answers
  and datagrams.
* Refused while allowed: packets from forged sources, to guarded ports, or without a readable port, by their reasons.
* Floods are not recorded: frames sent / IP packets that the network stack received, those of the two allowed
  connections included / not counted.
* Slowest: longest time of an answer in two established connections of an allowed source, beside the tool.

";

const UNAIMED: &str = "
## Not aimed

The rules refuse no frame of these modes, even where they deny the tool: the frames are for other protocols or come from
an allowed source. These modes do not test a refusal. They show that the program counts and passes such frames as the
model expects, and that the host serves its connections beside them. `frag6` sends ICMPv6 only, without an option for
another protocol or a port; its aimed modes are those in which destination options hide the protocol of later fragments.

";

const HEAD: &str = "\
| tool | mode | without the agent | denied | allowed | refused while allowed | slowest | time |
|---|---|---|---|---|---|---|---|
";

const COUNTED: &str = "\
The program counted each recorded frame with the reason and the bytes that the model expects, and each frame of a flood
once. No frame of a denied source got an answer from a protected port or reached its socket.

";

/// Writes the table to a file.
pub fn save(outcomes: &[Outcome], took: Duration, path: &Path) {
    std::fs::write(path, markdown(outcomes, took)).unwrap();
}

fn markdown(outcomes: &[Outcome], took: Duration) -> String {
    let mut text = INTRODUCTION.to_owned();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let failed: Vec<String> = outcomes.iter().flat_map(Outcome::failures).collect();
    let (unaimed, aimed): (Vec<&Outcome>, Vec<&Outcome>) =
        outcomes.iter().partition(|one| one.case.is_unaimed);
    let frames: u64 = outcomes.iter().map(|one| one.denied.sent + one.allowed.sent).sum();
    writeln!(
        text,
        "Measured on {} with Linux {} in {} s: {} modes, {} of them aimed at protected ports, {frames} frames to the \
         filtered interface, {} failures.\n",
        Timestamp::now().strftime("%Y-%m-%d"),
        kernel.trim(),
        took.as_secs(),
        outcomes.len(),
        aimed.len(),
        failed.len()
    )
    .unwrap();
    if failed.is_empty() {
        text += COUNTED;
    }
    let versions: Vec<String> = PACKAGES.iter().map(|package| version(package)).collect();
    writeln!(text, "Packages: {}.\n", versions.join(", ")).unwrap();
    text += HEAD;
    aimed.into_iter().for_each(|outcome| add_row(&mut text, outcome));
    if !unaimed.is_empty() {
        text += UNAIMED;
        text += HEAD;
        unaimed.into_iter().for_each(|outcome| add_row(&mut text, outcome));
    }
    failed.iter().for_each(|failure| writeln!(text, "\n* {failure}").unwrap());
    text
}

fn add_row(text: &mut String, Outcome { case, control, denied, allowed }: &Outcome) {
    let cell = |seen: &Observed| match case.load {
        Load::Flood => format!("{} / {} / –", seen.sent, seen.received),
        Load::Recorded => {
            let delivered = seen.delivered_of_allowed + seen.delivered_of_denied;
            format!("{} / {} / {delivered}", seen.aimed, seen.aimed_passed)
        }
    };
    let [slowest, took] =
        [|seen: &Observed| seen.slowest, |seen: &Observed| seen.took].map(|of| of(denied).max(of(allowed)));
    writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {:.1} ms | {:.1} s |",
        case.tool,
        case.mode,
        cell(control),
        cell(denied),
        cell(allowed),
        allowed.counted.listed(|reason| !passes(reason)),
        slowest.as_secs_f64() * 1e3,
        took.as_secs_f64()
    )
    .unwrap();
}

/// Returns a package's name and installed version.
fn version(package: &str) -> String {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let version =
        query.map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned()).unwrap_or_default();
    format!("{package} {version}").trim_end().to_owned()
}
