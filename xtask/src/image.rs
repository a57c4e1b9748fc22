//! `cargo xtask image`: the static program, and an image of nothing but it.

mod check;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::debian::{ensure_packages, is_root};
use crate::ebpf;
use crate::run::{output, run, say};
use crate::workspace::Workspace;

const PACKAGES: &[&str] = &["buildah", "libcap2-bin", "util-linux"];
const PROGRAMS: &[&str] = &["buildah", "setcap", "setpriv"];
/// No name in an image without `/etc/passwd`; the manifests know the number.
const USER: &str = "65532:65532";
/// A runtime gives a user other than root no ambient capabilities: the program brings its own.
const CAPABILITIES: &str = "cap_bpf,cap_net_admin,cap_perfmon=ep";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only the static program, for this architecture; only x86_64 makes an image, too
    #[arg(long, default_value = "x86_64")]
    arch: String,
}

pub fn image(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let program = static_program(workspace, &arguments.arch)?;
    say(format_args!("program: {}", program.display()));
    if arguments.arch != "x86_64" {
        return Ok(());
    }
    ensure!(is_root(), "image: needs root: a file in it gets capabilities");
    ensure_packages(PACKAGES, PROGRAMS)?;
    let archive = pack(workspace, &program)?;
    check::check(workspace, &archive)?;
    say(format_args!("image: {}", archive.display()));
    Ok(())
}

/// Builds the agent for musl; the revision of the sources is in its `--version`.
fn static_program(workspace: &Workspace, arch: &str) -> Result<PathBuf> {
    ebpf::ebpf(workspace)?;
    let target = format!("{arch}-unknown-linux-musl");
    run(Command::new("rustup").current_dir(&workspace.root).args(["target", "add", &target]))?;
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--locked", "--package", "firewall-agent", "--target", &target]);
    // The linker that comes with rustc, which knows every architecture.
    let linker = format!("target.{target}.linker = \"rust-lld\"");
    run(build.args(["--config", &linker]).env("FIREWALL_REVISION", revision(workspace)?))?;
    Ok(workspace.target.join(target).join("release/firewall-agent"))
}

fn revision(workspace: &Workspace) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    Ok(output(&mut git)?.trim().to_owned())
}

/// Puts the program into an image of its own; the archive.
fn pack(workspace: &Workspace, program: &Path) -> Result<PathBuf> {
    let dir = workspace.target.join("image");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let archive = dir.join("firewall-agent.oci.tar");
    let buildah = |arguments: &[&str]| {
        let mut buildah = Command::new("buildah");
        // Storage that is no user's, and needs no overlay.
        buildah.args(["--storage-driver", "vfs", "--root"]).arg(dir.join("storage"));
        buildah.arg("--runroot").arg(dir.join("run")).args(arguments);
        buildah
    };
    let container = output(&mut buildah(&["from", "scratch"]))?;
    let container = container.trim();
    let root = PathBuf::from(output(&mut buildah(&["mount", container]))?.trim());
    let inside = root.join("firewall-agent");
    fs::copy(program, &inside).with_context(|| inside.display().to_string())?;
    run(Command::new("setcap").arg(CAPABILITIES).arg(&inside))?;
    run(&mut buildah(&["umount", container]))?;
    let revision = format!("org.opencontainers.image.revision={}", revision(workspace)?);
    let version = format!("org.opencontainers.image.version={}", env!("CARGO_PKG_VERSION"));
    run(buildah(&["config", "--user", USER, "--entrypoint", "[\"/firewall-agent\"]", "--label"])
        .arg(version)
        .arg("--label")
        .arg(revision)
        .arg(container))?;
    let tag = format!("oci-archive:{}:firewall-agent:{}", archive.display(), env!("CARGO_PKG_VERSION"));
    run(&mut buildah(&["commit", "--quiet", "--timestamp", "0", container, &tag]))?;
    run(&mut buildah(&["rm", container]))?;
    Ok(archive)
}
