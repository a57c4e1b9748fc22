//! Throw-away hosts for tests and the demo: network namespaces joined by veth pairs, a PostgreSQL server, an agent.
//!
//! All resources belong to the namespaces of one thread. When it ends for any reason, nothing is left: mounts, pins,
//! namespaces and files go with the last process, and every child dies with the thread that started it.
//!
//! Commands are `std::process::Command`s. xshell runs a command to its end only, and cannot enter a namespace between
//! fork and exec.

mod agent;
mod answer;
mod artefact;
mod binary;
mod builder;
mod cgroup;
mod confined;
mod contained;
mod cpu;
mod home;
mod host;
mod kernel;
mod link;
mod minisign;
mod next_layout;
mod postgres;
mod psql;
mod rounds;
mod rule_file;
mod test_host;
mod traced;
mod wait;
mod wall_clock;

use std::fs::{File, Permissions};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use cgroup::Cgroup;

pub use agent::{Agent, CAPABILITY_MASK, User, process_status};
pub use answer::Answer;
pub use artefact::{artefact, tool};
pub use binary::{agent_binary, agent_of};
pub use builder::Builder;
pub use confined::Confinement;
pub use contained::contained;
pub use cpu::{cpus, pin_to};
pub use home::{AgentHome, Settings};
pub use host::{Host, Inside};
pub use kernel::records_denied_packets;
pub use link::End;
pub use minisign::Key;
pub use next_layout::{next_layout_binary, next_layout_of};
pub use postgres::Postgres;
pub use psql::{Session, psql};
pub use rounds::{is_full, rounds};
pub use rule_file::{RangesFile, RuleFile};
pub use test_host::{INTERFACE, OnHost, TestHost, UNPROTECTED, connects, database_of};
pub use traced::{count_from_here, killed_after};
pub use wait::eventually;
pub use wall_clock::wall_clock;

/// The namespaces that a lab owns; they are invisible to other processes of the machine.
const OWN: CloneFlags =
    CloneFlags::CLONE_NEWNS.union(CloneFlags::CLONE_NEWNET).union(CloneFlags::CLONE_NEWIPC);

/// Fresh mounts: file system, path, options. `/proc` is included for a lab in its own PID namespace.
const MOUNTS: &[(&str, &str, Option<&str>)] = &[
    ("proc", "/proc", None),
    ("tmpfs", "/run", Some("mode=0755")),
    ("tmpfs", "/dev/shm", Some("mode=1777")),
    ("bpf", "/sys/fs/bpf", Some("mode=0755")),
];

/// A set of namespaces around the current thread, with private `/run`, `/dev/shm` and `/sys/fs/bpf`, and a control group
/// that is `/sys/fs/cgroup`. Outside its hosts the thread has no network but a loopback that is down. Threads that it starts are inside too. Dropping it moves the
/// thread back.
#[derive(Debug)]
pub struct Lab {
    /// Left before the namespaces.
    cgroup: Option<Cgroup>,
    before: Before,
    dir: PathBuf,
    not_send: PhantomData<*const ()>,
}

/// The thread's previous state: joining a mount namespace also moves the thread to the root directory there.
#[derive(Debug)]
struct Before {
    namespaces: [OwnedFd; 3],
    directory: PathBuf,
}

impl Lab {
    /// Needs root.
    pub fn new() -> Result<Self> {
        let before = Before {
            namespaces: [namespace("mnt")?, namespace("net")?, namespace("ipc")?],
            directory: std::env::current_dir().context("lab: no current directory")?,
        };
        unshare(OWN).context("lab: no namespaces of its own; it needs root")?;
        let mut lab = Self { cgroup: None, before, dir: PathBuf::from("/run/lab"), not_send: PhantomData };
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .context("/: not private")?;
        for (kind, at, options) in MOUNTS {
            mount(Some(*kind), *at, Some(*kind), MsFlags::empty(), *options)
                .with_context(|| format!("{at}: {kind} not mounted"))?;
        }
        give_bpffs()?;
        for dir in [Path::new("/run/netns"), lab.dir()] {
            fs::create_dir(dir)?;
        }
        lab.cgroup = Some(Cgroup::enter()?);
        Ok(lab)
    }

    /// Returns the directory of the lab's control group, at any time.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.as_ref().map_or(Path::new("/dev/null"), Cgroup::path)
    }

    /// Shows the machine's control groups at `/sys/fs/cgroup`, for a runtime that makes groups there. Every agent started
    /// afterwards needs another `socket_filter_cgroup`, or a cgroup namespace.
    pub fn uncover_cgroups(&self) -> Result<()> {
        Cgroup::uncover()
    }

    /// Returns a directory that vanishes with the lab and that every user may read.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Mounts an overlay over this machine's root, once: changes stay in the lab. Returns its root.
    pub fn overlay(&self) -> Result<PathBuf> {
        let dir = self.dir.join("overlay");
        let [upper, work, root] = ["upper", "work", "root"].map(|name| dir.join(name));
        for made in [&upper, &work, &root] {
            fs::create_dir_all(made)?;
        }
        let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .context("overlay: not mounted")?;
        Ok(root)
    }

    /// Creates a host of this name with its loopback up and no link.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(name).with_context(|| format!("host {name}: not made"))
    }

    /// Returns the network namespace outside the lab, as a host.
    fn outside(&self) -> Result<Host> {
        let [_, net, _] = &self.before.namespaces;
        Ok(Host::outside(net.try_clone()?))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.cgroup = None;
        for namespace in &self.before.namespaces {
            // The kernel refuses while a thread that was started inside still runs; this thread then stays inside until
            // it ends.
            let _ = setns(namespace, CloneFlags::empty());
        }
        let _ = std::env::set_current_dir(&self.before.directory);
    }
}

/// Makes `/sys/fs/bpf` a subdirectory of a bpffs, as a container gets one from its host.
pub fn give_bpffs() -> Result<()> {
    let (nothing, given) = (None::<&str>, "/sys/fs/bpf/host");
    fs::create_dir(given)?;
    fs::set_permissions(given, Permissions::from_mode(0o755))?;
    mount(Some(given), "/sys/fs/bpf", nothing, MsFlags::MS_BIND, nothing).context("/sys/fs/bpf: not bound")
}

fn namespace(kind: &str) -> Result<OwnedFd> {
    let path = format!("/proc/thread-self/ns/{kind}");
    Ok(File::open(&path).context(path)?.into())
}
