//! Memory and descriptors of the agent over time.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::Stopper;
use crate::scene::Scene;
use firewall_tests::bench::resident;
use firewall_tests::bench::soak::Sample;

const EVERY: Duration = Duration::from_secs(5);

/// Samples until `stop`; moments without an agent are left out.
pub fn run(scene: &Scene, stop: Stopper<'_>) -> Vec<Sample> {
    let (began, mut samples) = (Instant::now(), Vec::new());
    while !stop.is_set() {
        let pid = scene.agent.load(Ordering::SeqCst);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
        if let (Ok(resident), Ok(descriptors)) = (resident(pid), descriptors) {
            samples.push(Sample { at: began.elapsed(), pid, resident, descriptors });
        }
        let until = Instant::now() + EVERY;
        while Instant::now() < until && !stop.is_set() {
            sleep(Duration::from_millis(100));
        }
    }
    samples
}
