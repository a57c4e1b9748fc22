//! IPv4 tries by bpf(2): one that anybody may edit, for the control, and the agent's own, seen from outside.

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ipnet::Ipv4Net;

const MAP_CREATE: libc::c_long = 0;
const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
const OBJ_GET: libc::c_long = 7;
const LPM_TRIE: u32 = 11;
const NO_PREALLOC: u32 = 1;
const VALUE_SIZE: u32 = 4;

/// The kernel's `struct bpf_lpm_trie_key` of an IPv4 prefix: length in host order, address as on the wire.
#[repr(C)]
struct Key {
    length: u32,
    address: [u8; 4],
}

/// The part of `union bpf_attr` that element commands read.
#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

pub struct Trie {
    map: OwnedFd,
}

impl Trie {
    /// An empty trie that is frozen by nobody.
    pub fn new(entries: u32) -> Self {
        let mut attributes = [LPM_TRIE, size_of::<Key>() as u32, VALUE_SIZE, entries, NO_PREALLOC];
        Self::opened(bpf(MAP_CREATE, &mut attributes).unwrap())
    }

    pub fn pinned(path: &Path) -> Self {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut attributes = [path.as_ptr() as u64, 0];
        Self::opened(bpf(OBJ_GET, &mut attributes).unwrap())
    }

    pub fn insert(&self, prefix: Ipv4Net, mut rule: u32) -> io::Result<()> {
        self.element(UPDATE, prefix, (&raw mut rule) as u64)
    }

    pub fn remove(&self, prefix: Ipv4Net) -> io::Result<()> {
        self.element(DELETE, prefix, 0)
    }

    pub fn allows(&self, source: Ipv4Addr) -> bool {
        let mut rule = 0u32;
        self.element(LOOKUP, source.into(), (&raw mut rule) as u64).is_ok()
    }

    fn element(&self, command: libc::c_long, prefix: Ipv4Net, value: u64) -> io::Result<()> {
        let key = Key { length: prefix.prefix_len().into(), address: prefix.addr().octets() };
        let map = self.map.as_raw_fd().cast_unsigned();
        let mut attributes = Element { map, key: (&raw const key) as u64, value, ..Element::default() };
        bpf(command, &mut attributes).map(drop)
    }

    fn opened(fd: i32) -> Self {
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
        Self { map: unsafe { OwnedFd::from_raw_fd(fd) } }
    }
}

fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: the attributes live across the call and their size is passed; every address in them is live too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *mut A, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
