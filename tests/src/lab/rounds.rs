//! How often a test repeats what it does.

/// `short` times; `full` times when `FIREWALL_TESTS` is `full`, as `cargo xtask test --full` sets it.
pub fn rounds(short: usize, full: usize) -> usize {
    if std::env::var_os("FIREWALL_TESTS").is_some_and(|which| which == "full") { full } else { short }
}
