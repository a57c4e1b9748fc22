//! Which agent this is.

use std::sync::LazyLock;

/// The version, and the revision of the sources in builds that are told it (`cargo xtask image`).
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let revision = option_env!("FIREWALL_REVISION").map(|revision| format!(" ({revision})"));
    format!("{}{}", env!("CARGO_PKG_VERSION"), revision.unwrap_or_default())
});
