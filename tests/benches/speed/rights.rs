//! A thread with exactly the agent's capabilities.

use std::io;

/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF.
const THREE: u64 = 1 << 12 | 1 << 38 | 1 << 39;
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Effective, permitted and inheritable; the lower 32 bits of each, then the upper.
type Sets = [[u32; 3]; 2];

/// Runs `act` with the three capabilities only, which determine the verifier's checks.
pub fn with_three_capabilities<T>(act: impl FnOnce() -> T) -> T {
    let before = sets().unwrap();
    let mut few = before;
    few[0][0] &= THREE as u32;
    few[1][0] &= (THREE >> 32) as u32;
    set(&few).unwrap();
    let done = act();
    set(&before).unwrap();
    done
}

fn sets() -> io::Result<Sets> {
    let mut sets = Sets::default();
    let mut header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: both arguments live across the call and have the kernel's layout of this version.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets) };
    if done == 0 { Ok(sets) } else { Err(io::Error::last_os_error()) }
}

fn set(sets: &Sets) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: as above.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, std::ptr::from_ref(sets)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
