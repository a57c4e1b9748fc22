//! Switches of the programs, set at load: accelerations of the fast path, and the mode of the socket filter.

use firewall_common::fast_path;

/// Set at load; the verifier then removes the code of disabled accelerations.
#[unsafe(no_mangle)]
static ACCELERATIONS: u32 = fast_path::ALL;

#[inline(always)]
pub fn is_on(acceleration: u32) -> bool {
    // SAFETY: a valid, aligned static; volatile, since the loader may have written another value into the object.
    unsafe { (&raw const ACCELERATIONS).read_volatile() & acceleration != 0 }
}

/// Bits of [`firewall_common::socket_filter`].
#[unsafe(no_mangle)]
static SOCKET_FILTER_BITS: u32 = 0;

#[inline(always)]
pub fn socket_filter_is(bit: u32) -> bool {
    // SAFETY: as above.
    unsafe { (&raw const SOCKET_FILTER_BITS).read_volatile() & bit != 0 }
}
