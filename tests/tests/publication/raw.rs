//! Maps by bpf(2): a trie that anybody may edit, for the control, and the agent's own maps, seen from outside.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ipnet::Ipv4Net;

use crate::bpf::bpf;
use crate::map::{Blueprint, create_map};

const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
const NEXT_KEY: libc::c_long = 4;
const OBJ_GET: libc::c_long = 7;
const LPM_TRIE: u32 = 11;
const NO_PREALLOC: u32 = 1;

/// More bytes than a key or a value of any map here has.
pub const ROOM: usize = 64;

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

pub struct Map {
    map: OwnedFd,
}

impl Map {
    /// An empty trie of IPv4 prefixes that is frozen by nobody.
    pub fn trie(entries: u32) -> Self {
        let blueprint = Blueprint { kind: LPM_TRIE, key: 8, value: 4, entries, flags: NO_PREALLOC };
        Self { map: create_map(blueprint).unwrap() }
    }

    pub fn pinned(path: &Path) -> Self {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut attributes = [path.as_ptr() as u64, 0];
        let fd = bpf(OBJ_GET, &mut attributes).unwrap();
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
        Self { map: unsafe { OwnedFd::from_raw_fd(fd) } }
    }

    pub fn insert(&self, key: &[u8; ROOM], value: &[u8; ROOM]) -> io::Result<()> {
        self.element(UPDATE, key.as_ptr() as u64, value.as_ptr() as u64)
    }

    pub fn remove(&self, key: &[u8; ROOM]) -> io::Result<()> {
        self.element(DELETE, key.as_ptr() as u64, 0)
    }

    /// The value of this key, filled up with zeros.
    pub fn look_up(&self, key: &[u8; ROOM]) -> io::Result<[u8; ROOM]> {
        let mut value = [0; ROOM];
        self.element(LOOKUP, key.as_ptr() as u64, value.as_mut_ptr() as u64)?;
        Ok(value)
    }

    /// One of the keys, filled up with zeros; an error when there is none.
    pub fn first_key(&self) -> io::Result<[u8; ROOM]> {
        let mut key = [0; ROOM];
        self.element(NEXT_KEY, 0, key.as_mut_ptr() as u64)?;
        Ok(key)
    }

    /// Both are addresses of `ROOM` bytes that live across the call, or 0.
    fn element(&self, command: libc::c_long, key: u64, value: u64) -> io::Result<()> {
        let map = self.map.as_raw_fd().cast_unsigned();
        bpf(command, &mut Element { map, key, value, ..Element::default() }).map(drop)
    }
}

/// The kernel's `struct bpf_lpm_trie_key` of an IPv4 prefix: length in host order, address as on the wire.
pub fn trie_key(prefix: Ipv4Net) -> [u8; ROOM] {
    let mut key = [0; ROOM];
    key[..4].copy_from_slice(&u32::from(prefix.prefix_len()).to_ne_bytes());
    key[4..8].copy_from_slice(&prefix.addr().octets());
    key
}
