//! Maps of any shape.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use crate::bpf::bpf;

const MAP_CREATE: libc::c_long = 0;

/// The part of `union bpf_attr` that creates a map: type, sizes in bytes, number of entries, flags.
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
    // SAFETY: the kernel has just created this descriptor, and no other code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(map) })
}
