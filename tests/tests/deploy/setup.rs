//! A host with a server on a guarded port, a client, and checks of a confined agent between them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use firewall_tests::lab::{Agent, CAPABILITY_MASK, OnHost, RuleFile, TestHost, eventually, process_status};
use libc::sock_filter;
use nix::mount::{MsFlags, mount};
use procfs_core::FromRead as _;
use procfs_core::process::MountInfos;
use seccompiler::{BpfProgram, TargetArch, compile_from_json};

const SERVER: &str = "192.0.2.10:5432";
const CLIENT: &str = "192.0.2.20";

/// Returns the hosts and a server on the guarded port, without a filter.
pub fn unfiltered() -> TestHost {
    let host = TestHost::builder()
        .servers(&["192.0.2.10/24"])
        .clients(&[&format!("{CLIENT}/24")])
        .listeners(&[SERVER])
        .build();
    // Control: without the agent the port is open.
    assert!(host.is_open());
    host
}

/// Checks of the server's port by real connections.
pub trait Server: OnHost {
    /// Several attempts: a busy machine delays one.
    fn is_open(&self) -> bool {
        (0..4).any(|_| self.host().connects(CLIENT, SERVER))
    }

    /// Requires that the agent drops packets that no rule allows, and passes those that `rules` allows.
    fn is_filtered_by(&self, agent: &mut Agent, rules: &Path) {
        let push = |revision, source: &str| {
            let file = RuleFile::new("orders", revision).endpoint(SERVER).allow(source);
            fs::write(rules.join(".new"), file.to_string()).unwrap();
            fs::rename(rules.join(".new"), rules.join("orders.yaml")).unwrap();
        };
        agent.wait_until("the guarded port is closed", || !self.is_open()).unwrap();
        push(1, "192.0.2.20/32");
        agent.wait_until("the rule lets the client in", || self.is_open()).unwrap();
        push(2, "192.0.2.21/32");
        agent.wait_until("the client is out again", || !self.is_open()).unwrap();
    }
}

impl Server for TestHost {}

/// Bind-mounts a directory at a second path.
pub fn bind(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

pub fn read_only(at: &Path) {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    // EBUSY: a process that another test has just forked holds a file open for writing, until it executes its program.
    let remounted = || mount(None::<&str>, at, None::<&str>, flags, None::<&str>).ok();
    eventually(Duration::from_secs(10), "mounted read-only", remounted).unwrap();
}

/// Copies a program in a process of its own: no process that another test forks meanwhile holds the copy open for
/// writing, which would refuse its execution (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Runs a command with another root directory.
pub fn in_root(root: &Path, command: &[&str]) -> Output {
    let mut chroot = Command::new("chroot");
    chroot.env("DEBIAN_FRONTEND", "noninteractive").arg(root).args(command).output().unwrap()
}

/// Waits for a process that must end by itself; returns whether it succeeded.
pub fn succeeds(mut command: Command) -> bool {
    let Ok(mut child) = command.spawn() else { return false };
    let ended = eventually(Duration::from_secs(10), "it ends", || child.try_wait().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    ended.is_ok_and(|status| status.success())
}

/// Requires that the running process has this user, exactly the three capabilities and no way to gain others, a seccomp
/// filter, and a read-only root directory.
pub fn has_few_rights(agent: &Agent, id: u32, ambient: bool) {
    let now = process_status(agent.pid()).unwrap();
    let inherited = if ambient { CAPABILITY_MASK } else { 0 };
    assert_eq!([now.ruid, now.euid, now.suid, now.fuid], [id; 4]);
    assert_eq!([now.rgid, now.egid, now.sgid, now.fgid], [id; 4]);
    assert_eq!(now.groups, [0; 0]);
    assert_eq!([Some(now.capprm), Some(now.capeff), now.capbnd], [Some(CAPABILITY_MASK); 3]);
    assert_eq!((now.capinh, now.capamb), (inherited, Some(inherited)));
    assert_eq!((now.nonewprivs, now.seccomp), (Some(u64::from(ambient)), Some(2)));
    let mounts = MountInfos::from_file(format!("/proc/{}/mountinfo", agent.pid())).unwrap();
    let root = mounts.iter().find(|mount| mount.mount_point == Path::new("/")).unwrap();
    assert!(root.mount_options.contains_key("ro"), "{root:?}");
}

/// Returns a filter that allows these calls and fails all others with EPERM.
pub fn filter<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<sock_filter> {
    let compiled = |names: &[&String]| -> Option<BpfProgram> {
        let calls: Vec<_> = names.iter().map(|name| serde_json::json!({"syscall": name})).collect();
        let json = serde_json::json!({"agent": {
            "mismatch_action": {"errno": libc::EPERM}, "match_action": "allow", "filter": calls,
        }});
        let arch: TargetArch = std::env::consts::ARCH.try_into().unwrap();
        compile_from_json(json.to_string().as_bytes(), arch).ok()?.remove("agent")
    };
    // systemd's sets include calls of other architectures.
    let known: Vec<&String> = names.into_iter().filter(|name| compiled(&[name]).is_some()).collect();
    assert!(known.len() > 100, "{known:?}");
    let program = compiled(&known).unwrap();
    program.iter().map(|one| sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k }).collect()
}
