//! How often a test repeats what it does.

/// `short` times; `full` times when `FIREWALL_TESTS` is `full`, as `cargo xtask test --full` sets it; a tenth of `short`
/// when it is `brief`, as `cargo xtask kernels` sets it where every instruction is emulated.
pub fn rounds(short: usize, full: usize) -> usize {
    match std::env::var("FIREWALL_TESTS").as_deref() {
        Ok("full") => full,
        Ok("brief") => short.div_ceil(10),
        _ => short,
    }
}
