//! The guest's initramfs: busybox, the modules needed to mount the host's files, and an init script.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use xshell::{Shell, cmd};

use super::fetch::Kernel;

const BUSYBOX: &str = "bin/busybox";
const INIT: &str = include_str!("guest/init.sh");
const MODULES: &[&str] = &["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];
/// Mount points and the program directory of the script.
const DIRECTORIES: &[&str] = &["bin", "dev", "host", "modules", "new", "own", "proc", "sys"];

/// Builds the archive in `dir`, with the busybox of a guest's root; returns its path.
pub fn initramfs(sh: &Shell, kernel: &Kernel, root: &Path, dir: &Path) -> Result<PathBuf> {
    let tree = dir.join("initramfs");
    for name in DIRECTORIES {
        sh.create_dir(tree.join(name))?;
    }
    fs::copy(root.join(BUSYBOX), tree.join("bin/busybox"))?;
    for applet in cmd!(sh, "/{BUSYBOX} --list").read()?.lines().filter(|name| *name != "busybox") {
        let link = tree.join("bin").join(applet);
        sh.remove_path(&link)?;
        fs::os::unix::fs::symlink("busybox", link)?;
    }
    let mut order = String::new();
    for module in modules(sh, kernel)? {
        order.push_str(&put_module(sh, &module, &tree.join("modules"))?);
        order.push('\n');
    }
    fs::write(tree.join("modules/order"), order)?;
    fs::write(tree.join("init"), INIT)?;
    fs::set_permissions(tree.join("init"), Permissions::from_mode(0o755))?;
    pack(sh, &tree, &dir.join("initramfs.cpio"))
}

/// Returns the files of the modules, each after its dependencies; none for built-in ones.
fn modules(sh: &Shell, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let Kernel { root, release, .. } = kernel;
    let mut files = Vec::new();
    for module in MODULES {
        let shown = cmd!(sh, "modprobe -d {root} -S {release} --show-depends {module}").read()?;
        for line in shown.lines() {
            let file = line.strip_prefix("insmod ").map(|rest| PathBuf::from(rest.trim()));
            files.extend(file.filter(|file| !files.contains(file)));
        }
    }
    Ok(files)
}

/// Copies a module into `dir`, uncompressed, since not every busybox can decompress it; returns its file name.
fn put_module(sh: &Shell, module: &Path, dir: &Path) -> Result<String> {
    let name = module.file_name().and_then(|name| name.to_str()).context("a module without a name")?;
    let plain = name.strip_suffix(".xz").unwrap_or(name);
    let unpack = if plain == name { "cat" } else { "xzcat" };
    fs::write(dir.join(plain), cmd!(sh, "{unpack} {module}").output()?.stdout)?;
    Ok(plain.to_owned())
}

fn pack(sh: &Shell, tree: &Path, archive: &Path) -> Result<PathBuf> {
    let _inside = sh.push_dir(tree);
    let names = cmd!(sh, "find .").read()?;
    cmd!(sh, "cpio --quiet --create --format=newc -F {archive}").stdin(names).run()?;
    Ok(archive.to_owned())
}
