//! Which of the stages in front of the tries fit this kernel.

use std::ffi::OsStr;

use anyhow::{Context as _, Result};
use firewall_common::stages;
use nix::sys::utsname::uname;

/// Every stage that may run here.
pub(super) fn fitting() -> Result<u32> {
    let kernel = uname().context("the kernel does not say which it is")?;
    Ok(fitting_kernel(kernel.version()))
}

/// What is kept per CPU is read and written without a lock, since on one CPU one XDP program ends before the next
/// begins. A kernel built with `PREEMPT_RT`, which says so in its version (`uname -v`), may interrupt it by another:
/// nothing is kept there, and refused packets are not handed on to be written down.
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
