//! A publishing process is killed right after a map write, at each of its writes in turn: from then on, without a
//! restart, verdicts follow the maps, whatever was cached between any two writes.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use firewall_agent::bpf::{Kernel, Probe};
use firewall_agent::sync::publish;
use firewall_tests::lab::{count_from_here, killed_after};
use jiff::Timestamp;

use crate::LoadedPrograms;
use crate::kernel::action;
use crate::questions::{of_first_set, questions};
use crate::rule_sets::{Set, desired, prefixes};

const NAME: &str = "killed::no_cached_verdict_survives_a_kill_at_any_publish_write";
/// Environment variable with the bpffs directory of the process to kill.
const ROLE: &str = "FIREWALL_TESTS_PUBLISHES";
/// Rounds of packets: enough for every CPU that this thread may move to.
const ROUNDS: u32 = 32;

#[test]
fn no_cached_verdict_survives_a_kill_at_any_publish_write() {
    if let Ok(bpffs_dir) = env::var(ROLE) {
        return publish_second_set(Path::new(&bpffs_dir));
    }
    let loaded = LoadedPrograms::new();
    let mut frames: Vec<Vec<u8>> = questions().into_iter().map(|question| question.frame).collect();
    frames.extend(of_first_set());
    let (mut revision, mut between) = (0, 0);
    for writes in 1.. {
        loaded.restart();
        revision += 2;
        loaded.publish(Set::First, true, revision);
        loaded.assert_matches_maps(&frames, "published whole");
        let when = format!("stopped on the way to {writes} writes");
        let meanwhile = || loaded.assert_matches_maps(&frames, &when);
        let killed = killed_after(&mut publisher(&loaded.bpffs_dir), writes, meanwhile).unwrap();
        loaded.assert_matches_maps(&frames, &format!("killed after {writes} writes"));
        loaded.assert_correct_verdicts(&format!("killed after {writes} writes"));
        let (v4, v6) = prefixes(&Kernel::open(&loaded.bpffs_dir).unwrap().live().unwrap());
        between += u32::from((v4 == Set::First.v4()) != (v6 == Set::First.v6()));
        if !killed {
            assert_eq!((v4, v6), (Set::Second.v4(), Set::Second.v6()), "published to its end");
            assert!(writes > 10, "a publish of {writes} writes proves little");
            break;
        }
    }
    assert!(between > 0, "no death between the two families");
}

impl LoadedPrograms {
    /// Requires the same verdicts of the attached program and the probe program, which caches nothing.
    fn assert_matches_maps(&self, frames: &[Vec<u8>], when: &str) {
        let firewall = Probe::firewall(&self.bpffs_dir).unwrap();
        let probe = Probe::pinned(&self.bpffs_dir).unwrap();
        for frame in frames {
            let reason = probe.answer(frame, None).unwrap().reason;
            let right = action(reason.passes());
            for _ in 0..ROUNDS {
                assert_eq!(firewall.run(frame, None).unwrap(), right, "{when}: {reason:?}: {frame:02x?}");
            }
        }
    }
}

/// Returns a command that runs this program in the role of the publishing process.
fn publisher(bpffs_dir: &Path) -> Command {
    let mut itself = Command::new(env::current_exe().unwrap());
    itself.args(["--exact", NAME]).env(ROLE, bpffs_dir).stdout(Stdio::null()).stderr(Stdio::null());
    itself
}

fn publish_second_set(bpffs_dir: &Path) {
    let mut kernel = Kernel::open(bpffs_dir).unwrap();
    let mut live = kernel.live().unwrap();
    let revision = live.databases.values().map(|database| database.floor).max().unwrap() + 1;
    count_from_here();
    let done = publish(&desired(Set::Second, false, revision), &mut live, &mut kernel, Timestamp::now());
    assert!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
}
