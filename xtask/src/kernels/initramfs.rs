//! The guest's initramfs: busybox, the modules needed to mount the host's files, and an init script.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err::{self as fs, File};

use super::fetch::Kernel;
use crate::run::{output, shown};

const BUSYBOX: &str = "/bin/busybox";
const INIT: &str = include_str!("guest/init.sh");
const MODULES: &[&str] = &["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];
/// Mount points and the program directory of the script.
const DIRECTORIES: &[&str] = &["bin", "dev", "host", "modules", "new", "own", "proc", "sys"];

/// Builds the archive in `dir`; returns its path.
pub fn initramfs(kernel: &Kernel, dir: &Path) -> Result<PathBuf> {
    let tree = dir.join("initramfs");
    for name in DIRECTORIES {
        let dir = tree.join(name);
        fs::create_dir_all(&dir)?;
    }
    fs::copy(BUSYBOX, tree.join("bin/busybox")).context(BUSYBOX)?;
    for applet in output(Command::new(BUSYBOX).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        let _ = fs::remove_file(tree.join("bin").join(applet));
        fs::os::unix::fs::symlink("busybox", tree.join("bin").join(applet)).context("busybox")?;
    }
    let mut order = String::new();
    for module in modules(kernel)? {
        order.push_str(&put_module(&module, &tree.join("modules"))?);
        order.push('\n');
    }
    fs::write(tree.join("modules/order"), order).context("modules/order")?;
    fs::write(tree.join("init"), INIT).context("init")?;
    fs::set_permissions(tree.join("init"), Permissions::from_mode(0o755)).context("init")?;
    pack(&tree, &dir.join("initramfs.cpio"))
}

/// Returns the files of the modules, each after its dependencies; none for built-in ones.
fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for module in MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("-d").arg(&kernel.root).args(["-S", &kernel.release, "--show-depends", module]);
        for line in output(&mut modprobe)?.lines() {
            let file = line.strip_prefix("insmod ").map(|rest| PathBuf::from(rest.trim()));
            files.extend(file.filter(|file| !files.contains(file)));
        }
    }
    Ok(files)
}

/// Copies a module into `dir`, uncompressed, since not every busybox can decompress it; returns its file name.
fn put_module(module: &Path, dir: &Path) -> Result<String> {
    let name = module.file_name().and_then(|name| name.to_str()).context("a module without a name")?;
    let plain = name.strip_suffix(".xz").unwrap_or(name);
    let to = File::create(dir.join(plain)).with_context(|| plain.to_owned())?;
    let mut unpack = Command::new(if plain == name { "cat" } else { "xzcat" });
    let status = unpack.arg(module).stdout(to.into_file()).status().with_context(|| shown(&unpack))?;
    ensure!(status.success(), "cannot unpack {}", module.display());
    Ok(plain.to_owned())
}

fn pack(tree: &Path, archive: &Path) -> Result<PathBuf> {
    let names = output(Command::new("find").current_dir(tree).arg("."))?;
    let to = File::create(archive)?;
    let mut cpio = Command::new("cpio");
    cpio.current_dir(tree).args(["--quiet", "--create", "--format=newc"]);
    let mut packing =
        cpio.stdin(Stdio::piped()).stdout(to.into_file()).spawn().with_context(|| shown(&cpio))?;
    if let Some(mut input) = packing.stdin.take() {
        input.write_all(names.as_bytes()).with_context(|| shown(&cpio))?;
    }
    ensure!(packing.wait()?.success(), "cannot pack {}", archive.display());
    Ok(archive.to_owned())
}
