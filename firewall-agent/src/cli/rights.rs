//! Hints about missing rights, for commands that the kernel refuses.

use std::io;

use nix::unistd::{Uid, geteuid};

/// Bits of `CapEff` in `/proc/self/status`.
const CAPABILITIES: [(u32, &str); 4] =
    [(1, "CAP_DAC_OVERRIDE"), (12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// Hint for a permission error: the required rights, and those of this process.
pub(super) fn lacking(error: &anyhow::Error) -> Option<String> {
    let code = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())?;
    let needed = match code {
        // Refused by the permissions of a file, a pin or a socket.
        libc::EACCES => "root, or the user that the agent runs as",
        // Refused by the kernel's rules for bpf(2).
        libc::EPERM => "root, or CAP_BPF and access to the pins of the agent's user",
        _ => return None,
    };
    Some(format!("needs {needed}; running as {}", identity(geteuid(), effective())))
}

fn identity(user: Uid, capabilities: u64) -> String {
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| capabilities >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return format!("uid {user}");
    }
    format!("uid {user} without {}", missing.join(", "))
}

/// Effective capabilities as a bit mask; zero if unknown.
fn effective() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
