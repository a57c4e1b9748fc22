//! A system without file events: the kernel refuses every inotify watch, as with `fs.inotify.max_user_watches` used up.

use std::io::Error;

use anyhow::{Context as _, Result, ensure};
use nix::sys::prctl::set_no_new_privs;

/// Makes the kernel refuse every watch of this thread and its children with ENOSPC, from now on.
pub fn refuse() -> Result<()> {
    set_no_new_privs().context("system calls: not filtered")?;
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let (load, is_equal, end) = (
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        (libc::BPF_RET | libc::BPF_K) as u16,
    );
    let mut filter = [
        // The system call number is the first field of `seccomp_data`.
        statement(load, 0),
        libc::sock_filter { code: is_equal, jt: 0, jf: 1, k: libc::SYS_inotify_add_watch as u32 },
        statement(end, libc::SECCOMP_RET_ERRNO | libc::ENOSPC as u32),
        statement(end, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the filter, which outlives the call, and writes nothing.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    ensure!(result == 0, "system calls: not filtered: {}", Error::last_os_error());
    Ok(())
}
