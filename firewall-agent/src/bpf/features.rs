//! Kernel features: those that the programs require, and the accelerations that fit.
//!
//! Required features are probed in the running kernel: distributions backport features, so a version says little.
//! Features that cannot be probed, for example for lack of rights, are left to the real load.

use std::ffi::OsStr;

use anyhow::{Context as _, Result, ensure};
use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use firewall_common::fast_path;
use nix::sys::utsname::uname;

use super::syscall;

/// Helper functions called by the programs, and the first Linux with each.
const HELPERS: &[(BpfHelper, &str, &str)] = &[
    (BpfHelper::BPF_FUNC_xdp_load_bytes, "bpf_xdp_load_bytes", "5.18"),
    (BpfHelper::BPF_FUNC_xdp_get_buff_len, "bpf_xdp_get_buff_len", "5.18"),
    (BpfHelper::BPF_FUNC_loop, "bpf_loop", "5.17"),
    (BpfHelper::BPF_FUNC_ktime_get_coarse_ns, "bpf_ktime_get_coarse_ns", "5.11"),
    (BpfHelper::BPF_FUNC_jiffies64, "bpf_jiffies64", "5.6"),
];

/// Fails when the kernel lacks a required feature.
///
/// # Errors
/// The kernel's release, and every missing feature.
pub(super) fn ensure_there() -> Result<()> {
    let missing = missing(HELPERS);
    ensure!(
        missing.is_empty(),
        "kernel {}: lacks features that the XDP programs need: {}",
        release(),
        missing.join(", ")
    );
    Ok(())
}

fn missing(helpers: &[(BpfHelper, &str, &str)]) -> Vec<String> {
    let packets = syscall::takes_packets_in_pieces().is_ok_and(|takes| !takes);
    let mut missing = Vec::from_iter(packets.then(|| "multi-buffer XDP (Linux 5.18)".to_owned()));
    for (helper, name, since) in helpers {
        if is_helper_supported(ProgramType::Xdp, *helper).is_ok_and(|is_there| !is_there) {
            missing.push(format!("{name} (Linux {since})"));
        }
    }
    missing
}

fn release() -> String {
    uname().map_or_else(
        |_| "of unknown release".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// Every acceleration of the fast path that this kernel allows, as bits of [`firewall_common::fast_path`].
pub(super) fn accelerations() -> Result<u32> {
    let kernel = uname().context("cannot read the kernel's release")?;
    Ok(accelerations_of(kernel.version()))
}

/// Per-CPU caches have no lock, since on one CPU one XDP program ends before the next begins. A kernel built with
/// `PREEMPT_RT`, which its version shows (`uname -v`), may interrupt it by another: there, nothing is cached, and
/// refused packets are not handed to the recorder.
fn accelerations_of(version: &OsStr) -> u32 {
    if version.to_string_lossy().contains("PREEMPT_RT") {
        fast_path::SOURCES | fast_path::HEADERS | fast_path::UNRECORDED
    } else {
        fast_path::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root, as does every program load.
    #[test]
    fn running_kernel_has_all_helpers_and_missing_ones_are_named() {
        assert_eq!(missing(HELPERS), [""; 0]);
        let foreign = (BpfHelper::BPF_FUNC_setsockopt, "bpf_setsockopt", "4.13");
        assert_eq!(missing(&[HELPERS[0], foreign]), ["bpf_setsockopt (Linux 4.13)"]);
        ensure_there().unwrap();
    }

    #[test]
    fn caches_are_off_on_a_preempt_rt_kernel() {
        let of = |version: &str| accelerations_of(OsStr::new(version));
        assert_eq!(of("#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1"), fast_path::ALL);
        assert_eq!(
            of("#1 SMP PREEMPT_RT Debian 6.12.107-1"),
            fast_path::SOURCES | fast_path::HEADERS | fast_path::UNRECORDED
        );
    }
}
