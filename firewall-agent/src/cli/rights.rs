//! Rights of the process: makes its capabilities effective, and hints at missing ones when the kernel refuses.

use std::io;

use caps::{CapSet, Capability};
use nix::unistd::geteuid;

/// Capabilities whose absence the hint names.
const CAPABILITIES: [Capability; 4] =
    [Capability::CAP_DAC_OVERRIDE, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON, Capability::CAP_BPF];

/// Makes the permitted capabilities effective. The program in the image has its capabilities as permitted only: with
/// effective ones the kernel would not start it at all in a container that has fewer, as an init container.
pub(super) fn make_effective() {
    // What remains missing is reported by the call that the kernel refuses.
    let _ = caps::read(None, CapSet::Permitted)
        .and_then(|permitted| caps::set(None, CapSet::Effective, &permitted));
}

/// Hint for a permission error: the required rights, and those of this process.
pub(super) fn lacking(error: &anyhow::Error) -> Option<String> {
    let code = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())?;
    let needed = match code {
        // Refused by the permissions of a file, a pin or a socket.
        libc::EACCES => "root, or the user that the agent runs as",
        libc::EPERM if has_bpf() => {
            "access to the pins of the agent's user, and bpf(2), which a seccomp filter or the kernel's lockdown may refuse"
        }
        // Refused by the kernel's rules for bpf(2).
        libc::EPERM => "root, or CAP_BPF and access to the pins of the agent's user",
        _ => return None,
    };
    Some(format!("needs {needed}; running as {}", identity()))
}

/// Returns `true` if the process has every capability with which the kernel admits the agent's programs and maps.
fn has_bpf() -> bool {
    let needed = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];
    caps::read(None, CapSet::Effective)
        .is_ok_and(|effective| needed.iter().all(|one| effective.contains(one)))
}

fn identity() -> String {
    let user = geteuid();
    // Unreadable capabilities count as missing.
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    let missing = CAPABILITIES.iter().filter(|one| !effective.contains(one)).map(ToString::to_string);
    match missing.collect::<Vec<_>>() {
        missing if missing.is_empty() => format!("uid {user}"),
        missing => format!("uid {user} without {}", missing.join(", ")),
    }
}
