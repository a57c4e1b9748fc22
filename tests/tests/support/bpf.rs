//! The bpf(2) system call, for what only a test does: maps of any shape.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

const MAP_CREATE: libc::c_long = 0;

/// The part of `union bpf_attr` that makes a map: type, sizes in bytes, number of entries, flags.
#[repr(C)]
pub struct Blueprint {
    pub kind: u32,
    pub key: u32,
    pub value: u32,
    pub entries: u32,
    pub flags: u32,
}

pub fn create_map(mut blueprint: Blueprint) -> io::Result<OwnedFd> {
    let map = bpf(MAP_CREATE, &mut blueprint)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(map) })
}

/// Makes the call with these attributes; what it returns.
pub fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: the attributes live across the call and their size is passed; every address in them is live too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *mut A, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
