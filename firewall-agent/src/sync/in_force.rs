//! Stored facts about the revisions in force, from which a boot restores them.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::desired::DesiredDatabase;
use super::model::{Database, Destination};
use super::open_endpoints::OpenEndpoint;

/// The revision of a database that decides about packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    pub revision: u64,
    /// The rules in force while those of the accepted file and ranges wait, for example for capacity.
    pub rules: Option<RulesInForce>,
    /// A boot had no capacity for these rules. They return when there is some, after those of the databases in force.
    pub is_lost: bool,
}

impl InForce {
    /// A revision in force with the rules of its accepted file.
    #[must_use]
    pub fn complete(revision: u64) -> Self {
        Self { revision, rules: None, is_lost: false }
    }

    /// A revision of which exactly these rules are in force.
    #[must_use]
    pub fn with(revision: u64, rules: RulesInForce) -> Self {
        Self { revision, rules: Some(rules), is_lost: false }
    }
}

/// Sources and destinations that decide about packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesInForce {
    /// Canonical networks.
    pub networks: BTreeSet<IpNet>,
    pub destinations: BTreeSet<Destination>,
}

impl RulesInForce {
    /// The rules of a desired state.
    #[must_use]
    pub fn of_desired(desired: &DesiredDatabase) -> Self {
        Self { networks: desired.set.prefixes.keys().collect(), destinations: desired.destinations.clone() }
    }

    /// The rules of a live database with these open endpoints.
    #[must_use]
    pub fn of_live(database: &Database, open: &[OpenEndpoint]) -> Self {
        Self {
            networks: database.sources.keys().collect(),
            destinations: open.iter().map(|endpoint| endpoint.destination).collect(),
        }
    }
}
