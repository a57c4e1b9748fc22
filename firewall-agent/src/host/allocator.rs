//! Memory allocator settings of this process.

/// Size from which freed memory returns to the kernel, in bytes.
#[cfg(target_env = "gnu")]
const RETURNED_FROM: std::ffi::c_int = 1 << 20;

/// Makes the allocator return freed memory. By default glibc raises its thresholds with the largest block ever freed: a
/// start that reads a large store would retain as much permanently. musl, used for the packages, has fixed thresholds.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: changes a number in the allocator. A refusal changes nothing.
        let _ = unsafe { libc::mallopt(option, RETURNED_FROM) };
    }
}
