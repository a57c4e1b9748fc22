//! The steps of a run, in order.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::documented::commands;
use super::guest::{AGENT, DATABASE, Guest, RESTORE};
use super::record::Expected;
use super::run::{NOW, Run};

const BOOTS: u32 = 5;
/// The boot that follows a power cut instead of a shutdown.
const AFTER_POWER_CUT: u32 = 4;
/// Real-time clocks that are years off, as QEMU reads them.
const WRONG_CLOCKS: &[(&str, &str)] = &[
    ("a clock ten years behind", "2016-03-01T00:00:00"),
    ("a clock ten years ahead", "2036-11-01T00:00:00"),
];
const DROP_IN: &str = "/etc/systemd/system/postgresql@.service.d/firewall-agent.conf";
const STATE: &str = "/var/lib/firewall-agent";
const CONFIG: &str = "/etc/firewall-agent/config.yaml";
const RULES: &str = "/etc/firewall-agent/rules.d/orders.yaml";

impl Run<'_> {
    /// Performs all steps.
    ///
    /// # Errors
    /// The run cannot go on: the guest does not boot, or does not answer.
    pub fn perform(&mut self) -> Result<()> {
        self.boot("control: boot without the package", Expected::Open, NOW, |_| Ok(String::new()))?;
        self.install()?;
        for number in 1..=BOOTS {
            let check = |run: &mut Self| is_restored(run.guest()?);
            if number == AFTER_POWER_CUT {
                self.boot_after_power_cut(&format!("boot {number}, after a power cut"), check)?;
            } else {
                self.boot(&format!("boot {number}"), Expected::Closed, NOW, check)?;
            }
        }
        self.notify_and_watchdog()?;
        self.restarts()?;
        self.full_partition()?;
        for (name, clock) in WRONG_CLOCKS {
            self.boot(&format!("boot with {name}"), Expected::Closed, clock, |run| {
                is_restored(run.guest()?)?;
                Ok(format!("; the guest's date is {}", run.guest()?.read("date --iso-8601")?))
            })?;
        }
        self.late_card()?;
        self.upgrade()?;
        self.disabled()?;
        self.removal()
    }

    /// Installs, configures and enables everything, by the commands of the manual.
    fn install(&mut self) -> Result<()> {
        let interfaces = self.release.interfaces;
        let mut lines = Vec::new();
        for line in commands(&self.root, "Install the Debian package")? {
            let is_edited = line.contains("then edit it");
            lines.push(line);
            if is_edited {
                lines.push(format!("sed -i 's/^interfaces: .*/interfaces: {interfaces}/' {CONFIG}"));
                lines.push(format!("install -m 644 rules.yaml {RULES}"));
            }
        }
        lines.extend(commands(&self.root, "Make the database depend on the filter")?);
        let installed = self.follow(&lines);
        // From here on the host must be closed.
        self.step("installed and enabled, no reboot yet", |_| installed)
    }

    /// Runs the lines of an installation; returns a note.
    fn follow(&mut self, lines: &[String]) -> Result<String> {
        let guest = self.guest()?;
        let mut out = String::new();
        for line in lines {
            out += &guest.read(&format!("cd /opt/boot && {line}"))?;
        }
        guest.wait_until("agent: ready", "firewall-agent health --ready")?;
        ensure!(out.contains("nothing is filtered yet"), "dpkg: no notice of the package: {out}");
        let agent = guest.read("firewall-agent --version | head -1")?;
        self.record.agent.clone_from(&agent);
        Ok(agent)
    }

    fn notify_and_watchdog(&mut self) -> Result<()> {
        self.step("Type=notify: systemd knows the agent's state", |guest| {
            let kind = guest.property(AGENT, "Type")?;
            let text = guest.property(AGENT, "StatusText")?;
            ensure!(kind == "notify", "{AGENT}: Type is {kind:?}, must be notify");
            ensure!(text.starts_with("1 database, generation "), "{AGENT}: StatusText is {text:?}");
            let pinged = guest.property(AGENT, "WatchdogTimestampMonotonic")?;
            guest.wait_until(
                "watchdog: notified again",
                &format!("[ \"$(systemctl show --value --property WatchdogTimestampMonotonic {AGENT})\" != {pinged} ]"),
            )?;
            let timeouts = guest.run(TIMEOUTS)?;
            ensure!(timeouts.code != 0, "watchdog: must not act on a running agent: {}", timeouts.out);
            // A start job ends with the notification, not with the fork.
            let forked: u64 = guest.property(AGENT, "ExecMainStartTimestampMonotonic")?.parse()?;
            let ready: u64 = guest.property(AGENT, "ActiveEnterTimestampMonotonic")?.parse()?;
            ensure!(ready > forked, "{AGENT}: active before its main process started");
            let (starting, limit) = ((ready - forked) / 1000, guest.property(AGENT, "WatchdogUSec")?);
            Ok(format!("`{text}`; ready {starting} ms after its start; watchdog {limit}, notified"))
        })?;
        self.step("SIGSTOP: the watchdog kills and restarts the agent", |guest| {
            let began = Instant::now();
            replaced(guest, AGENT, "STOP")?;
            guest.read(TIMEOUTS)?;
            Ok(format!("active again {} s after the signal", began.elapsed().as_secs()))
        })
    }

    fn restarts(&mut self) -> Result<()> {
        self.step("kill -9 of the agent", |guest| replaced(guest, AGENT, "KILL"))?;
        self.step("kill -9 of the database", |guest| replaced(guest, DATABASE, "KILL"))?;
        self.step("kill -9 of both", |guest| {
            let pids = [guest.property(AGENT, "MainPID")?, guest.property(DATABASE, "MainPID")?];
            guest.read(&format!("kill -KILL {}", pids.join(" ")))?;
            for (unit, pid) in [AGENT, DATABASE].iter().zip(&pids) {
                follows(guest, unit, pid)?;
            }
            Ok(String::new())
        })?;
        let networking = self.release.networking;
        let all = format!("{AGENT} {DATABASE} {networking}");
        for (name, units) in [
            ("restart of the agent", AGENT),
            ("restart of the database", DATABASE),
            ("restart of the network", networking),
            ("restart of agent, database and network", all.as_str()),
        ] {
            self.step(name, |guest| {
                guest.read(&format!("systemctl restart {units}"))?;
                guest.wait_until(name, &format!("systemctl is-active {units}"))?;
                Ok(String::new())
            })?;
        }
        self.step("restart of the restore unit: refused", |guest| {
            let database = guest.property(DATABASE, "MainPID")?;
            let refused = guest.run(&format!("systemctl restart {RESTORE}"))?;
            ensure!(refused.code != 0, "{RESTORE}: restarted by hand, must refuse");
            ensure!(guest.property(DATABASE, "MainPID")? == database, "{DATABASE}: was restarted");
            Ok(String::new())
        })
    }

    /// A full file system below the agent's state directory.
    fn full_partition(&mut self) -> Result<()> {
        let filler = format!("{STATE}/filler");
        self.step("state partition full: agent killed and restarted", |guest| {
            let filled = guest.run(&format!(
                "dd if=/dev/zero of={filler} bs=64k; dd if=/dev/zero of={filler} bs=512 oflag=append conv=notrunc"
            ))?;
            ensure!(filled.out.contains("No space left on device"), "{filler}: not full: {}", filled.out);
            replaced(guest, AGENT, "KILL")?;
            guest.read(&format!("systemctl restart {AGENT}"))?;
            let room = guest.read(&format!("df --output=avail {STATE} | tail -1"))?;
            ensure!(room.trim() == "0", "{STATE}: {room} KiB free, must be full");
            Ok("0 KiB free".to_owned())
        })?;
        self.boot("boot with a full state partition", Expected::Closed, NOW, |run| {
            is_restored(run.guest()?)
        })?;
        self.step("state partition has room again", |guest| guest.read(&format!("rm {filler}")))
    }

    /// A network card that appears when everything runs: the network must not come before the filter.
    fn late_card(&mut self) -> Result<()> {
        self.boot_without_card()?;
        self.step("network card that appears after the boot", |guest| {
            guest.read("[ \"$(ls /sys/class/net)\" = lo ] && modprobe virtio_net")?;
            let filtered =
                "firewall-agent health --ready && ip link show dev $(ls /sys/class/net | grep -v lo)";
            guest.wait_until("interface: filtered", &format!("{filtered} | grep prog/xdp"))?;
            // It has failed where a configured interface was missing, as documented.
            guest.read(&format!("systemctl start {DATABASE}"))?;
            Ok(String::new())
        })
    }

    fn upgrade(&mut self) -> Result<()> {
        let (version, next) = (self.packages.version.clone(), self.packages.next_version.clone());
        for (name, file, version) in [
            ("upgrade of the package", "firewall-agent-next.deb", &next),
            ("downgrade of the package", "firewall-agent.deb", &version),
        ] {
            self.step(name, |guest| {
                let before = guest.property(AGENT, "MainPID")?;
                let began = Instant::now();
                guest.read(&format!("dpkg -i /opt/boot/{file}"))?;
                let took = began.elapsed().as_secs();
                follows(guest, AGENT, &before)?;
                let shown = "dpkg-query --show --showformat '${Version}' firewall-agent";
                let installed = guest.read(shown)?;
                ensure!(installed == *version, "dpkg: version {installed}, must be {version}");
                Ok(format!("to {version}, dpkg took {took} s"))
            })?;
        }
        Ok(())
    }

    /// The control of the boots: the same system with both units disabled.
    fn disabled(&mut self) -> Result<()> {
        let guest = self.guest()?;
        guest.read(&format!("systemctl disable {RESTORE} {AGENT} && rm {DROP_IN}"))?;
        self.boot("control: boot with both units disabled", Expected::Open, NOW, |run| {
            let guest = run.guest()?;
            for unit in [RESTORE, AGENT] {
                let state = guest.property(unit, "ActiveState")?;
                ensure!(state == "inactive", "{unit}: {state}, must be disabled");
            }
            Ok(String::new())
        })?;
        let drop_in = commands(&self.root, "Make the database depend on the filter")?;
        let guest = self.guest()?;
        for line in drop_in {
            guest.read(&line)?;
        }
        guest.read(&format!("systemctl enable {RESTORE} && systemctl enable --now {AGENT}"))?;
        guest.wait_until("agent: ready", "firewall-agent health --ready")?;
        self.step("both units enabled again, no reboot yet", |_| Ok(String::new()))
    }

    fn removal(&mut self) -> Result<()> {
        self.step("removal of the package", |guest| {
            let out = guest.read("dpkg -r firewall-agent")?;
            ensure!(out.contains("stays in force without the agent"), "dpkg: no notice: {out}");
            let gone = guest.run("pidof firewall-agent || command -v firewall-agent")?;
            ensure!(gone.code != 0, "agent: runs or is installed after the removal: {}", gone.out);
            guest.read(&format!("[ -e {STATE}/state.redb ] && [ -e {RULES} ]"))?;
            Ok("filtered without the agent, state and files remain".to_owned())
        })?;
        self.step("purge of the package", |guest| {
            guest.read("dpkg -P firewall-agent")?;
            let left = guest.run(&format!("ls -A {STATE}"))?.out;
            ensure!(left.is_empty(), "{STATE}: {left:?} remains after the purge");
            guest.read(&format!("[ -e {RULES} ]"))?;
            Ok("filtered, state gone, rule files remain".to_owned())
        })?;
        self.boot("control: boot after the purge", Expected::Open, NOW, |run| {
            let guest = run.guest()?;
            // The drop-in is still there.
            let state = guest.property(DATABASE, "ActiveState")?;
            ensure!(state != "active", "{DATABASE}: runs without the unit that it requires");
            Ok("open as documented, and the database stays down behind its drop-in".to_owned())
        })
    }
}

