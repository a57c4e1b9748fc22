//! Runs of a pinned program on a frame, many times in one system call.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::time::{ClockId, clock_gettime};

use crate::bpf::bpf;

const OBJ_GET: libc::c_long = 7;
const PROG_TEST_RUN: libc::c_long = 10;
const LIVE_FRAMES: u32 = 1 << 1;

/// The part of `union bpf_attr` that test runs read.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    padding: u32,
}

/// A program or a map.
pub struct Pinned(OwnedFd);

impl Pinned {
    pub fn open(path: &Path) -> Self {
        let text = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut attributes = [text.as_ptr() as u64, 0];
        let fd = bpf(OBJ_GET, &mut attributes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // SAFETY: the kernel has just created this descriptor, and no other code owns it.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Returns the memory that the kernel accounts to it, in bytes.
    pub fn locked(&self) -> u64 {
        let path = format!("/proc/thread-self/fdinfo/{}", self.0.as_raw_fd());
        let info = std::fs::read_to_string(&path).unwrap();
        let field =
            info.lines().find_map(|line| line.strip_prefix("memlock:")).unwrap_or_else(|| panic!("{info}"));
        field.trim().parse().unwrap()
    }

    /// Returns nanoseconds of CPU time of this thread per packet, over `times` packets, without the time of the
    /// [`Self::call`] itself. The call also waits, which uses no CPU time.
    pub fn time(&self, frame: &[u8], times: u32, call: f64) -> f64 {
        (self.spent(frame, times) - call) * 1e9 / f64::from(times - 1)
    }

    /// Returns the CPU time of a call with one packet, in seconds: the least of a few.
    pub fn call(&self, frame: &[u8]) -> f64 {
        const CALLS: usize = 5;
        (0..CALLS).map(|_| self.spent(frame, 1)).fold(f64::INFINITY, f64::min)
    }

    fn spent(&self, frame: &[u8], repeat: u32) -> f64 {
        let mut attributes = Attributes {
            program: self.0.as_raw_fd().cast_unsigned(),
            size_in: u32::try_from(frame.len()).unwrap(),
            data_in: frame.as_ptr() as u64,
            repeat,
            ..Attributes::default()
        };
        let before = thread_time();
        bpf(PROG_TEST_RUN, &mut attributes).unwrap();
        thread_time() - before
    }

    /// Injects `times` packets at an interface of this network namespace, as if received from its wire, into this
    /// program; those that it passes continue up the stack.
    pub fn receive(&self, frame: &[u8], times: u32, interface: u32) -> io::Result<()> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, u32::try_from(frame.len()).unwrap(), 0, interface, 0, 0];
        let mut attributes = Attributes {
            program: self.0.as_raw_fd().cast_unsigned(),
            size_in: u32::try_from(frame.len()).unwrap(),
            data_in: frame.as_ptr() as u64,
            repeat: times,
            context_size_in: u32::try_from(size_of_val(&context)).unwrap(),
            context_in: context.as_ptr() as u64,
            flags: LIVE_FRAMES,
            batch: 64,
            ..Attributes::default()
        };
        bpf(PROG_TEST_RUN, &mut attributes).map(drop)
    }
}

/// Returns the CPU time of this thread in seconds.
pub fn thread_time() -> f64 {
    std::time::Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap()).as_secs_f64()
}
