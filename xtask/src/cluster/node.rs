//! The node: a host of the lab with its own root directory, processes, mounts and cgroups, that boots and loses power.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firewall_tests::lab::{Answer, Host, Lab, eventually};
use fs_err::{self as fs, File};

use super::cgroups::Cgroups;
use super::packages::Unpacked;

/// The first process.
const SCRIPT: &str = include_str!("node.sh");
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Directory of the node's packages.
const PACKAGES: &str = "/opt";
/// Generous bound of every wait, even on a busy machine.
const BOUND: Duration = Duration::from_secs(180);
/// Lines of a log in an error.
const LAST_WORDS: usize = 15;

#[derive(Debug)]
pub struct Node {
    host: Host,
    /// The root directory, as this process sees it; it survives a loss of power, as a disk does.
    root: PathBuf,
    /// Search path of the node's programs.
    path: String,
    logs: PathBuf,
    cgroups: Cgroups,
    running: Option<Running>,
}

/// The processes of a node from boot to loss of power.
#[derive(Debug)]
struct Running {
    /// The parent of the node's first process.
    parent: Child,
    /// The node's first process, as this process sees it.
    first: u32,
    services: Vec<Service>,
}

#[derive(Debug)]
struct Service {
    name: String,
    process: Child,
}

impl Node {
    /// Makes the root directory, which is this machine's with packages in `/opt`. Boots nothing.
    pub fn new(lab: &Lab, host: &Host, packages: &[Unpacked], cgroups: Cgroups, logs: &Path) -> Result<Self> {
        let (host, root, logs) = (host.clone(), lab.overlay()?, logs.to_owned());
        let mut node = Self { host, root, path: PATH.to_owned(), logs, cgroups, running: None };
        node.mount(Path::new("/dev"), "dev")?;
        for package in packages {
            let at = format!("{PACKAGES}/{}", package.name);
            node.mount(&package.root, &at)?;
            node.path = format!("{at}/usr/sbin:{at}/usr/bin:{}", node.path);
        }
        // containerd's layers are overlays, which cannot be made on another overlay.
        let disk = lab.dir().join("containerd");
        fs::create_dir(&disk)?;
        node.mount(&disk, "var/lib/containerd")?;
        Ok(node)
    }

    /// Returns the path by which this process reaches a path of the node.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file of the node; makes its directory.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("file: no directory")?)?;
        Ok(fs::write(path, text)?)
    }

    /// Mounts a directory of this machine on the node.
    pub fn mount(&self, from: &Path, at: &str) -> Result<()> {
        let at = self.path(at);
        fs::create_dir_all(&at)?;
        run(Command::new("mount").arg("--rbind").arg(from).arg(at)).map(drop)
    }

    /// Starts the node's first process, and no service.
    pub fn boot(&mut self) -> Result<()> {
        self.cgroups.make()?;
        let log = File::create(self.logs.join("node.log"))?.into_file();
        let namespaces = "unshare --mount --pid --fork --kill-child --propagation private -- sh -c";
        let mut words = moving(&self.cgroups.procs());
        words.extend(["unshare", "--cgroup", "--"].map(str::to_owned));
        words.extend(moving(&self.cgroups.leaf_procs()));
        words.extend(namespaces.split(' ').map(str::to_owned));
        let mut command = self.host.command(&words[0]);
        command.args(&words[1..]).arg(SCRIPT).arg("node").arg(&self.root).args(self.cgroups.mounts()?);
        command.env_clear().env("PATH", PATH).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut parent = command.spawn().context("node: not started")?;
        let mut line = String::new();
        BufReader::new(parent.stdout.take().context("node: no output")?).read_line(&mut line)?;
        ensure!(line == "up\n", "node: not booted: {}", self.last_words("node"));
        let id = parent.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let first = children.trim().parse().with_context(|| format!("node: processes {children:?}"))?;
        self.running = Some(Running { parent, first, services: Vec::new() });
        Ok(())
    }

    /// Ends every process of the node at once; keeps its disk and its interfaces.
    pub fn lose_power(&mut self) -> Result<()> {
        let mut running = self.running.take().context("node: not booted")?;
        run(Command::new("kill").args(["-KILL", &running.first.to_string()]))?;
        // The first process ends after all others of its namespace.
        running.parent.wait()?;
        for service in &mut running.services {
            service.process.wait()?;
        }
        // The mounts end later: with bpffs go the pins, with the pins the programs.
        eventually(BOUND, "node: interface without a program", || {
            let links = self.host.run("ip -o link show eth0").ok()?;
            (!links.contains("xdp")).then_some(())
        })?;
        self.cgroups.remove()
    }

    /// Returns a command on the node, in its cgroups; it ends with the node.
    pub fn command(&self, program: &str) -> Result<Command> {
        let first = self.running.as_ref().context("node: not booted")?.first.to_string();
        let mut words = moving(&self.cgroups.leaf_procs());
        words
            .extend(["nsenter", "--target", &first, "--mount", "--pid", "--cgroup", "--"].map(str::to_owned));
        let mut command = self.host.command(&words[0]);
        command.args(&words[1..]).arg(program).env_clear().env("PATH", &self.path).stdin(Stdio::null());
        // A kubelet would ask a cloud's metadata service twice, for five seconds each.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        Ok(command)
    }

    /// Starts a service; its output goes to its log.
    pub fn start(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(name))?.into_file();
        let mut command = self.command(name)?;
        command.args(arguments).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("{name}: not started"))?;
        let running = self.running.as_mut().context("node: not booted")?;
        running.services.push(Service { name: name.to_owned(), process });
        Ok(())
    }

    /// Waits until `probe` returns a value; fails with the last words of a service that has ended.
    pub fn wait_for<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let found = eventually(BOUND, what, || probe(self));
        found.map_err(|error| match self.ended() {
            Some(name) => error.context(format!("{name} has ended: {}", self.last_words(&name))),
            None => error.context(format!("logs are in {}", self.logs.display())),
        })
    }

    /// Returns the first service that has ended.
    fn ended(&mut self) -> Option<String> {
        let services = &mut self.running.as_mut()?.services;
        services.iter_mut().find_map(|Service { name, process }| {
            matches!(process.try_wait(), Ok(Some(_))).then(|| name.clone())
        })
    }

    fn last_words(&self, name: &str) -> String {
        let text = fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.running.is_some() {
            // A caller that ends the node itself sees the errors.
            let _ = self.lose_power();
        }
    }
}

/// Runs a command that must succeed; returns its standard output.
pub fn run(command: &mut Command) -> Result<String> {
    let Answer { code, out, err } = Answer::of(command)?;
    ensure!(code == Some(0), "{}: exit code {code:?}: {}", shown(command), err.trim());
    Ok(out)
}

/// Returns the words of a command, without those that bring it to the node.
fn shown(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let on_node = words.iter().position(|word| word == "--").map(|at| words[at + 1..].join(" "));
    on_node.unwrap_or_else(|| format!("{} {}", command.get_program().to_string_lossy(), words.join(" ")))
}

/// Returns the words of a command that moves itself to cgroups and executes further words.
fn moving(procs: &[PathBuf]) -> Vec<String> {
    let files: Vec<String> = procs.iter().map(|file| file.display().to_string()).collect();
    let script = format!("for procs in {}; do echo 0 > \"$procs\"; done; exec \"$@\"", files.join(" "));
    ["sh", "-ec", &script, "sh"].map(str::to_owned).to_vec()
}
