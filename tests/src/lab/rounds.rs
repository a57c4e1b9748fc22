//! Number of repetitions of a test.

const VARIABLE: &str = "FIREWALL_TESTS";

/// Returns `full` if `FIREWALL_TESTS` is `full`, as `cargo xtask test --full` sets it; a tenth of `short` if it is
/// `brief`; `short` otherwise.
pub fn rounds(short: usize, full: usize) -> usize {
    if is_full() {
        full
    } else if is_brief() {
        short.div_ceil(10)
    } else {
        short
    }
}

/// Returns whether `FIREWALL_TESTS` is `full`, as `cargo xtask test --full` sets it.
pub fn is_full() -> bool {
    is_set_to("full")
}

/// Returns whether `FIREWALL_TESTS` is `brief`, as `cargo xtask kernels` sets it where every instruction is emulated.
pub fn is_brief() -> bool {
    is_set_to("brief")
}

fn is_set_to(value: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|which| which == value)
}
