//! The `bpf(2)` commands that aya has no call for.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_FREEZE: libc::c_long = 22;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// What the kernel says of an XDP link (`struct bpf_link_info`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LinkInfo {
    kind: u32,
    pub id: u32,
    /// Id of the program that runs now.
    pub program: u32,
    padding: u32,
    /// Interface index; 0 once the interface is gone or the link was detached.
    pub interface: u32,
}

/// Makes a map read-only for userspace, for good (Linux 5.2).
pub fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = [0u32; 16];
    attributes[0] = map.as_raw_fd() as u32;
    bpf(BPF_MAP_FREEZE, &mut attributes).map(drop)
}

/// The part of `union bpf_attr` that the batch commands read.
#[derive(Default)]
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Puts a map into each of these slots of an array of maps (Linux 5.14), waiting once for the packets that still see
/// the old ones (6.8; before, once for each). After an error some slots may be written and others not.
pub fn set_slots(outer: BorrowedFd<'_>, slots: &[(u32, BorrowedFd<'_>)]) -> io::Result<()> {
    let keys: Vec<u32> = slots.iter().map(|(slot, _)| *slot).collect();
    let values: Vec<u32> = slots.iter().map(|(_, map)| map.as_raw_fd() as u32).collect();
    let mut attributes = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: slots.len() as u32,
        map: outer.as_raw_fd() as u32,
        ..Batch::default()
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut attributes).map(drop)
}

/// Opens any pinned object.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = [0u64; 8];
    attributes[0] = path.as_ptr() as u64;
    let fd = bpf(BPF_OBJ_GET, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks about an open link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attributes = [0u64; 8];
    // Two u32 in a row (descriptor, length), then the address; laid out for the machine's byte order.
    let head = [link.as_raw_fd() as u32, size_of::<LinkInfo>() as u32];
    attributes[0] = u64::from_ne_bytes(concat(head.map(u32::to_ne_bytes)));
    attributes[1] = (&raw mut info) as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

fn concat([a, b]: [[u8; 4]; 2]) -> [u8; 8] {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}

fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: `attributes` lives across the call and its size is passed; every pointer in it is live too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *mut A, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
