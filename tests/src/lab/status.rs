//! The output of `status -o json`, as far as the lab reads it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::AgentHome;

/// The output of `status -o json`.
#[derive(Clone, Debug)]
pub struct Status(pub Value);

impl AgentHome {
    pub fn status(&self) -> Result<Status> {
        let answer = self.ask(&["status", "-o", "json"])?;
        ensure!(answer.code == Some(0), "status: exit code {:?}: {}", answer.code, answer.err.trim());
        serde_json::from_str(&answer.out).map(Status).with_context(|| format!("status: {:?}", answer.out))
    }
}

impl Status {
    /// Returns the revision of this database that is in force in the kernel.
    pub fn revision(&self, database: &str) -> Option<u64> {
        self.database(database)?.get("revision")?.as_u64()
    }

    /// Returns `applied`, `degraded`, `rejected` or `orphaned`.
    pub fn state(&self, database: &str) -> Option<&str> {
        self.database(database)?.get("state")?.as_str()
    }

    fn database(&self, id: &str) -> Option<&Value> {
        let databases = self.0.get("databases")?.as_array()?;
        databases.iter().find(|entry| entry.get("database_id").and_then(Value::as_str) == Some(id))
    }
}
