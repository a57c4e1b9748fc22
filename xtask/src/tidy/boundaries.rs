//! Rule: certain names may occur only in certain directories.

use super::code::{Piece, tokens};
use super::{Finding, Source};

struct Boundary {
    /// Segments of paths, in imports or before `::`.
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
        except: &["firewall-agent/src/bpf", "tests/benches"],
        why: "only bpf/ and the benchmarks know the kernel's objects",
    },
    Boundary {
        names: &["fs", "File", "OpenOptions"],
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
    let applies = |boundary: &&Boundary| starts_with(boundary.within) && !starts_with(boundary.except);
    let tokens = tokens(&source.text);
    let segments = segments(&tokens);
    let mut findings = Vec::new();
    for Boundary { names, why, .. } in BOUNDARIES.iter().filter(applies) {
        let found = segments.iter().filter(|segment| names.contains(&segment.text));
        findings.extend(found.map(|found| source.finding(found.line, format!("{}: {why}", found.text))));
    }
    findings
}

/// Returns the segments of paths: `fs` is one in `fs::read` and inside an import, not in `self.fs` or `fs = 1`.
fn segments<'a>(tokens: &[Piece<'a>]) -> Vec<Piece<'a>> {
    let text = |index: usize| tokens.get(index).map(|token| token.text);
    let mut is_import = false;
    let mut is_segment = |index: usize| {
        is_import = (is_import || text(index) == Some("use")) && text(index) != Some(";");
        is_import || (text(index + 1), text(index + 2)) == (Some(":"), Some(":"))
    };
    let segments = tokens.iter().enumerate().filter(|(index, _)| is_segment(*index));
    segments.map(|(_, token)| *token).collect()
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
            ("firewall-agent/src/sync/a.rs", "self.fs.len() + offs + RuleFile::new() + fs(File)"),
            ("firewall-ebpf/src/main.rs", "use aya_ebpf::programs::XdpContext;"),
            ("firewall-agent/src/rules/a.rs", "serde_yaml::from_str(text)"),
            ("firewall-agent/src/agent.rs", "log(\"std::fs\"); // std::fs"),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text), [""; 0], "{path}: {text}");
        }
    }
}
