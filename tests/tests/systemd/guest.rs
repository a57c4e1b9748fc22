//! A running systemd.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use firewall_tests::lab::{Answer, Host, Lab, eventually};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest time that one step of systemd may take.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Joins the cgroup and becomes the first process of new namespaces, which end with this process.
const JOIN: &str = "echo $$ >\"$1/cgroup.procs\" && \
                    exec unshare --cgroup --mount --uts --ipc --pid --fork --kill-child sh -ec \"$3\" sh \"$2\"";
/// Mounts the file systems that systemd needs below the root `$1`, and becomes systemd. The machine's sysctls stay
/// read-only, its console and kernel log out of reach.
const BOOT: &str = "mount -t proc proc \"$1/proc\"
mount --bind \"$1/proc/sys\" \"$1/proc/sys\"
mount -o remount,bind,ro \"$1/proc/sys\"
mount -t sysfs -o ro sysfs \"$1/sys\"
mount -t cgroup2 cgroup2 \"$1/sys/fs/cgroup\"
mount --bind /sys/fs/bpf \"$1/sys/fs/bpf\"
mount --rbind /dev \"$1/dev\"
for device in console kmsg; do mount --bind /dev/null \"$1/dev/$device\"; done
mount -t tmpfs tmpfs \"$1/run\"
mount -t tmpfs tmpfs \"$1/tmp\"
exec env -i container=firewall-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot \"$1\" \\
    /lib/systemd/systemd --unit=tests.target --log-target=journal --log-level=info --show-status=no";

static BOOTS: AtomicU32 = AtomicU32::new(0);

/// Process 1 of its own namespaces; dropping it is a power cut.
pub struct Guest {
    unshare: Child,
    systemd: Pid,
    group: PathBuf,
    log: PathBuf,
}

impl Guest {
    /// Boots the system below `root` in the host's network, up to `tests.target`.
    pub fn boot(lab: &Lab, host: &Host, root: &Path) -> Self {
        let groups = lab.dir().join("cgroup");
        if !groups.exists() {
            fs::create_dir(&groups).unwrap();
            mount(Some("cgroup2"), &groups, Some("cgroup2"), MsFlags::empty(), None::<&str>).unwrap();
        }
        let number = BOOTS.fetch_add(1, Ordering::Relaxed);
        let group = groups.join(format!("firewall-tests-{}-{number}", std::process::id()));
        fs::create_dir(&group).unwrap();
        let log = lab.dir().join(format!("systemd-{number}"));
        let out = File::create(&log).unwrap();
        let mut command = host.command("sh");
        command.args(["-ec", JOIN, "sh"]).args([group.as_os_str(), root.as_os_str(), OsStr::new(BOOT)]);
        command.stdin(Stdio::null()).stderr(out.try_clone().unwrap()).stdout(out);
        let unshare = command.spawn().unwrap();
        let mut guest = Self { systemd: Pid::from_raw(0), unshare, group, log };
        let children = format!("/proc/{0}/task/{0}/children", guest.unshare.id());
        let systemd = eventually(PATIENCE, "systemd runs", || {
            let child: i32 = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            (fs::read_to_string(format!("/proc/{child}/comm")).ok()? == "systemd\n").then_some(child)
        });
        guest.systemd = Pid::from_raw(systemd.unwrap_or_else(|error| panic!("{error}: {}", guest.log())));
        guest.wait_until("it has booted", || guest.property("tests.target", "ActiveState") == "active");
        guest
    }

    pub fn systemctl(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.inside("systemctl").args(arguments)).unwrap()
    }

    fn inside(&self, program: &str) -> Command {
        let target = self.systemd.to_string();
        let mut nsenter = Command::new("nsenter");
        nsenter
            .args(["--target", &target, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd"]);
        nsenter.arg(program);
        nsenter
    }

    /// Runs systemctl, which must succeed.
    pub fn order(&self, arguments: &[&str]) {
        let done = self.systemctl(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}: {}", self.log());
    }

    /// Returns a property of a unit; empty while systemd does not answer.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit]).out.trim().to_owned()
    }

    /// Returns the pid of a service's main process, in the machine's PID namespace; `None` if it has none.
    pub fn main_process(&self, unit: &str) -> Option<Pid> {
        let group = self.property(unit, "ControlGroup");
        let processes =
            fs::read_to_string(self.group.join(group.strip_prefix('/')?).join("cgroup.procs")).ok()?;
        Some(Pid::from_raw(processes.lines().next()?.parse().ok()?))
    }

    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let waited = eventually(PATIENCE, what, || is_so().then_some(()));
        waited.unwrap_or_else(|error| panic!("{error}: {}", self.log()));
    }

    /// Returns everything that systemd and its services have logged.
    pub fn log(&self) -> String {
        let early = fs::read(&self.log).unwrap_or_default();
        format!("{}{}", String::from_utf8_lossy(&early), self.journal(&["--output", "short-monotonic"]))
    }

    /// Returns the output of journalctl.
    pub fn journal(&self, arguments: &[&str]) -> String {
        let shown = self.inside("journalctl").arg("--no-pager").args(arguments).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.systemd.as_raw() > 0 {
            let _ = kill(self.systemd, Signal::SIGKILL);
        } else {
            let _ = self.unshare.kill();
        }
        let _ = self.unshare.wait();
        let _ = eventually(PATIENCE, "its control groups are gone", || remove(&self.group).ok());
    }
}

/// Removes a cgroup and its children.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path)?;
        }
    }
    fs::remove_dir(group)
}
