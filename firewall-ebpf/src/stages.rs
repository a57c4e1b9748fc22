//! Which stages stand in front of the tries.

use firewall_common::stages;

/// Set when the program is loaded; the verifier then removes what is off.
#[unsafe(no_mangle)]
static STAGES: u32 = stages::ALL;

#[inline(always)]
pub fn is_on(stage: u32) -> bool {
    // SAFETY: a valid, aligned static; volatile, since the loader may have written another value into the object.
    unsafe { (&raw const STAGES).read_volatile() & stage != 0 }
}
