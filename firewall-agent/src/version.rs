//! Version of the agent and of the XDP program that it attaches.

use std::sync::LazyLock;

/// Version, followed by the source revision in builds that receive one (`cargo xtask image`).
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let revision = option_env!("FIREWALL_REVISION").map(|revision| format!(" ({revision})"));
    format!("{}{}", env!("CARGO_PKG_VERSION"), revision.unwrap_or_default())
});

/// SHA-256 of the embedded object of the XDP programs, in hex.
pub const OBJECT: &str = env!("FIREWALL_OBJECT_SHA256");

/// Tags of the loaded program, computed at build time: on Linux 6.18 and newer (SHA-256) and on older kernels (SHA-1).
/// [`crate::status::InterfaceStatus`] has the tag that the kernel reports.
pub const PROGRAM_TAGS: [&str; 2] = [env!("FIREWALL_PROGRAM_TAG"), env!("FIREWALL_PROGRAM_TAG_BEFORE_6_18")];

/// Output of `--version`.
pub static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let [newer, older] = PROGRAM_TAGS;
    format!(
        "{}\nobject sha256:{OBJECT}\nprogram tag {newer} (Linux 6.18 and newer), {older} (older)",
        *VERSION
    )
});
