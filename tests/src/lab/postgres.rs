//! A PostgreSQL server that accepts connections over TLS only.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::chown;
use nix::unistd;

use super::answer::output_of;
use super::{Host, Lab, eventually};

/// The server trusts every client over TLS: access control is left to the firewall.
const ACCESS: &str = "hostssl all all all trust\nhostnossl all all all reject\n";
const SETTINGS: [&str; 5] =
    ["listen_addresses=*", "ssl=on", "fsync=off", "shared_buffers=16MB", "max_connections=20"];

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
}

impl Postgres {
    /// Starts a new server on a host; it listens on every address, on `port`.
    pub fn start(lab: &Lab, host: &Host, port: u16) -> Result<Self> {
        let owner =
            unistd::User::from_name("postgres")?.context("postgres: no such user; is it installed?")?;
        let dir = lab.dir().join(format!("postgres-{}", host.name()));
        fs::create_dir(&dir)?;
        chown(&dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
        let (programs, data) = (programs()?, dir.join("data"));
        initialise(&programs, host, &dir, &data)?;
        let log = dir.join("log");
        let out = File::create(&log).context("log")?;
        let mut command = as_owner(host, &dir, &programs.join("postgres"));
        command.arg("-D").arg(data).arg("-k").arg(&dir).arg("-p").arg(port.to_string());
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let command = command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let mut server = Self { child: command.spawn().context("postgres: not started")? };
        let logged = || fs::read_to_string(&log).unwrap_or_default();
        let ready = eventually(Duration::from_secs(20), "postgres: ready", || {
            let is_ready = logged().contains("ready to accept connections");
            if is_ready { Some(true) } else { server.child.try_wait().ok().flatten().map(|_| false) }
        });
        ensure!(ready.with_context(logged)?, "postgres: ended at once:\n{}", logged());
        Ok(server)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the directory of the programs of the newest installed PostgreSQL.
pub(super) fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed =
        versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("postgres").exists());
    let newest = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    installed.max_by_key(newest).context("postgres: not in /usr/lib/postgresql/*/bin; is it installed?")
}

/// Creates the server's data directory and its certificate.
fn initialise(programs: &Path, host: &Host, dir: &Path, data: &Path) -> Result<()> {
    let cluster =
        ["--no-sync", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--username", "postgres"];
    output_of(as_owner(host, dir, &programs.join("initdb")).args(cluster).arg("--pgdata").arg(data))?;
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (key, certificate) = (data.join("server.key"), data.join("server.crt"));
    let mut openssl = as_owner(host, dir, Path::new("openssl"));
    openssl.args(request).args(["-days", "1", "-subj", "/CN=db", "-keyout"]).arg(&key);
    output_of(openssl.arg("-out").arg(certificate))?;
    fs::set_permissions(&key, Permissions::from_mode(0o600))?;
    Ok(fs::write(data.join("pg_hba.conf"), ACCESS)?)
}

/// Returns a command of the user `postgres`: PostgreSQL refuses to run as root.
fn as_owner(host: &Host, dir: &Path, program: &Path) -> Command {
    let mut command = host.command("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).current_dir(dir);
    command
}
