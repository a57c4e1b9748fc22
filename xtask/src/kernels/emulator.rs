//! QEMU of a newer Debian release than this machine's may be, with its libraries, in a directory of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::Shell;

use super::architecture::Architecture;
use crate::apt::{Apt, cached, in_path};

/// The first Debian release whose QEMU has the card igb.
const RELEASE: &str = "trixie";
const QEMU: &str = "qemu-system-x86";
const PACKAGES: &[&str] = &[QEMU, "qemu-system-arm"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Directories with firmware.
const FIRMWARE: &[&str] = &["usr/share/qemu", "usr/share/seabios"];

/// Unpacked packages that contain QEMU; nothing of them is installed.
#[derive(Debug)]
pub struct Emulator {
    root: PathBuf,
}

impl Emulator {
    /// Downloads and unpacks QEMU below `dir` unless it is cached.
    pub fn new(sh: &Shell, dir: &Path) -> Result<Self> {
        let apt = Apt::of_architecture(sh, RELEASE, Architecture::Amd64.name(), dir)?;
        let version = apt.version(QEMU)?;
        let root = dir.join("emulators").join(format!("{RELEASE}-{}", in_path(&version)));
        cached(sh, &root, |root| apt.unpack_with_dependencies(PACKAGES, QEMU, root))?;
        Ok(Self { root })
    }

    /// Returns the command line of QEMU for guests of an architecture, run by the dynamic linker that comes with its libraries.
    pub fn command_line(&self, guests: Architecture) -> Vec<OsString> {
        let libraries = self.root.join(LIBRARIES);
        let (linker, program) =
            (libraries.join("ld-linux-x86-64.so.2"), self.root.join("usr/bin").join(guests.emulator()));
        let start = [linker.into(), "--library-path".into(), libraries.into(), program.into()];
        let firmware = FIRMWARE.iter().flat_map(|dir| ["-L".into(), self.root.join(dir).into()]);
        start.into_iter().chain(firmware).collect()
    }

    /// Returns the directory of QEMU's modules, for the variable `QEMU_MODULE_DIR`: this machine may have others.
    pub fn modules(&self) -> PathBuf {
        self.root.join(LIBRARIES).join("qemu")
    }
}
