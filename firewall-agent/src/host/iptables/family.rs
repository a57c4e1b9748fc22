//! The two families of iptables-legacy, and their tables as the kernel gives them.

use std::ffi::c_void;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, ensure};

/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`, the same in both families.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// Bytes of a table's name.
const NAME: usize = 32;
/// `struct ipt_getinfo`: name, valid hooks, five entries and five underflows by hook, number and bytes of all entries.
const INFO: usize = 84;
/// `struct ipt_get_entries` without its entries: name and size, aligned to 8 bytes.
const ENTRIES_HEAD: usize = 40;

/// Family of iptables, and offsets in bytes of its `struct ipt_entry`.
#[derive(Debug)]
pub(super) struct Family {
    pub program: &'static str,
    /// File with the names of the existing tables.
    pub names: &'static str,
    level: i32,
    pub destination: usize,
    /// Bytes of an address.
    pub address: usize,
    pub destination_mask: usize,
    pub protocol: usize,
    pub inversions: usize,
    /// Offset of the target in an entry, and of the next entry.
    pub target_offset: usize,
    /// Bytes before the matches.
    pub length: usize,
}

/// Where a table's chains start, as the kernel gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    pub valid_hooks: u32,
    /// Offset of the first entry, by hook.
    pub hooks: [u32; 5],
}

impl Family {
    pub const ALL: [Self; 2] = [
        Self {
            program: "iptables-legacy",
            names: "/proc/self/net/ip_tables_names",
            level: libc::SOL_IP,
            destination: 4,
            address: 4,
            destination_mask: 12,
            protocol: 80,
            inversions: 83,
            target_offset: 88,
            length: 112,
        },
        Self {
            program: "ip6tables-legacy",
            names: "/proc/self/net/ip6_tables_names",
            level: libc::SOL_IPV6,
            destination: 16,
            address: 16,
            destination_mask: 48,
            protocol: 128,
            inversions: 132,
            target_offset: 140,
            length: 168,
        },
    ];

    /// The chains and the entries of a table that exists.
    ///
    /// # Errors
    /// When the kernel refuses, as it does without CAP_NET_ADMIN, or the table changes meanwhile.
    pub fn entries(&self, table: &str) -> Result<(Info, Vec<u8>)> {
        ensure!(table.len() < NAME, "a name of {} bytes", table.len());
        let socket = if self.level == libc::SOL_IP {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        };
        let socket = socket.context("no socket")?;
        let mut info = vec![0; INFO];
        info.splice(..table.len(), table.bytes());
        self.get(&socket, GET_INFO, &mut info).context("cannot read its size")?;
        let number = |at: usize| {
            let bytes = info.get(at..).and_then(|bytes| bytes.first_chunk()).context("short answer")?;
            Ok::<_, anyhow::Error>(u32::from_ne_bytes(*bytes))
        };
        let mut hooks = [0; 5];
        for (hook, offset) in hooks.iter_mut().zip((NAME + 4..).step_by(4)) {
            *hook = number(offset)?;
        }
        let size = number(INFO - 4)?;
        let mut answer = vec![0; ENTRIES_HEAD + usize::try_from(size)?];
        answer.splice(..table.len(), table.bytes());
        answer.splice(NAME..NAME + 4, size.to_ne_bytes());
        self.get(&socket, GET_ENTRIES, &mut answer).context("cannot read its rules")?;
        Ok((Info { valid_hooks: number(NAME)?, hooks }, answer.split_off(ENTRIES_HEAD)))
    }

    fn get(&self, socket: &UdpSocket, option: i32, buffer: &mut [u8]) -> io::Result<()> {
        let mut length = libc::socklen_t::try_from(buffer.len()).map_err(io::Error::other)?;
        let start = buffer.as_mut_ptr().cast::<c_void>();
        // SAFETY: the kernel writes at most `length` bytes, which the buffer has, and the new length.
        let done =
            unsafe { libc::getsockopt(socket.as_raw_fd(), self.level, option, start, &raw mut length) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
