//! The bpf(2) system call, for commands that only tests use.

use std::io;

/// Makes the call with these attributes; returns its result.
pub fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: the attributes live across the call and their size is passed; every address in them is live too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *mut A, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
