//! Switches for the accelerations of the fast path.

use firewall_common::fast_path;

/// Set at load; the verifier then removes the code of disabled accelerations.
#[unsafe(no_mangle)]
static ACCELERATIONS: u32 = fast_path::ALL;

#[inline(always)]
pub fn is_on(acceleration: u32) -> bool {
    // SAFETY: a valid, aligned static; volatile, since the loader may have written another value into the object.
    unsafe { (&raw const ACCELERATIONS).read_volatile() & acceleration != 0 }
}
