//! Memory allocator settings of this process.

/// Size from which freed memory returns to the kernel, in bytes.
#[cfg(target_env = "gnu")]
const RETURNED_FROM: std::ffi::c_int = 1 << 20;

/// Returns free memory to the kernel after work that needed much for a moment, as a parse or a publish: small blocks that
/// stay in use would otherwise retain the pages between them. musl returns them by itself.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives unused pages back. A failure changes nothing.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Makes the allocator return freed memory. By default glibc raises its thresholds with the largest block ever freed: a
/// start that reads a large store would retain as much permanently. musl, used for the packages, has fixed thresholds.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, RETURNED_FROM),
        (libc::M_TRIM_THRESHOLD, RETURNED_FROM),
        // The threads seldom allocate at the same time: further arenas would only retain free memory.
        (libc::M_ARENA_MAX, 1),
    ] {
        // SAFETY: changes a number in the allocator. A refusal changes nothing.
        let _ = unsafe { libc::mallopt(option, value) };
    }
}
