//! Number of repetitions of a test.

const VARIABLE: &str = "FIREWALL_TESTS";

/// Returns `full` if `FIREWALL_TESTS` is `full`, as `cargo xtask test --full` sets it; a tenth of `short` if it is
/// `brief`; `short` otherwise.
pub fn rounds(short: usize, full: usize) -> usize {
    match std::env::var(VARIABLE).as_deref() {
        Ok("full") => full,
        _ if is_brief() => short.div_ceil(10),
        _ => short,
    }
}

/// Returns whether `FIREWALL_TESTS` is `brief`, as `cargo xtask kernels` sets it where every instruction is emulated.
pub fn is_brief() -> bool {
    std::env::var(VARIABLE).is_ok_and(|which| which == "brief")
}
