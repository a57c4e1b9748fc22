//! A database host with the units installed as in docs/install.md, a friend that a rule allows, and a stranger.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firewall_tests::lab::{Host, Lab, RuleFile, agent_binary, eventually};

use crate::guest::{Guest, PATIENCE};
use crate::units::{AGENT, LISTENER, RESTORE, TARGET, impossible, strip};

pub const INTERFACES: &str = "eth0, eth1";
/// The host's addresses for friend and stranger.
const FRIENDLY: &str = "192.0.2.10:5432";
const STRANGE: &str = "198.51.100.10:5432";
const WAIT: Duration = Duration::from_millis(300);

pub struct InstalledHost {
    root: PathBuf,
    pub db: Host,
    friend: Host,
    stranger: Host,
    pub lab: Lab,
}

impl InstalledHost {
    pub fn new() -> Self {
        let lab = Lab::new().unwrap();
        let [db, friend, stranger] = ["db", "friend", "stranger"].map(|name| lab.host(name).unwrap());
        lab.link(db.end("eth0", &["192.0.2.10/24"]), friend.end("eth0", &["192.0.2.20/24"])).unwrap();
        lab.link(db.end("eth1", &["198.51.100.10/24"]), stranger.end("eth0", &["198.51.100.66/24"])).unwrap();
        let root = system(&lab);
        let host = Self { root, db, friend, stranger, lab };
        host.install();
        // Control: without a filter the stranger gets in.
        let listener = host.db.listen("0.0.0.0:5432").unwrap();
        let open = || (connects(&host.friend, FRIENDLY) && connects(&host.stranger, STRANGE)).then_some(());
        eventually(PATIENCE, "everyone gets in", open).unwrap();
        drop(listener);
        host
    }

    /// Runs the commands of docs/install.md, configures the agent, and removes settings from the units that cannot
    /// work here.
    fn install(&self) {
        self.run(&commands("Without the package:"));
        self.run(&commands("only groups them"));
        self.configure(INTERFACES, "");
        self.write_rules(&RuleFile::new("orders", 1).endpoint("5432").allow("192.0.2.20/32"));
        for unit in [AGENT, RESTORE] {
            self.strip(unit, &impossible());
        }
        self.write_unit("postgresql@.service", LISTENER);
        self.write_unit("tests.target", TARGET);
    }

    /// Runs a script in the system, from a directory that resembles a checkout after `cargo xtask image`.
    fn run(&self, script: &str) {
        let checkout = self.root.join("checkout");
        if !checkout.exists() {
            fs::create_dir_all(checkout.join("target/artefacts")).unwrap();
            fs::copy(agent_binary().unwrap(), checkout.join("target/artefacts/firewall-agent")).unwrap();
            let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
            let copied = Command::new("cp").arg("-r").arg(deploy).arg(&checkout).status().unwrap();
            assert!(copied.success());
        }
        // systemd does not run yet: systemctl enables units, but starts and reloads nothing.
        let script = format!("cd /checkout\n{}", script.replace(" --now", ""));
        let mut chroot = Command::new("chroot");
        chroot.env("SYSTEMD_OFFLINE", "1").arg(&self.root).args(["sh", "-exc", &script]);
        let done = chroot.output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    pub fn configure(&self, interfaces: &str, more: &str) {
        let text =
            format!("interfaces: [{interfaces}]\nguarded_ports: [5432, 30000-32767]\nnode_name: db\n{more}");
        fs::write(self.root.join("etc/firewall-agent/config.yaml"), text).unwrap();
    }

    pub fn write_rules(&self, file: &RuleFile) {
        let path = format!("etc/firewall-agent/rules.d/{}.yaml", file.database());
        fs::write(self.root.join(path), file.to_string()).unwrap();
    }

    /// Writes a file below `/etc/systemd/system`.
    pub fn write_unit(&self, name: &str, text: &str) {
        let path = self.root.join("etc/systemd/system").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn strip(&self, unit: &str, settings: &[&str]) {
        strip(&self.root.join("etc/systemd/system").join(unit), settings);
    }

    pub fn boot(&self) -> Guest {
        Guest::boot(&self.lab, &self.db, &self.root)
    }

    /// Empties bpffs, as a power cut does; no guest may run.
    pub fn cut_power(&self) {
        for pins in fs::read_dir("/sys/fs/bpf").unwrap() {
            fs::remove_dir_all(pins.unwrap().path()).unwrap();
        }
        // The kernel releases a link with a delay.
        eventually(PATIENCE, "no program is attached", || {
            let links = self.db.run("ip -details link show").ok()?;
            (!links.contains("prog/xdp")).then_some(())
        })
        .unwrap();
    }

    /// Removes one of the shipped units.
    pub fn remove_unit(&self, name: &str) {
        fs::remove_file(self.root.join("etc/systemd/system").join(name)).unwrap();
    }

    pub fn without_assertions(&self) {
        self.strip("postgresql@.service.d/firewall-agent.conf", &["AssertPathExists"]);
    }

    pub fn remove_drop_in(&self) {
        fs::remove_dir_all(self.root.join("etc/systemd/system/postgresql@.service.d")).unwrap();
    }

    pub fn friend_connects(&self) -> bool {
        connects(&self.friend, FRIENDLY)
    }

    /// Lets the stranger try to connect continuously.
    pub fn watch(&self) -> Watch {
        let (stop, tries, entries) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (stranger, given) = (self.stranger.clone(), (stop.clone(), tries.clone(), entries.clone()));
        let thread = thread::spawn(move || {
            let (stop, tries, entries) = given;
            while !stop.load(Ordering::Relaxed) {
                let entered = connects(&stranger, STRANGE);
                tries.fetch_add(1, Ordering::Relaxed);
                entries.fetch_add(u64::from(entered), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Watch { stop, tries, entries, thread: Some(thread) }
    }
}

/// A stranger that tries to connect, until dropped.
pub struct Watch {
    stop: Arc<AtomicBool>,
    tries: Arc<AtomicU64>,
    entries: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Returns the number of the stranger's successful connections.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Requires that no connection has succeeded, and that one attempt begun after this call failed, too.
    pub fn assert_no_connection(&self) {
        let before = self.tries.load(Ordering::Relaxed);
        eventually(PATIENCE, "the stranger tries", || {
            (self.tries.load(Ordering::Relaxed) > before + 1).then_some(())
        })
        .unwrap();
        assert_eq!(self.entries(), 0, "the stranger got in");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connects(from: &Host, to: &str) -> bool {
    from.connect(to, WAIT).is_ok()
}

/// Returns the root of an overlay in which only units that the tests enable start.
fn system(lab: &Lab) -> PathBuf {
    let root = lab.overlay().unwrap();
    for emptied in [
        "etc/systemd/system",
        "etc/firewall-agent",
        "var/lib/firewall-agent",
        // The machine's own services, and systemd units that need more of a machine.
        "usr/lib/systemd/system/sysinit.target.wants",
        "usr/lib/systemd/system/local-fs.target.wants",
        "usr/lib/systemd/system-generators",
    ] {
        let path = root.join(emptied);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
    }
    fs::create_dir(root.join("etc/systemd/system")).unwrap();
    root
}

/// Returns the commands after a text in docs/install.md.
fn commands(after: &str) -> String {
    let manual = include_str!("../../../docs/install.md");
    let (_, rest) = manual.split_once(after).unwrap_or_else(|| panic!("{after}: not in docs/install.md"));
    let (_, block) = rest.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}
