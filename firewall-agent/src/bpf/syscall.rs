//! `bpf(2)` commands missing in aya.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{
    BPF_F_XDP_HAS_FRAGS,
    bpf_link_type::{BPF_LINK_TYPE_CGROUP, BPF_LINK_TYPE_XDP},
    bpf_prog_type::BPF_PROG_TYPE_XDP,
};
use bytemuck::{Pod, Zeroable};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_FREEZE: libc::c_long = 22;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// Limit of the map ids read for one program; this agent's programs use fewer.
const MOST_MAPS: usize = 64;

/// Info about an XDP link (`struct bpf_link_info`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct LinkInfo {
    kind: u32,
    pub id: u32,
    /// Id of the running program.
    pub program: u32,
    padding: u32,
    /// Interface index; 0 once the interface is gone or the link was detached.
    pub interface: u32,
}

/// Info about a link on a control group (`struct bpf_link_info`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CgroupLinkInfo {
    kind: u32,
    pub id: u32,
    /// Id of the running program.
    pub program: u32,
    padding: u32,
    /// The inode of the group's directory; 0 once the group is gone or the link was detached.
    pub cgroup: u64,
    attach_type: u32,
    end: u32,
}

/// The start of `struct bpf_prog_info`, up to the last field used here.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    uid: u32,
    maps: u32,
    map_ids: u64,
}

/// Makes a map permanently read-only for userspace (Linux 5.2).
pub fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = [0u32; 16];
    attributes[0] = map.as_raw_fd() as u32;
    bpf(BPF_MAP_FREEZE, &mut attributes).map(drop)
}

