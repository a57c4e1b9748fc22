//! Rule: certain names may occur only in certain directories.

use super::code::lines;
use super::{Finding, Source};

struct Boundary {
    /// Code paths, matched at word boundaries.
    names: &'static [&'static str],
    /// Directories that the rule applies to.
    within: &'static [&'static str],
    /// Directories in which the names are allowed.
    except: &'static [&'static str],
    why: &'static str,
}

const BOUNDARIES: &[Boundary] = &[
    Boundary {
        names: &["aya", "aya_obj", "aya_log"],
        within: &["firewall-agent/src", "firewall-common", "tests", "xtask"],
        except: &["firewall-agent/src/bpf"],
        why: "only bpf/ knows the kernel's objects",
    },
    Boundary {
        names: &["std::fs", "tokio::fs", "fs", "File", "OpenOptions"],
        within: &["firewall-agent/src"],
        except: &[
            "firewall-agent/src/files",
            "firewall-agent/src/host",
            "firewall-agent/src/bpf",
            "firewall-agent/src/cli",
        ],
        why: "only files/, cli/, for /proc host/ and, for bpffs, bpf/ touch the disk",
    },
    Boundary {
        names: &["serde_yaml"],
        within: &["firewall-agent/src"],
        except: &["firewall-agent/src/rules", "firewall-agent/src/config"],
        why: "file shapes stay in rules/ and config/",
    },
];

pub fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let starts_with = |dirs: &[&str]| dirs.iter().any(|dir| source.path.starts_with(dir));
    let mut findings = Vec::new();
    for boundary in
        BOUNDARIES.iter().filter(|boundary| starts_with(boundary.within) && !starts_with(boundary.except))
    {
        let mut imports = false;
        for (index, line) in lines(&source.text).iter().enumerate() {
            let code = line.code.trim_start();
            imports |= code.starts_with("use ") || code.starts_with("pub use ");
            if let Some(name) = boundary.names.iter().find(|name| names_path(code, name, imports)) {
                findings.push(source.finding(index + 1, format!("{name}: {}", boundary.why)));
            }
            imports &= !code.contains(';');
        }
    }
    findings
}

/// Returns whether `name` occurs in the code as a whole path: `fs` does in `fs::read` and inside an import, not in
/// `offs` or `self.fs`.
fn names_path(code: &str, name: &str, imports: bool) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let is_name = !is_word(before) && !is_word(after.chars().next()) && before != Some('.');
        is_name && (imports || after.starts_with("::"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn name_outside_its_layer_is_found() {
        let cases = [
            ("firewall-agent/src/sync/a.rs", "use aya::maps::Array;"),
            ("tests/tests/a.rs", "let a = aya::Ebpf::load(b);"),
            ("firewall-agent/src/agent.rs", "use std::{fs, io};"),
            ("firewall-agent/src/agent.rs", "use std::{\n    env,\n    fs,\n};\nlet fs = 1;"),
            ("firewall-agent/src/http/a.rs", "std::fs::read(path)"),
            ("firewall-agent/src/sync/a.rs", "File::open(path)"),
            ("firewall-agent/src/files/a.rs", "serde_yaml::from_str(text)"),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn name_in_its_layer_or_in_a_longer_word_is_not_found() {
        let cases = [
            ("firewall-agent/src/bpf/a.rs", "use aya::maps::Array;"),
            ("firewall-agent/src/files/read.rs", "use std::fs::File;"),
            ("firewall-agent/src/sync/a.rs", "self.fs.len() + offs + RuleFile::new()"),
            ("firewall-ebpf/src/main.rs", "use aya_ebpf::programs::XdpContext;"),
            ("firewall-agent/src/rules/a.rs", "serde_yaml::from_str(text)"),
            ("firewall-agent/src/agent.rs", "log(\"std::fs\"); // std::fs"),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text), [""; 0], "{path}: {text}");
        }
    }
}
