//! A thread with exactly the agent's capabilities.

use caps::{CapSet, Capability};

const THREE: [Capability; 3] = [Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON, Capability::CAP_BPF];

/// Runs `act` with the three capabilities only, which determine the verifier's checks.
pub fn with_three_capabilities<T>(act: impl FnOnce() -> T) -> T {
    let before = caps::read(None, CapSet::Effective).unwrap();
    caps::set(None, CapSet::Effective, &THREE.into()).unwrap();
    let done = act();
    caps::set(None, CapSet::Effective, &before).unwrap();
    done
}
