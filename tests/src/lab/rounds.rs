//! How often a test repeats what it does.

const VARIABLE: &str = "FIREWALL_TESTS";

/// `short` times; `full` times when `FIREWALL_TESTS` is `full`, as `cargo xtask test --full` sets it; a tenth of `short`
/// when it is `brief`.
pub fn rounds(short: usize, full: usize) -> usize {
    match std::env::var(VARIABLE).as_deref() {
        Ok("full") => full,
        _ if is_brief() => short.div_ceil(10),
        _ => short,
    }
}

/// Whether `FIREWALL_TESTS` is `brief`, as `cargo xtask kernels` sets it where every instruction is emulated.
pub fn is_brief() -> bool {
    std::env::var(VARIABLE).is_ok_and(|which| which == "brief")
}
