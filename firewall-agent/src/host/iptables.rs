//! Rules of iptables-legacy, which nftables does not show, from the tables that exist. Reading a table that does not exist
//! would make it.

mod entries;
mod family;

use std::fs;
use std::io;
use std::path::Path;

use self::entries::rules;
use self::family::Family;
use crate::audit::{Gathered, Rule, Unchecked};

/// Returns the rules of each family, or the reason for which they cannot be read.
pub fn legacy_rules() -> Vec<Gathered<Vec<Rule>>> {
    Family::ALL.iter().map(|family| gather(family, Path::new(family.names))).collect()
}

/// Reads the tables that a file names.
fn gather(family: &Family, names: &Path) -> Gathered<Vec<Rule>> {
    let unchecked = |reason: String| Unchecked { fact: format!("{} rules", family.program), reason };
    let tables = match fs::read_to_string(names) {
        Ok(tables) => tables,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(unchecked(format!("{}: {error}: only root may read it", names.display())));
        }
    };
    let mut found = Vec::new();
    for table in tables.lines() {
        let read = || -> anyhow::Result<Vec<Rule>> {
            let (info, entries) = family.entries(table)?;
            rules(family, table, &info, &entries)
        };
        found.extend(read().map_err(|error| unchecked(format!("table {table}: {error:#}")))?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_existing_table_that_cannot_be_read_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let names = dir.path().join("names");
        let gathered = || gather(&Family::ALL[0], &names);
        assert_eq!(gathered(), Ok(Vec::new()));
        for (text, is_read) in [("", true), ("no-such-table\n", false), (&"a".repeat(40), false)] {
            fs::write(&names, text).unwrap();
            assert_eq!(gathered().is_ok(), is_read, "{text:?}");
        }
        assert!(gather(&Family::ALL[0], dir.path()).is_err());
    }
}