/// Returns whether the kernel loads XDP programs for packets in several buffers (Linux 5.18).
pub fn takes_packets_in_pieces() -> io::Result<bool> {
    // r0 = XDP_PASS; exit.
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    let mut attributes = [0u64; 16];
    attributes[0] = bytemuck::must_cast([BPF_PROG_TYPE_XDP as u32, 2]);
    attributes[1] = instructions.as_ptr() as u64;
    attributes[2] = c"GPL".as_ptr() as u64;
    // The kernel version, which is ignored, and the flags.
    attributes[5] = bytemuck::must_cast([0, BPF_F_XDP_HAS_FRAGS]);
    match bpf(BPF_PROG_LOAD, &mut attributes) {
        Ok(program) => {
            // SAFETY: the kernel has just returned this descriptor; no other code knows it.
            drop(unsafe { OwnedFd::from_raw_fd(program) });
            Ok(true)
        }
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Pins any object; `path` must not exist.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = [0u64; 8];
    attributes[0] = path.as_ptr() as u64;
    attributes[1] = object.as_raw_fd() as u64;
    bpf(BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// Detaches a link, even if another process has it open (Linux 5.9).
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = [0u32; 16];
    attributes[0] = link.as_raw_fd() as u32;
    bpf(BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// Sets the maps in these slots of an array of maps (Linux 5.14), with one wait for packets that still see the old ones
/// (6.8; before, one for each). After an error some slots may be written and others not.
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
    // SAFETY: the kernel has just returned this descriptor; no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a pinned XDP link and queries it. Fails with EINVAL when the pin names any other object: one call describes
/// every kind of object, and the info of a program reads like a link's.
pub fn open_link(path: &Path) -> io::Result<(OwnedFd, LinkInfo)> {
    let link = open_pin(path)?;
    let kind = std::fs::read_link(format!("/proc/self/fd/{}", link.as_raw_fd()))?;
    // "anon_inode:bpf-link"; maps and programs are called bpf-map and bpf-prog.
    let is_link = kind.to_string_lossy().ends_with("link");
    let info = link_info(link.as_fd())?;
    if is_link && info.kind == BPF_LINK_TYPE_XDP as u32 {
        Ok((link, info))
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

/// As [`open_link`], for a link on a control group.
pub fn open_cgroup_link(path: &Path) -> io::Result<(OwnedFd, CgroupLinkInfo)> {
    let link = open_pin(path)?;
    let kind = std::fs::read_link(format!("/proc/self/fd/{}", link.as_raw_fd()))?;
    let info = cgroup_link_info(link.as_fd())?;
    if kind.to_string_lossy().ends_with("link") && info.kind == BPF_LINK_TYPE_CGROUP as u32 {
        Ok((link, info))
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

/// Queries an open link on a control group.
pub fn cgroup_link_info(link: BorrowedFd<'_>) -> io::Result<CgroupLinkInfo> {
    let mut info = CgroupLinkInfo::default();
    get_info(link, &mut info)?;
    Ok(info)
}

/// Makes a link run another program, atomically (Linux 5.7).
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = [0u32; 16];
    attributes[0] = link.as_raw_fd() as u32;
    attributes[1] = program.as_raw_fd() as u32;
    bpf(BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Queries an open link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    get_info(link, &mut info)?;
    Ok(info)
}

/// Ids of the maps used by a program, in no order.
pub fn program_maps(program: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MOST_MAPS];
    let mut info =
        ProgramInfo { maps: MOST_MAPS as u32, map_ids: ids.as_mut_ptr() as u64, ..ProgramInfo::default() };
    get_info(program, &mut info)?;
    Ok(ids.into_iter().take(info.maps as usize).collect())
}

/// Queries an object. `I` is the start of the kernel's structure for this kind of object.
fn get_info<I: Pod>(object: BorrowedFd<'_>, info: &mut I) -> io::Result<()> {
    let mut attributes = [0u64; 8];
    // Two u32 in a row (descriptor, length), then the address; in the machine's byte order.
    let head = [object.as_raw_fd() as u32, size_of::<I>() as u32];
    attributes[0] = bytemuck::must_cast(head);
    attributes[1] = (info as *mut I) as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).map(drop)
}

/// Start of `struct bpf_map_info`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct MapInfo {
    kind: u32,
    id: u32,
    /// Bytes.
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Cursor of a batch call: as long as a key, and at least 4 bytes.
type Position = [u32; 16];

/// The attributes of a batch call (`union bpf_attr`, `batch`).
#[derive(Debug, Default)]
#[repr(C)]
struct Batch {
    /// Addresses of the start cursor and of the cursor reached; 0 at the start.
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Reads a whole hash map, array or trie in batches (Linux 5.6; tries 5.13): one pass, whatever is added or removed
/// meanwhile.
///
/// # Errors
/// The map cannot be read, or its keys and values have other sizes than `K` and `V`.
pub fn read_map<K: Pod, V: Pod>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    const { assert!(size_of::<K>() <= size_of::<Position>()) };
    let entries = map_info::<K, V>(map)?.max_entries;
    let mut rows = Vec::new();
    let (mut keys, mut values) = (vec![K::zeroed(); entries as usize], vec![V::zeroed(); entries as usize]);
    let mut position = Position::default();
    let mut batch = Batch::default();
    loop {
        batch.to = (&raw mut position) as u64;
        batch.keys = keys.as_mut_ptr() as u64;
        batch.values = values.as_mut_ptr() as u64;
        batch.count = entries;
        batch.map = map.as_raw_fd() as u32;
        let read = bpf(BPF_MAP_LOOKUP_BATCH, &mut batch);
        let at_end = match read {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        rows.extend(keys.iter().copied().zip(values.iter().copied()).take(batch.count as usize));
        if at_end {
            return Ok(rows);
        }
        batch.from = batch.to;
    }
}

/// Writes rows to a hash map, an array or a trie with one call (Linux 5.6; tries 5.13). After an error some rows may be
/// written and others not.
///
/// # Errors
/// The map cannot be written, or its keys and values have other sizes than `K` and `V`.
pub fn fill_map<K: Pod, V: Pod>(map: BorrowedFd<'_>, rows: impl Iterator<Item = (K, V)>) -> io::Result<()> {
    map_info::<K, V>(map)?;
    let (keys, values): (Vec<K>, Vec<V>) = rows.unzip();
    let mut batch = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut batch).map(drop)
}

/// Queries a map with these keys and values.
fn map_info<K, V>(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    get_info(map, &mut info)?;
    if (info.key_size as usize, info.value_size as usize) != (size_of::<K>(), size_of::<V>()) {
        let MapInfo { key_size, value_size, .. } = info;
        return Err(io::Error::other(format!(
            "keys of {key_size} and values of {value_size} bytes: expected {} and {}",
            size_of::<K>(),
            size_of::<V>()
        )));
    }
    Ok(info)
}

fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: `attributes` lives across the call and its size is passed; every pointer in it is live, too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *mut A, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
