//! Checksums from `Cargo.lock`, which `cargo tree` does not print.

use std::collections::BTreeMap;

use super::linked::Key;

/// Returns the SHA-256 of the packages that come from a registry.
pub(super) fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let of = |block: &str, field: &str| {
        let line =
            block.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(" = \"")?.strip_suffix('"'));
        line.map(str::to_owned)
    };
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .filter_map(|block| Some(((of(block, "name")?, of(block, "version")?), of(block, "checksum")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registry_packages_have_a_checksum() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n\
                    dependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"firewall-agent\"\nversion = \"0.1.0\"\n";
        let expected = BTreeMap::from([(("a".to_owned(), "1.0.0".to_owned()), "00ff".to_owned())]);
        assert_eq!(checksums(lock), expected);
    }
}
