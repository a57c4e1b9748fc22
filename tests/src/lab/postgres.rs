//! A PostgreSQL server that accepts connections over TLS only.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::unistd;

use super::answer::output_of;
use super::{Host, Lab, eventually};

/// The server trusts every client over TLS: access control is left to the firewall.
const ACCESS: &str = "hostssl all all all trust\nhostnossl all all all reject\n";

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
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        chown(&dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
        let server = Server { host, dir, port, programs: programs()? };
        server.initialise()?;
        let child = server.start()?;
        Ok(Self { child })
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

struct Server<'a> {
    host: &'a Host,
    dir: PathBuf,
    port: u16,
    programs: PathBuf,
}

impl Server<'_> {
    fn initialise(&self) -> Result<()> {
        let data = self.data();
        let cluster =
            ["--no-sync", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--username", "postgres"];
        output_of(self.as_owner(&self.programs.join("initdb")).args(cluster).arg("--pgdata").arg(&data))?;
        let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let (key, certificate) = (data.join("server.key"), data.join("server.crt"));
        output_of(
            self.as_owner(Path::new("openssl"))
                .args(request)
                .args(["-days", "1", "-subj", "/CN=db", "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(certificate),
        )?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).context("server.key")?;
        fs::write(data.join("pg_hba.conf"), ACCESS).context("pg_hba.conf")
    }

    fn start(&self) -> Result<Child> {
        let log = self.dir.join("log");
        let out = File::create(&log).context("log")?;
        let mut command = self.as_owner(&self.programs.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.dir).arg("-p").arg(self.port.to_string());
        for setting in
            ["listen_addresses=*", "ssl=on", "fsync=off", "shared_buffers=16MB", "max_connections=20"]
        {
            command.args(["-c", setting]);
        }
        let (err, nothing) = (out.try_clone()?, Stdio::null());
        let mut child =
            command.stdin(nothing).stdout(out).stderr(err).spawn().context("postgres: not started")?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let ready = eventually(Duration::from_secs(20), "postgres: ready", || {
            let is_ready = said().contains("ready to accept connections");
            if is_ready { Some(true) } else { child.try_wait().ok().flatten().map(|_| false) }
        });
        match ready {
            Ok(true) => Ok(child),
            Ok(false) => bail!("postgres: ended at once:\n{}", said()),
            Err(error) => {
                let _ = child.kill();
                Err(error.context(said()))
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Returns a command of the user `postgres`: PostgreSQL refuses to run as root.
    fn as_owner(&self, program: &Path) -> Command {
        let mut command = self.host.command("setpriv");
        command.args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--init-groups",
            "--pdeathsig",
            "KILL",
            "--",
        ]);
        command.arg(program).current_dir(&self.dir);
        command
    }
}
