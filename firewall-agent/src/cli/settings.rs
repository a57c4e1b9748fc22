//! Configuration file as the commands use it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{BadConfiguration, BadInput, Directories};
use crate::bpf::MapSizes;
use crate::config::{Config, ConfigFile, Listen, read_config};
use crate::files::read::{ReadError, read_file};
use crate::rules::{Limits, TrustedKey};
use crate::sync::{Capacity, Guards};

pub(super) const DEFAULT_PATH: &str = "/etc/firewall-agent/config.yaml";

/// Content of the configuration file, and its warnings.
#[derive(Debug)]
pub(super) struct Settings {
    file: ConfigFile,
    pub warnings: Vec<String>,
}

/// Directories that the reading commands use.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub bpffs_dir: PathBuf,
    pub state_dir: PathBuf,
}

impl Settings {
    /// Reads the file. Only the default one may be missing: every key then has its default or comes from a flag.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = match read_file(path) {
            Ok(bytes) => bytes,
            Err(ReadError::Io(error))
                if error.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_PATH) =>
            {
                return Ok(Self { file: ConfigFile::default(), warnings: Vec::new() });
            }
            Err(error) => return Err(BadInput(format!("{}: {error}", path.display())).into()),
        };
        let checked = read_config(&bytes).map_err(|problems| {
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect();
            BadConfiguration(lines)
        })?;
        let warnings =
            checked.warnings.iter().map(|warning| format!("{}: {warning}", path.display())).collect();
        Ok(Self { file: checked.value, warnings })
    }

    /// Complete configuration of the daemon.
    pub fn config(self, flags: ConfigFile) -> Result<Config> {
        let config = Config::resolve(self.file, flags, &host_name()?);
        config.map_err(|error| BadInput(format!("configuration: {error}")).into())
    }

    /// Limits on a rule file of this host.
    pub fn limits(&self) -> Result<Limits> {
        Ok(self.file.limits(&host_name()?))
    }

    /// Capacity of this host, except for memory.
    pub fn capacity(&self) -> Result<Capacity> {
        Ok(Capacity {
            endpoints: usize::try_from(self.file.max_endpoints())?,
            prefixes: usize::try_from(self.file.max_prefixes())?,
            ..Capacity::default()
        })
    }

    /// Sizes of the kernel's maps at the next boot.
    pub fn map_sizes(&self) -> MapSizes {
        MapSizes::new(self.file.max_databases(), self.file.max_rule_counters())
    }

    /// Ports that the file guards; `None` if the key is missing.
    pub fn guarded_ports(&self) -> Option<Guards> {
        self.file.guarded_ports.as_ref().map(Guards::from)
    }

    /// Returns `true` if the file configures a socket filter, as it does by default.
    pub fn judges_sockets(&self) -> bool {
        self.file.socket_filter.unwrap_or_default().is_on()
    }

    /// Trusted keys of file signatures.
    pub fn trusted_keys(&self) -> Vec<TrustedKey> {
        self.file.trusted_keys()
    }

    /// Paths of the rule files, the managed and the blocked ranges of the control plane; the last is empty for none.
    pub fn inputs(&self) -> (PathBuf, PathBuf, PathBuf) {
        let blocked = self.file.blocked_ranges.clone().unwrap_or_default();
        (self.file.rules_dir(), self.file.managed_ranges(), blocked)
    }

    /// Most prefixes of all databases together, and of the blocked ranges.
    pub fn max_prefixes(&self) -> usize {
        usize::try_from(self.file.max_prefixes()).unwrap_or(usize::MAX)
    }

    /// Most rule files that the daemon reads from a directory.
    pub fn most_files(&self) -> usize {
        self.file.most_files()
    }

    /// Address of the daemon's HTTP server: the first unix socket, else the first listener.
    pub fn listener(&self) -> Result<Listen> {
        let listen = self.file.listen();
        let unix = listen.iter().position(|one| matches!(one, Listen::Unix(_))).unwrap_or(0);
        let nowhere = || BadInput("listen: empty: the daemon has no HTTP listener to query".to_owned());
        Ok(listen.into_iter().nth(unix).ok_or_else(nowhere)?)
    }

    /// Resolves the directories. Flags win over the file, the file over the default.
    pub fn directories(&self, flags: Directories) -> Located {
        Located {
            bpffs_dir: flags.bpffs_dir.unwrap_or_else(|| self.file.bpffs_dir()),
            state_dir: flags.state_dir.unwrap_or_else(|| self.file.state_dir()),
        }
    }
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    name.into_string().map_err(|name| anyhow::anyhow!("host name {name:?}: not UTF-8"))
}
