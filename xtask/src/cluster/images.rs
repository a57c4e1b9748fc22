//! Images for the node besides the agent's own: the sandbox, and another build of the agent.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use xshell::{Shell, cmd};

/// Makes the image of the sandbox, a container that sleeps; returns the archive.
pub fn pause(sh: &Shell, dir: &Path) -> Result<PathBuf> {
    build(sh, dir, "pause", "scratch", |container| {
        let buildah = Buildah { sh, dir };
        let busybox = crate::debian::on_path("busybox").unwrap_or_else(|| "/bin/busybox".into());
        buildah.run(&["copy", "--quiet", container, &busybox.display().to_string(), "/busybox"])?;
        buildah.run(&["config", "--entrypoint", r#"["/busybox", "sleep", "2147483647"]"#, container])
    })
}

/// Makes an image of the same program with another digest; returns the archive.
pub fn another(sh: &Shell, dir: &Path, image: &Path) -> Result<PathBuf> {
    build(sh, dir, "another", &format!("oci-archive:{}", image.display()), |container| {
        let label = "--label=org.opencontainers.image.version=next";
        Buildah { sh, dir }.run(&["config", label, container])
    })
}

fn build(
    sh: &Shell,
    dir: &Path,
    name: &str,
    from: &str,
    change: impl FnOnce(&str) -> Result<()>,
) -> Result<PathBuf> {
    let buildah = Buildah { sh, dir };
    let archive = dir.join(format!("{name}.oci.tar"));
    sh.remove_path(&archive)?;
    let container = buildah.read(&["from", "--quiet", from])?;
    change(&container)?;
    let target = format!("oci-archive:{}", archive.display());
    buildah.run(&["commit", "--quiet", "--timestamp", "0", &container, &target])?;
    fs::remove_dir_all(dir.join("storage"))?;
    Ok(archive)
}

/// buildah with a storage of its own, without overlay.
struct Buildah<'a> {
    sh: &'a Shell,
    dir: &'a Path,
}

impl Buildah<'_> {
    fn read(&self, arguments: &[&str]) -> Result<String> {
        let (sh, storage) = (self.sh, self.dir.join("storage"));
        let state = storage.join("run");
        Ok(cmd!(sh, "buildah --storage-driver vfs --root {storage} --runroot {state} {arguments...}")
            .read()?)
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        self.read(arguments).map(drop)
    }
}
