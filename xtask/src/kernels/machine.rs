//! A guest: QEMU with the host's files, a logged console, and a serial port for results.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fs_err::{self as fs, File};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::architecture::Architecture;
use super::card::Slot;
use super::emulator::Emulator;
use super::fetch::Kernel;
use super::initramfs::initramfs;
use super::plan;
use crate::run::say;

/// Megabytes; tests may write up to a gigabyte of it.
const MEMORY: &str = "3072";
const CPUS: &str = "2";
/// A guest without output for this long counts as hung.
const SILENCE: Duration = Duration::from_secs(600);
/// Limit for the first output of a guest; emulated, it boots in 10 seconds.
const UP: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

/// Executor of the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU, by translation.
    Tcg,
}

impl Accelerator {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }

    fn arguments(self, architecture: Architecture) -> [&'static str; 4] {
        match (self, architecture) {
            (Self::Kvm, _) => ["-accel", "kvm", "-cpu", "host"],
            (Self::Tcg, Architecture::Amd64) => ["-accel", "tcg,thread=multi", "-cpu", "max"],
            // The newest processor's authentication of pointers takes most of the time, emulated.
            (Self::Tcg, Architecture::Arm64) => ["-accel", "tcg,thread=multi", "-cpu", "cortex-a72"],
        }
    }
}

/// A kernel with network cards, and the directory for its guest's files.
#[derive(Debug)]
pub struct Machine<'a> {
    pub sh: &'a Shell,
    pub emulator: &'a Emulator,
    pub kernel: &'a Kernel,
    pub slots: Vec<Slot>,
    /// The root file system, a directory of this machine.
    pub root: &'a Path,
    /// Directories that every guest has at the same place as this machine.
    pub shared: [&'a Path; 2],
    pub dir: PathBuf,
}

/// The result of a guest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Everything that the guest wrote to the port.
    pub results: String,
    /// Reason for which the guest was killed; `None` if it ended by itself.
    pub killed: Option<String>,
    pub took: Duration,
}

impl Ran {
    pub fn is_up(&self) -> bool {
        self.results.contains(plan::UP)
    }
}

impl Machine<'_> {
    /// As [`Machine::run`], a second time if the guest does not come up: under load, an emulated one may lose a timer
    /// interrupt.
    pub fn run_again(&self, accelerator: Accelerator, script: &str) -> Result<Ran> {
        let ran = self.run(accelerator, script)?;
        if ran.is_up() {
            return Ok(ran);
        }
        say(format_args!(
            "kernels: {} did not come up, once more\n{}",
            self.kernel.release,
            self.last_words()
        ));
        self.run(accelerator, script)
    }

    /// Boots the kernel, which runs this script, until the guest ends or hangs.
    pub fn run(&self, accelerator: Accelerator, script: &str) -> Result<Ran> {
        let (plan, results) = (self.dir.join("plan.sh"), self.dir.join("results"));
        fs::write(&plan, script)?;
        File::create(&results)?;
        let mut qemu = self.qemu(accelerator, &plan, &results)?;
        let began = Instant::now();
        let mut guest = Guest(qemu.spawn().context("cannot start qemu")?);
        let killed = guest.watch(&results)?;
        let text = fs::read(&results)?;
        Ok(Ran { results: String::from_utf8_lossy(&text).into_owned(), killed, took: began.elapsed() })
    }

    /// Returns the last lines of the console.
    pub fn last_words(&self) -> String {
        let text = fs::read(self.console()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    fn qemu(&self, accelerator: Accelerator, plan: &Path, results: &Path) -> Result<Command> {
        let archive = initramfs(self.sh, self.kernel, self.root, &self.dir)?;
        let errors = File::create(self.dir.join("qemu"))?;
        let architecture = self.kernel.architecture;
        let (console, image, serial) = (self.console(), &self.kernel.image, architecture.console());
        let (machine, accelerator) = (architecture.machine(), accelerator.arguments(architecture));
        let [root, first, second] = [self.root, self.shared[0], self.shared[1]].map(Path::display);
        // Every oops or panic of the kernel ends the guest.
        let line = format!(
            "console={serial} quiet oops=panic panic=-1 files={root} shared={first} shared={second} plan={} ",
            plan.display()
        );
        let program = self.emulator.command_line(architecture);
        let cards = self.slots.iter().flat_map(|slot| slot.arguments());
        let wiring: String = self.slots.iter().map(|slot| slot.wiring()).collect();
        let network = format!("set -e\n{wiring}exec \"$@\"\n");
        // QEMU ends with this process in every case, and with it the network namespace that contains its wires. The
        // guest shares this machine's whole root file system, read-only, for kernel modules, programs and libraries.
        let qemu = cmd!(
            self.sh,
            "setpriv --pdeathsig KILL unshare --net sh -c {network} sh
             {program...} -M {machine} {accelerator...} -m {MEMORY} -smp {CPUS}
             -nodefaults -no-user-config -display none -no-reboot {cards...}
             -kernel {image} -initrd {archive} -append {line} -serial file:{console}
             -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap
             -device virtio-serial-pci -device virtserialport,chardev=results
             -chardev file,id=results,path={results}"
        );
        let mut qemu = Command::from(qemu.env("QEMU_MODULE_DIR", self.emulator.modules()));
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.into_file());
        Ok(qemu)
    }
}

/// A running QEMU, killed when dropped.
struct Guest(Child);

impl Guest {
    /// Waits for the end of the guest; returns the reason if it was killed.
    fn watch(&mut self, results: &Path) -> Result<Option<String>> {
        let (mut last_output, mut length) = (Instant::now(), 0);
        loop {
            if let Some(status) = self.0.try_wait().context("cannot wait for qemu")? {
                return Ok(complaint(status));
            }
            let now = fs::metadata(results)?.len();
            if now != length {
                (last_output, length) = (Instant::now(), now);
            }
            let limit = if length == 0 { UP } else { SILENCE };
            if last_output.elapsed() > limit {
                return Ok(Some(format!("no output for {} s", limit.as_secs())));
            }
            sleep(POLL);
        }
    }
}

fn complaint(status: ExitStatus) -> Option<String> {
    (!status.success()).then(|| format!("qemu: {status}"))
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns KVM if a kernel boots on it, which the existence of the device does not show; TCG otherwise.
pub fn accelerator(machine: &Machine<'_>) -> Result<Accelerator> {
    if !Path::new("/dev/kvm").exists() {
        say(format_args!("kernels: no /dev/kvm, using emulation"));
        return Ok(Accelerator::Tcg);
    }
    let ran = machine.run(Accelerator::Kvm, &plan::only_up(machine.kernel))?;
    if ran.is_up() {
        return Ok(Accelerator::Kvm);
    }
    let why = ran.killed.unwrap_or_else(|| "it ended early".to_owned());
    let errors = fs::read_to_string(machine.dir.join("qemu")).unwrap_or_default();
    let error = errors.lines().last().unwrap_or_default();
    say(format_args!(
        "kernels: {} does not boot under KVM ({why}) {error}, using emulation",
        machine.kernel.release
    ));
    Ok(Accelerator::Tcg)
}
