//! The hosts of the soak, and the state that its threads share.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_tests::lab::{AgentHome, Host, Lab, Postgres, Settings, User, agent_binary, eventually};
use fs_err as fs;
use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::expectations::Expectations;
use crate::files::{Database, SERVER4, SERVER6, SOURCES, address, ranges};

/// Room of the state directory.
const ROOM: &str = "size=48m,mode=0755";
/// Longest time in which the host must come to rest.
const REST: Duration = Duration::from_secs(120);

/// One database host with an agent, a PostgreSQL server, and clients outside.
pub struct Scene {
    _postgres: Postgres,
    pub home: AgentHome,
    pub db: Host,
    pub outside: Host,
    pub dir: PathBuf,
    pub expectations: Expectations,
    /// Changes when a fault begins, and when the agent has recovered from it: odd in between.
    pub fault: AtomicU64,
    /// Changes when the link goes down, and when it carries datagrams again: odd in between.
    pub link: AtomicU64,
    /// Pid of the running agent; 0 without one.
    pub agent: AtomicU32,
}

impl Scene {
    /// Starts no agent.
    pub fn build(lab: &Lab) -> Result<Self> {
        let (db, outside) = (lab.host("db")?, lab.host("outside")?);
        // An interface that goes down would lose them otherwise.
        db.set("net/ipv6/conf/default/keep_addr_on_down", "1")?;
        let clients: Vec<String> = (0..2)
            .flat_map(|database| (0..SOURCES).map(move |source| address(source, database)))
            .map(|address| format!("{address}/{}", if address.is_ipv6() { 64 } else { 24 }))
            .collect();
        let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
        let servers = [format!("{SERVER4}/24"), format!("{SERVER6}/64")];
        let servers = servers.each_ref().map(String::as_str);
        lab.link(db.end("eth0", &servers), outside.end("eth0", &clients))?;
        lab.link(db.end("eth1", &[]), outside.end("eth1", &[]))?;
        let settings = Settings { interfaces: &["eth0", "eth1"], ..Settings::default() };
        let home = AgentHome::new(lab, &db, &agent_binary()?, User::Unprivileged, &settings)?;
        let state = home.config().with_file_name("state");
        let owner = User::Unprivileged.id();
        let room = format!("{ROOM},uid={owner},gid={owner}");
        mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), Some(room.as_str()))
            .context("state")?;
        let postgres = Postgres::start(lab, &db, 5432)?;
        Ok(Self {
            _postgres: postgres,
            home,
            db,
            outside,
            dir: lab.dir().to_owned(),
            expectations: Expectations::new(),
            fault: AtomicU64::new(0),
            link: AtomicU64::new(0),
            agent: AtomicU32::new(0),
        })
    }

    /// Writes the first files.
    pub fn write_first(&self, databases: &mut [Database]) -> Result<()> {
        self.home.write_ranges(&ranges(1, &BTreeSet::new()).to_string())?;
        for database in databases {
            self.home.push(&database.next_file())?;
        }
        Ok(())
    }

    /// Waits until the agent reports every database applied and no condition; returns its status.
    pub fn at_rest(&self) -> Result<Value> {
        let mut last = Value::Null;
        let is_at_rest = || {
            last = self.home.status().ok()?;
            let databases = last["databases"].as_array()?;
            let is_applied = databases.iter().all(|one| one["state"] == "applied");
            let pid = self.agent.load(Ordering::SeqCst);
            let is_ours = last["agent"]["pid"] == u64::from(pid);
            let is_quiet = last["conditions"].as_array()?.is_empty() && last["ready"] == true;
            (is_applied && is_ours && is_quiet).then_some(())
        };
        eventually(REST, "the host is at rest", is_at_rest).with_context(|| format!("{last:#}"))?;
        Ok(last)
    }

    /// Returns the number of begins and ends of faults so far: odd during one.
    pub fn fault(&self) -> u64 {
        self.fault.load(Ordering::SeqCst)
    }

    /// Returns the last lines that agents of this host have logged.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.join("agent-db/log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}
