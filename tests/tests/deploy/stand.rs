//! A host with a server on a guarded port, a client, and checks of a confined agent between them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use firewall_tests::lab::{Agent, CAPABILITY_MASK, Host, Lab, eventually};
use libc::sock_filter;
use nix::mount::{MsFlags, mount};
use seccompiler::{BpfProgram, TargetArch, compile_from_json};

const SERVER: &str = "192.0.2.10:5432";

pub struct Stand {
    pub lab: Lab,
    pub db: Host,
    outside: Host,
    server: TcpListener,
}

impl Stand {
    pub fn new() -> Self {
        let lab = Lab::new().unwrap();
        let (db, outside) = (lab.host("db").unwrap(), lab.host("outside").unwrap());
        lab.link(db.end("eth0", &["192.0.2.10/24"]), outside.end("eth0", &["192.0.2.20/24"])).unwrap();
        let inside = db.enter().unwrap();
        let server = TcpListener::bind(SERVER).unwrap();
        server.set_nonblocking(true).unwrap();
        drop(inside);
        let stand = Self { lab, db, outside, server };
        // Control: without the agent the port is open.
        assert!(stand.is_open());
        stand
    }

    pub fn is_open(&self) -> bool {
        let server: SocketAddr = SERVER.parse().unwrap();
        let connected = self.outside.connect(server, Duration::from_millis(300)).is_ok();
        // Unaccepted connections would fill the backlog and block further ones.
        while self.server.accept().is_ok() {}
        connected
    }

    /// Requires that the agent drops packets that no rule allows, and passes those that `rules` allows.
    pub fn is_filtered_by(&self, agent: &mut Agent, rules: &Path) {
        agent.wait_until("the guarded port is closed", || !self.is_open()).unwrap();
        let text = "schema_version: 1\ndatabase_id: orders\nrevision: 1\ngenerated_at: 2026-08-21T15:27:32Z\n\
                    endpoints:\n  - {address: 192.0.2.10, port: 5432}\n\
                    rules:\n  - {id: client, type: custom_range, cidr: 192.0.2.20/32}\n...\n";
        fs::write(rules.join(".new"), text).unwrap();
        fs::rename(rules.join(".new"), rules.join("orders.yaml")).unwrap();
        agent.wait_until("the rule lets the client in", || self.is_open()).unwrap();
        let other = text.replace("revision: 1\n", "revision: 2\n").replace("192.0.2.20/32", "192.0.2.21/32");
        fs::write(rules.join(".new"), other).unwrap();
        fs::rename(rules.join(".new"), rules.join("orders.yaml")).unwrap();
        agent.wait_until("the client is out again", || !self.is_open()).unwrap();
    }
}

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

/// Returns the fields of `/proc/PID/status`.
pub fn status(process: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    text.lines().filter_map(field).collect()
}

/// Requires that the running process has this user, exactly the three capabilities and no way to gain others, a seccomp
/// filter, and a read-only root directory.
pub fn has_few_rights(agent: &Agent, id: u32, ambient: bool) {
    let fields = status(agent.pid());
    let mask = format!("{CAPABILITY_MASK:016x}");
    let none = format!("{:016x}", 0);
    let kept = if ambient { &mask } else { &none };
    let ids = [id; 4].map(|id| id.to_string()).join(" ");
    for (name, expected) in [
        ("Uid", ids.as_str()),
        ("Gid", ids.as_str()),
        ("Groups", ""),
        ("CapPrm", &mask),
        ("CapEff", &mask),
        ("CapBnd", &mask),
        ("CapInh", kept),
        ("CapAmb", kept),
        ("NoNewPrivs", if ambient { "1" } else { "0" }),
        ("Seccomp", "2"),
    ] {
        assert_eq!(fields.get(name).map(String::as_str), Some(expected), "{name}: {fields:?}");
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", agent.pid())).unwrap();
    let root = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[4] == "/").then(|| fields[5].to_owned())
    });
    assert!(root.as_ref().is_some_and(|options| options.split(',').any(|one| one == "ro")), "{mounts}");
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
