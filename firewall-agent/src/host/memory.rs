//! Memory of this process.

/// Size from which freed memory goes back to the kernel, in bytes.
#[cfg(target_env = "gnu")]
const RETURNED_FROM: std::ffi::c_int = 1 << 20;

/// Has the allocator give freed memory back. Left alone, glibc raises its thresholds with the largest block that was ever
/// freed: a start that reads a large store would keep as much for good. musl, which the packages are built with, has fixed
/// thresholds.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: changes a number in the allocator. A refusal changes nothing.
        let _ = unsafe { libc::mallopt(option, RETURNED_FROM) };
    }
}
