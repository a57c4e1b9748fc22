//! Properties of the running kernel on which the agent's behaviour depends.

/// Returns whether the programs record denied packets on this kernel: with `PREEMPT_RT` they do not.
#[must_use]
pub fn records_denied_packets() -> bool {
    nix::sys::utsname::uname().is_ok_and(|kernel| !kernel.version().to_string_lossy().contains("PREEMPT_RT"))
}
