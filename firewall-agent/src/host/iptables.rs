//! Detection of destination rewrites by legacy iptables, which nftables does not show.

use std::fs;
use std::io;
use std::path::Path;

use crate::audit::{Gathered, Translation, Unchecked};

const TABLES: [(&str, &str); 2] = [
    ("/proc/self/net/ip_tables_names", "iptables-legacy"),
    ("/proc/self/net/ip6_tables_names", "ip6tables-legacy"),
];

/// Returns no entry without a table `nat`, and an error for one that exists: its rules are not read.
pub fn legacy_translations() -> Vec<Gathered<Vec<Translation>>> {
    TABLES.into_iter().map(|(names, program)| translations(Path::new(names), program)).collect()
}

fn translations(names: &Path, program: &str) -> Gathered<Vec<Translation>> {
    let unchecked = |reason: String| Unchecked { fact: format!("{program} rules"), reason };
    match fs::read_to_string(names) {
        Ok(text) if text.lines().any(|table| table == "nat") => Err(unchecked(format!(
            "a legacy nat table exists, which only its own program can read: check with `{program}-save -t \
             nat`"
        ))),
        Ok(_) => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unchecked(format!("{}: {error}: only root may read it", names.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_nat_table_or_an_unreadable_list_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let names = dir.path().join("names");
        assert_eq!(translations(&names, "iptables-legacy"), Ok(Vec::new()));
        for (text, seen) in [("", true), ("filter\nraw\n", true), ("filter\nnat\n", false)] {
            fs::write(&names, text).unwrap();
            assert_eq!(translations(&names, "iptables-legacy").is_ok(), seen, "{text:?}");
        }
        assert!(translations(dir.path(), "iptables-legacy").is_err());
    }
}
