//! A process killed at an exact point: after a given number of map writes, before any other action.

use std::collections::HashSet;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Commands of bpf(2) that change a map, from `linux/bpf.h`: `BPF_MAP_UPDATE_ELEM`, `_DELETE_ELEM`, `_UPDATE_BATCH`.
const WRITES: [u64; 3] = [2, 3, 26];

/// Starts the count of [`killed_after`]; called by the traced process.
pub fn count_from_here() {
    let _ = raise(Signal::SIGUSR1);
}

/// Runs the command and kills it as soon as it has made `writes` map writes since [`count_from_here`]: returns `true`.
/// Returns `false` if it ends with success before. Calls `between` while the command is stopped after each write but
/// the last.
///
/// # Errors
/// When the command cannot be started or traced, or ends in any other way.
pub fn killed_after(command: &mut Command, writes: usize, mut between: impl FnMut()) -> Result<bool> {
    // SAFETY: the closure makes one system call; it neither allocates nor takes a lock after the fork.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.process_group(0).spawn().context("traced: not started")?;
    let leader = Pid::from_raw(child.id().cast_signed());
    // The kernel stops the child once the program is loaded.
    waitpid(leader, Some(WaitPidFlag::__WALL)).context("traced: not stopped")?;
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(leader, options).context("traced: no options")?;
    ptrace::syscall(leader, None).context("traced: not continued")?;
    let mut tracer = Tracer { counts: false, writing: HashSet::new() };
    let mut left = writes;
    loop {
        let stopped = waitpid(group(leader), Some(WaitPidFlag::__WALL)).context("traced: lost")?;
        if let WaitStatus::Exited(pid, code) = stopped
            && pid == leader
        {
            ensure!(code == 0, "traced: ended with {code}");
            return Ok(false);
        }
        if let WaitStatus::Signaled(pid, signal, _) = stopped {
            ensure!(pid != leader, "traced: ended by {signal}");
        }
        if tracer.has_written(stopped)? {
            left = left.saturating_sub(1);
            if left == 0 {
                kill(leader, Signal::SIGKILL).context("traced: not killed")?;
                while waitpid(group(leader), Some(WaitPidFlag::__WALL)).is_ok() {}
                return Ok(true);
            }
            between();
        }
        go_on(stopped);
    }
}

/// Returns the wait target for all threads of the process, which excludes other children.
fn group(leader: Pid) -> Pid {
    Pid::from_raw(-leader.as_raw())
}

/// Resumes a stopped thread; one that has ended meanwhile is ignored.
fn go_on(stopped: WaitStatus) {
    // The tracer suppresses the process's signal to it (SIGUSR1) and the initial stop of a new thread (SIGSTOP).
    let delivered = if let WaitStatus::Stopped(_, signal) = stopped { Some(signal) } else { None };
    let delivered = delivered.filter(|signal| !matches!(signal, Signal::SIGUSR1 | Signal::SIGSTOP));
    if let Some(pid) = stopped.pid() {
        let _ = ptrace::syscall(pid, delivered);
    }
}

struct Tracer {
    counts: bool,
    /// Threads inside a map-writing call.
    writing: HashSet<Pid>,
}

impl Tracer {
    /// Returns whether the thread stopped at the end of a counted write.
    fn has_written(&mut self, status: WaitStatus) -> Result<bool> {
        if matches!(status, WaitStatus::Stopped(_, Signal::SIGUSR1)) {
            self.counts = true;
        }
        let WaitStatus::PtraceSyscall(pid) = status else { return Ok(false) };
        let info = SyscallInfo::of(pid).context("traced: which call")?;
        if info.op != SyscallInfo::ENTRY {
            return Ok(self.writing.remove(&pid) && self.counts);
        }
        if info.number == libc::SYS_bpf.cast_unsigned() && WRITES.contains(&info.arguments[0]) {
            self.writing.insert(pid);
        }
        Ok(false)
    }
}

/// `struct ptrace_syscall_info` at the entry of a call; nix has it only with glibc.
#[derive(Default)]
#[repr(C)]
struct SyscallInfo {
    op: u8,
    reserved: [u8; 3],
    architecture: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// This and the arguments are valid only at an entry.
    number: u64,
    arguments: [u64; 6],
}

impl SyscallInfo {
    /// `PTRACE_GET_SYSCALL_INFO` in `linux/ptrace.h`.
    const REQUEST: libc::c_long = 0x420e;
    /// `PTRACE_SYSCALL_INFO_ENTRY`.
    const ENTRY: u8 = 1;

    /// Returns the call in which a thread is stopped.
    fn of(pid: Pid) -> nix::Result<Self> {
        let (mut info, size) = (Self::default(), size_of::<Self>());
        let (pid, info_at) = (libc::c_long::from(pid.as_raw()), &raw mut info);
        // SAFETY: the kernel writes at most `size` bytes to `info`, in which every value is valid.
        let read = unsafe { libc::syscall(libc::SYS_ptrace, Self::REQUEST, pid, size, info_at) };
        nix::errno::Errno::result(read)?;
        Ok(info)
    }
}
