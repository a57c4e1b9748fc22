//! Maps through bpf(2): an unfrozen trie for controls, and outside access to the agent's own maps.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ipnet::Ipv4Net;

use crate::bpf::bpf;

/// Attach type of programs and links.
pub const BPF_XDP: u32 = 37;
const XDP: u32 = 6;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_HAS_FRAGS: u32 = 1 << 5;
const MAP_CREATE: libc::c_long = 0;
const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
const NEXT_KEY: libc::c_long = 4;
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const INFO: libc::c_long = 15;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;
const LPM_TRIE: u32 = 11;
pub const NO_PREALLOC: u32 = 1;
const RDONLY_PROG: u32 = 1 << 7;

/// Exceeds the bytes of every key and value here.
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

/// The start of `struct bpf_map_info`: type, id, sizes in bytes, number of entries, flags.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Shape {
    pub kind: u32,
    pub id: u32,
    pub key: u32,
    pub value: u32,
    pub entries: u32,
    pub flags: u32,
}

pub struct Map {
    map: OwnedFd,
}

impl Map {
    /// Returns an empty map of this shape.
    pub fn shaped_as(shape: &Shape) -> Self {
        let Shape { kind, key, value, entries, flags, .. } = *shape;
        Self::opened(bpf(MAP_CREATE, &mut [kind, key, value, entries, flags]).unwrap())
    }

    /// Returns an empty, unfrozen trie of IPv4 prefixes.
    pub fn trie(entries: u32) -> Self {
        Self::trie_with(entries, NO_PREALLOC)
    }

    /// Returns a trie of IPv4 prefixes for the agent's outer maps: `BPF_F_NO_PREALLOC`, and read-only for programs.
    pub fn publishable_trie(entries: u32) -> Self {
        Self::trie_with(entries, NO_PREALLOC | RDONLY_PROG)
    }

    fn trie_with(entries: u32, flags: u32) -> Self {
        Self::shaped_as(&Shape { kind: LPM_TRIE, key: 8, value: 4, entries, flags, ..Shape::default() })
    }

    pub fn pinned(path: &Path) -> Self {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut attributes = [path.as_ptr() as u64, 0];
        Self::opened(bpf(OBJ_GET, &mut attributes).unwrap())
    }

    /// Returns a program that drops everything, loaded for this attach type.
    pub fn drop_all(attach_type: u32) -> Self {
        Self::program(XDP_DROP, attach_type, 0)
    }

    /// Returns a program that passes everything, loaded as the agent's own are.
    pub fn pass_all() -> Self {
        Self::program(XDP_PASS, BPF_XDP, XDP_HAS_FRAGS)
    }

    fn program(action: u32, attach_type: u32, flags: u32) -> Self {
        // r0 = action; exit.
        let instructions: [u64; 2] = [u64::from(action) << 32 | 0xb7, 0x95];
        let license = c"GPL";
        let mut attributes = [0u64; 16];
        attributes[0] = u64::from(XDP) | 2 << 32;
        attributes[1] = instructions.as_ptr() as u64;
        attributes[2] = license.as_ptr() as u64;
        // prog_flags is the second half of the sixth word.
        attributes[5] = u64::from(flags) << 32;
        // expected_attach_type is the second half of the ninth word.
        attributes[8] = u64::from(attach_type) << 32;
        Self::opened(bpf(PROG_LOAD, &mut attributes).unwrap())
    }

    /// Wraps the descriptor of an object that a call has just returned.
    pub fn opened(descriptor: i32) -> Self {
        // SAFETY: the kernel has just created this descriptor, and no other code owns it.
        Self { map: unsafe { OwnedFd::from_raw_fd(descriptor) } }
    }

    /// Pins the object at a free path.
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let map = u64::from(self.map.as_raw_fd().cast_unsigned());
        bpf(OBJ_PIN, &mut [path.as_ptr() as u64, map]).map(drop)
    }

    /// Returns type, id, sizes and flags.
    pub fn shape(&self) -> io::Result<Shape> {
        let mut shape = Shape::default();
        let head = u64::from(self.map.as_raw_fd().cast_unsigned()) | (size_of::<Shape>() as u64) << 32;
        bpf(INFO, &mut [head, (&raw mut shape) as u64])?;
        Ok(shape)
    }

    /// Replaces the program of this link.
    pub fn update_link(&self, program: &Self) -> io::Result<()> {
        let [link, program] = [self, program].map(|one| one.map.as_raw_fd().cast_unsigned());
        bpf(LINK_UPDATE, &mut [link, program, 0, 0]).map(drop)
    }

    /// Sets the value of this key; `value` has at least the map's size.
    pub fn insert(&self, key: &[u8; ROOM], value: &[u8]) -> io::Result<()> {
        self.element(UPDATE, key.as_ptr() as u64, value.as_ptr() as u64)
    }

    pub fn remove(&self, key: &[u8; ROOM]) -> io::Result<()> {
        self.element(DELETE, key.as_ptr() as u64, 0)
    }

    /// Sets this map as the inner map in a slot of an outer map.
    pub fn publish(&self, outer: &Self, slot: u32) -> io::Result<()> {
        let (mut key, mut value) = ([0; ROOM], [0; ROOM]);
        key[..4].copy_from_slice(&slot.to_ne_bytes());
        value[..4].copy_from_slice(&self.map.as_raw_fd().to_ne_bytes());
        outer.insert(&key, &value)
    }

    /// Detaches this link.
    pub fn detach(&self) -> io::Result<()> {
        bpf(LINK_DETACH, &mut [self.map.as_raw_fd().cast_unsigned(), 0]).map(drop)
    }

    /// Returns the value of this key, padded with zeros.
    pub fn look_up(&self, key: &[u8; ROOM]) -> io::Result<[u8; ROOM]> {
        let mut value = [0; ROOM];
        self.element(LOOKUP, key.as_ptr() as u64, value.as_mut_ptr() as u64)?;
        Ok(value)
    }

    /// Returns the key after this one, or the first, padded with zeros; fails if there is none.
    pub fn next_key(&self, key: Option<&[u8; ROOM]>) -> io::Result<[u8; ROOM]> {
        let mut next = [0; ROOM];
        self.element(NEXT_KEY, key.map_or(0, |key| key.as_ptr() as u64), next.as_mut_ptr() as u64)?;
        Ok(next)
    }

    /// `key` and `value` are addresses of `ROOM` bytes that live across the call, or 0.
    fn element(&self, command: libc::c_long, key: u64, value: u64) -> io::Result<()> {
        let map = self.map.as_raw_fd().cast_unsigned();
        bpf(command, &mut Element { map, key, value, ..Element::default() }).map(drop)
    }
}

/// Returns the kernel's `struct bpf_lpm_trie_key` of an IPv4 prefix: length in host order, address in network order.
pub fn trie_key(prefix: Ipv4Net) -> [u8; ROOM] {
    let mut key = [0; ROOM];
    key[..4].copy_from_slice(&u32::from(prefix.prefix_len()).to_ne_bytes());
    key[4..8].copy_from_slice(&prefix.addr().octets());
    key
}
