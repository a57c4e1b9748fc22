//! Selects the accelerations of the fast path that fit this kernel.

use std::ffi::OsStr;

use anyhow::{Context as _, Result};
use firewall_common::stages;
use nix::sys::utsname::uname;

/// Every acceleration that this kernel allows.
pub(super) fn fitting() -> Result<u32> {
    let kernel = uname().context("the kernel does not say which it is")?;
    Ok(fitting_kernel(kernel.version()))
}

/// Per-CPU caches have no lock, since on one CPU one XDP program ends before the next begins. A kernel built with
/// `PREEMPT_RT`, which its version shows (`uname -v`), may interrupt it by another: there, nothing is cached, and
/// refused packets are not handed to the recorder.
fn fitting_kernel(version: &OsStr) -> u32 {
    if version.to_string_lossy().contains("PREEMPT_RT") {
        stages::SOURCES | stages::HEADERS | stages::UNRECORDED
    } else {
        stages::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_where_one_program_may_interrupt_another() {
        let of = |version: &str| fitting_kernel(OsStr::new(version));
        assert_eq!(of("#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1"), stages::ALL);
        assert_eq!(
            of("#1 SMP PREEMPT_RT Debian 6.12.107-1"),
            stages::SOURCES | stages::HEADERS | stages::UNRECORDED
        );
    }
}
