//! A running guest: QEMU, and commands over a serial port.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err::{self as fs, File};

use super::disk::Disks;
use super::network::{MAC, Network, TAP};

pub const AGENT: &str = "firewall-agent.service";
pub const RESTORE: &str = "firewall-agent-restore.service";
/// Debian's clusters are instances of a template unit.
pub const DATABASE: &str = "postgresql@15-main.service";

const MEMORY: &str = "1024";
const CPUS: &str = "2";
const PARAMETERS: &str = "root=/dev/vda rw console=ttyS0 quiet oops=panic panic=-1 systemd.show_status=1";
/// Bound of a boot, a command, an end, a condition: generous, since every instruction is emulated beside other work.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(200);

/// A running guest, killed when dropped.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    port: BufReader<UnixStream>,
    console: PathBuf,
    commands: u32,
    began: Instant,
}

/// Output and exit code of a command.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
}

impl Guest {
    /// Starts a machine with these disks and waits for its shell. `clock` is the time of its real-time clock, as QEMU
    /// reads it; `parameters` follow the other ones of the kernel.
    pub fn start(
        network: &Network,
        disks: &Disks,
        dir: &Path,
        clock: &str,
        parameters: &str,
    ) -> Result<Self> {
        let socket = network.lab.dir().join("guest");
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let console = dir.join("console");
        let drive = |disk: &Path| format!("file={},format=raw,if=virtio,cache=unsafe", disk.display());
        let mut qemu = network.hub.command("qemu-system-x86_64");
        qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", MEMORY, "-smp", CPUS]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-rtc"]);
        qemu.arg(format!("base={clock}"));
        qemu.arg("-kernel").arg(&disks.kernel).arg("-initrd").arg(&disks.initrd);
        qemu.arg("-append").arg(format!("{PARAMETERS} {parameters}"));
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.arg("-drive").arg(drive(&disks.system)).arg("-drive").arg(drive(&disks.state));
        qemu.args(["-netdev", &format!("tap,id=net,ifname={TAP},script=no,downscript=no")]);
        qemu.args(["-device", &format!("virtio-net-pci,netdev=net,mac={MAC}")]);
        qemu.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        qemu.arg("-chardev").arg(format!("socket,id=host,path={},server=on,wait=off", socket.display()));
        qemu.args(["-device", "virtserialport,chardev=host,name=host"]);
        let errors = dir.join("qemu");
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?.into_file());
        let began = Instant::now();
        let mut qemu = qemu.spawn().context("cannot start qemu-system-x86_64")?;
        let port = loop {
            match UnixStream::connect(&socket) {
                Ok(port) => break port,
                Err(_) if qemu.try_wait()?.is_none() && began.elapsed() < PATIENCE => sleep(POLL),
                Err(error) => {
                    let _ = qemu.kill();
                    qemu.wait()?;
                    let errors = fs::read_to_string(&errors).unwrap_or_default();
                    return Err(error).context(format!("qemu: no serial port: {}", errors.trim()));
                }
            }
        };
        port.set_read_timeout(Some(PATIENCE))?;
        let mut guest = Self { qemu, port: BufReader::new(port), console, commands: 0, began };
        while guest.line()? != "up" {}
        Ok(guest)
    }

    /// Returns the time since the machine was switched on.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Runs one line of bash as root to its end.
    pub fn run(&mut self, line: &str) -> Result<Answer> {
        ensure!(!line.contains('\n'), "{line:?}: more than one line");
        self.commands += 1;
        let mark = format!("end-of-command-{}", self.commands);
        writeln!(self.port.get_mut(), "{mark} {line}").with_context(|| format!("{line}: not sent"))?;
        let mut out = String::new();
        loop {
            let got = self.line().with_context(|| line.to_owned())?;
            if let Some(code) = got.strip_prefix(&mark) {
                let code = code.trim().parse().with_context(|| format!("{line}: exit code {code:?}"))?;
                return Ok(Answer { code, out: out.trim().to_owned() });
            }
            out += &got;
            out.push('\n');
        }
    }

    /// Runs a line that must succeed; returns its output.
    pub fn read(&mut self, line: &str) -> Result<String> {
        let Answer { code, out } = self.run(line)?;
        ensure!(code == 0, "{line}: exit code {code}: {out}");
        Ok(out)
    }

    /// Returns a property of a unit.
    pub fn property(&mut self, unit: &str, name: &str) -> Result<String> {
        self.read(&format!("systemctl show --value --property {name} {unit}"))
    }

    /// Waits until a line succeeds.
    pub fn wait_until(&mut self, what: &str, line: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let Answer { code, out } = self.run(line)?;
            if code == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{what}: not within {} s: {out}", PATIENCE.as_secs());
            sleep(POLL);
        }
    }

    /// Shuts the guest down and waits for its end.
    pub fn power_off(mut self) -> Result<()> {
        self.read("systemctl --no-block poweroff")?;
        let asked = Instant::now();
        loop {
            if let Some(status) = self.qemu.try_wait()? {
                ensure!(status.success(), "qemu: {status}");
                return Ok(());
            }
            ensure!(asked.elapsed() < PATIENCE, "power off: not within {} s", PATIENCE.as_secs());
            sleep(POLL);
        }
    }

    /// Returns the next line that the guest writes.
    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        match self.port.read_until(b'\n', &mut line) {
            Ok(0) => bail!("the guest has ended; its console is {}", self.console.display()),
            Ok(_) => Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(error)
                .with_context(|| format!("the guest is silent; its console is {}", self.console.display())),
        }
    }
}

impl Drop for Guest {
    /// A power cut, unless the guest has ended.
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
