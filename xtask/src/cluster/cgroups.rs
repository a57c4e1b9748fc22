//! The node's part of this machine's cgroup hierarchies.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

/// Start of a cgroup's name; the id of the run's process follows.
const PREFIX: &str = "firewall-cluster-";
const MOUNTED: &str = "/sys/fs/cgroup";
/// The processes of the node's own; version 2 allows processes in leaves only.
const LEAF: &str = "node";
/// A cgroup stays for a moment after its last process has ended.
const EMPTY: Duration = Duration::from_secs(10);

/// One hierarchy: its mount, and the node's directory in it.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// `cgroup` or `cgroup2`.
    kind: String,
    /// Mount options: the controllers of a hierarchy of version 1.
    options: String,
    mounted: PathBuf,
    /// The node's cgroup.
    node: PathBuf,
}

/// A cgroup of the node in every hierarchy.
#[derive(Debug)]
pub struct Cgroups(Vec<Hierarchy>);

impl Cgroups {
    /// Reads this machine's hierarchies; the node belongs to the run of this process.
    pub fn of(run: u32) -> Result<Self> {
        let name = format!("{PREFIX}{run}");
        let (mounts, own) =
            (fs::read_to_string("/proc/self/mountinfo")?, fs::read_to_string("/proc/self/cgroup")?);
        let hierarchies = hierarchies(&mounts, &own, &name);
        ensure!(!hierarchies.is_empty(), "{MOUNTED}: no cgroup hierarchy is mounted");
        Ok(Self(hierarchies))
    }

    /// Makes the cgroups.
    pub fn make(&self) -> Result<()> {
        for hierarchy in &self.0 {
            for dir in [hierarchy.node.clone(), hierarchy.node.join(LEAF)] {
                fs::create_dir_all(&dir)?;
                // A new cpuset is empty and takes no process.
                for name in ["cpuset.cpus", "cpuset.mems"] {
                    let (from, to) = (dir.with_file_name(name), dir.join(name));
                    if hierarchy.kind == "cgroup" && to.exists() {
                        fs::write(to, fs::read(from)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the cgroups and all below them, once their processes have ended.
    pub fn remove(&self) -> Result<()> {
        let began = Instant::now();
        while let Err(error) = self.0.iter().try_for_each(|hierarchy| remove(&hierarchy.node)) {
            if began.elapsed() > EMPTY {
                return Err(error);
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Removes the cgroups of runs that were killed: their names end in the id of a process that has ended.
    pub fn remove_orphans(&self) -> Result<()> {
        for hierarchy in &self.0 {
            let above = hierarchy.node.parent().context("cgroup: no parent")?;
            for entry in fs::read_dir(above)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let id = name.strip_prefix(PREFIX).and_then(|id| id.parse::<u32>().ok());
                if id.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
                    remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Returns the files that move a process to the node's cgroups.
    pub fn procs(&self) -> Vec<PathBuf> {
        self.0.iter().map(|hierarchy| hierarchy.node.join("cgroup.procs")).collect()
    }

    /// As [`Cgroups::procs`], for the leaf of the node's own processes.
    pub fn leaf_procs(&self) -> Vec<PathBuf> {
        self.0.iter().map(|hierarchy| hierarchy.node.join(LEAF).join("cgroup.procs")).collect()
    }

    /// Returns the arguments of the node's first process.
    pub fn mounts(&self) -> Result<Vec<&str>> {
        let mut arguments = Vec::new();
        for Hierarchy { kind, options, mounted, .. } in &self.0 {
            let below = mounted.strip_prefix(MOUNTED)?.to_str().context("cgroup: name is not UTF-8")?;
            arguments.extend([&**kind, options, if below.is_empty() { "." } else { below }]);
        }
        Ok(arguments)
    }
}

/// Returns the hierarchies below `/sys/fs/cgroup`, from the texts of `mountinfo` and `cgroup`.
fn hierarchies(mounts: &str, own: &str, name: &str) -> Vec<Hierarchy> {
    let one = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let [_, _, _, root, mounted] = mount.split(' ').take(5).collect::<Vec<_>>()[..] else { return None };
        let (kind, super_options) = (system.split(' ').next()?, system.split(' ').nth(2)?);
        if !mounted.starts_with(MOUNTED) || !kind.starts_with("cgroup") {
            return None;
        }
        let named =
            |option: &&str| !matches!(*option, "rw" | "ro" | "xattr") && !option.starts_with("release");
        let controllers: Vec<&str> = super_options.split(',').filter(named).collect();
        let (options, mounted) = (controllers.join(","), PathBuf::from(mounted));
        // Below a process of version 2 there is no room for cgroups with controllers.
        let own = if kind == "cgroup" { own_path(own, &options)? } else { root };
        let node = mounted.join(Path::new(own).strip_prefix(root).ok()?).join(name);
        let options = if kind == "cgroup" { options } else { "rw".to_owned() };
        Some(Hierarchy { kind: kind.to_owned(), options, mounted, node })
    };
    mounts.lines().filter_map(one).collect()
}

/// Returns the path in the hierarchy of these controllers, from the text of `/proc/self/cgroup`.
fn own_path<'a>(own: &'a str, controllers: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (of, path) = rest.split_once(':')?;
        (of == controllers).then_some(path)
    })
}

fn remove(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    Ok(fs::remove_dir(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_version_1() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "9:name=systemd:/\n2:cpu,cpuacct:/session/1\n0::/session/1\n";
        let found = hierarchies(mounts, own, "one");
        let nodes: Vec<_> = found.iter().map(|one| (&*one.options, one.node.to_str().unwrap())).collect();
        let expected = [
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/session/1/one"),
            ("name=systemd", "/sys/fs/cgroup/systemd/one"),
            ("rw", "/sys/fs/cgroup/unified/one"),
        ];
        assert_eq!(nodes, expected);
    }

    #[test]
    fn the_only_hierarchy_of_version_2() {
        let mounts = "24 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = hierarchies(mounts, "0::/user.slice/session-1.scope\n", "one");
        assert_eq!(found[0].node, Path::new("/sys/fs/cgroup/one"));
        assert_eq!(Cgroups(found).mounts().unwrap(), ["cgroup2", "rw", "."]);
    }
}