const TIMEOUTS: &str = "journalctl --boot --no-pager --unit firewall-agent | grep 'Watchdog timeout'";

/// Requires that the restore unit has succeeded, that the agent runs, and that the database runs behind its drop-in.
fn is_restored(guest: &mut Guest) -> Result<String> {
    let code = guest.property(RESTORE, "ExecMainStatus")?;
    ensure!(code == "0", "{RESTORE}: exit code {code}, must be 0");
    for unit in [RESTORE, AGENT, DATABASE] {
        let state = guest.property(unit, "ActiveState")?;
        ensure!(state == "active", "{unit}: {state}, must be active");
    }
    let requires = guest.property(DATABASE, "Requires")?;
    ensure!(requires.contains(RESTORE), "{DATABASE}: requires {requires}, must require {RESTORE}");
    Ok(String::new())
}

/// Sends a signal to a unit's main process and waits until systemd has replaced it.
fn replaced(guest: &mut Guest, unit: &str, signal: &str) -> Result<String> {
    let before = guest.property(unit, "MainPID")?;
    guest.read(&format!("kill -{signal} {before}"))?;
    follows(guest, unit, &before)?;
    Ok(String::new())
}

/// Waits until a unit is active with another main process than `before`.
fn follows(guest: &mut Guest, unit: &str, before: &str) -> Result<()> {
    let pid = format!("$(systemctl show --value --property MainPID {unit})");
    let line = format!("systemctl is-active {unit} && [ \"{pid}\" != {before} ]");
    guest.wait_until(&format!("{unit}: started again"), &line)
}
