//! Which agent this is, and which program it attaches.

use std::sync::LazyLock;

/// The version, and the revision of the sources in builds that are told it (`cargo xtask image`).
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let revision = option_env!("FIREWALL_REVISION").map(|revision| format!(" ({revision})"));
    format!("{}{}", env!("CARGO_PKG_VERSION"), revision.unwrap_or_default())
});

/// SHA-256 of the embedded object of the XDP programs, in hex.
pub const OBJECT: &str = env!("FIREWALL_OBJECT_SHA256");

/// The tags that the kernel gives the program once it is loaded: that of Linux 6.18 and newer, which hash with SHA-256,
/// and that of older ones, which hash with SHA-1. Worked out when it was built; [`crate::status::InterfaceStatus`] has the kernel's
/// own word.
pub const PROGRAM_TAGS: [&str; 2] = [env!("FIREWALL_PROGRAM_TAG"), env!("FIREWALL_PROGRAM_TAG_BEFORE_6_18")];

/// What `--version` says.
pub static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let [newer, older] = PROGRAM_TAGS;
    format!(
        "{}\nobject sha256:{OBJECT}\nprogram tag {newer} (Linux 6.18 and newer), {older} (older)",
        *VERSION
    )
});
