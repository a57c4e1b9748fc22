//! Rule: no unfinished work, no machine-specific paths, no stray whitespace.

use super::{Finding, Source};

/// Markers of unfinished work, split so that this file does not contain them.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("db", "g")];
/// Prefixes of machine-specific paths.
const MACHINE_PATHS: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// The only registry that locked packages may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let mut find = |what: String| findings.push(source.finding(index + 1, what));
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| UNFINISHED.contains(word)) {
            find(format!("{word}: unfinished work belongs in an issue"));
        }
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
            find(format!("{path}: a path of one machine"));
        }
        if line.starts_with("source = \"") && !line.contains(REGISTRY) {
            find(format!("{line}: locked to another registry than crates.io"));
        }
        if line.ends_with([' ', '\t']) && !source.is_fixture() {
            find("trailing whitespace".to_owned());
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') && !source.is_fixture() {
        findings.push(
            source.finding(source.text.lines().count(), "no newline at the end of the file".to_owned()),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn debris_is_found() {
        let unfinished = format!("// {}: later\n", UNFINISHED[0]);
        let debug = format!("{}!(a);\n", UNFINISHED[3]);
        let path = format!("let a = \"{}main\";\n", MACHINE_PATHS[0]);
        let cases = [
            ("a.rs", unfinished.as_str()),
            ("a.rs", &debug),
            ("README.md", &path),
            ("a.yaml", "a: b \n"),
            ("a.rs", "fn main() {}"),
            ("Cargo.lock", "source = \"registry+https://packages.example/index\"\n"),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn tidy_text_is_not_found() {
        let cases = [
            ("a.rs", "fn main() {}\n"),
            ("tests/fixtures/invalid/a.yaml", "a: b "),
            ("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n"),
            ("a.md", "mktemp -d XXXXXX\n"),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text), [""; 0], "{path}: {text}");
        }
    }
}
