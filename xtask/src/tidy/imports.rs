//! Who may import whom: each module of the agent names only the modules below it.

use std::path::{Component, Path};

use super::code::{lines, words};
use super::{Finding, Source};

/// A module of the agent and the modules it may name. `lib.rs` and `main.rs` join them and may name all.
const MODULES: &[(&str, &[&str])] = &[
    ("rules", &[]),
    ("status", &[]),
    ("config", &["rules"]),
    ("sync", &["rules", "config"]),
    ("bpf", &["rules", "config", "sync"]),
    ("files", &["rules", "config", "sync"]),
    ("http", &["rules", "status", "config", "sync"]),
    ("agent", &["rules", "status", "config", "sync", "bpf", "files", "http"]),
    ("cli", &["rules", "status", "config", "sync", "bpf", "files", "http", "agent"]),
];

/// A package and the packages of the workspace that its sources may name.
const PACKAGES: &[(&str, &[&str])] = &[
    ("firewall-common", &[]),
    ("firewall-ebpf", &["firewall_common"]),
    ("firewall-agent", &["firewall_common", "firewall_agent"]),
    ("tests/src", &[]),
    ("xtask", &["firewall_tests"]),
];

const WORKSPACE: &[&str] = &["firewall_common", "firewall_ebpf", "firewall_agent", "firewall_tests", "xtask"];

pub fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let module = module_of(&source.path);
    let package = PACKAGES.iter().find(|(dir, _)| source.path.starts_with(dir));
    let mut depth_of_crate_group = None;
    for (index, line) in lines(&source.text).iter().enumerate() {
        if let Some((dir, allowed)) = package {
            for name in words(&line.code).filter(|word| WORKSPACE.contains(word) && !allowed.contains(word)) {
                findings.push(source.finding(index + 1, format!("{dir} may not import {name}")));
            }
        }
        let named = agent_modules(&line.code, &mut depth_of_crate_group);
        if let Some((module, allowed)) = module {
            for name in named {
                if name != module && !allowed.contains(&name.as_str()) && is_module(&name) {
                    findings.push(source.finding(index + 1, format!("{module} may not import {name}")));
                }
            }
        }
    }
    findings
}

fn module_of(path: &Path) -> Option<(&'static str, &'static [&'static str])> {
    let Component::Normal(first) = path.strip_prefix("firewall-agent/src").ok()?.components().next()? else {
        return None;
    };
    let name = first.to_str()?.trim_end_matches(".rs");
    MODULES.iter().find(|(module, _)| *module == name).copied()
}

fn is_module(name: &str) -> bool {
    MODULES.iter().any(|(module, _)| *module == name)
}

/// Modules named on this line as `crate::name` or inside a `crate::{…}` group that may span lines: `group` is
/// the depth of braces inside it, carried from line to line.
fn agent_modules(code: &str, group: &mut Option<usize>) -> Vec<String> {
    let mut named = Vec::new();
    let mut rest = code;
    loop {
        if let Some(depth) = group {
            let Some(at) = rest.find(|c: char| c == '{' || c == '}' || is_word(c)) else { break };
            let starts_path = !rest[..at].ends_with("::");
            rest = &rest[at..];
            if rest.starts_with('{') {
                *depth += 1;
                rest = &rest[1..];
            } else if rest.starts_with('}') {
                *group = depth.checked_sub(1).filter(|left| *left > 0);
                rest = &rest[1..];
            } else {
                let word = leading_word(rest);
                if *depth == 1 && starts_path {
                    named.push(word.to_owned());
                }
                rest = &rest[word.len()..];
                if let Some(path) = rest.strip_prefix("::").filter(|path| path.starts_with(is_word)) {
                    rest = path.trim_start_matches(is_word);
                }
            }
        } else {
            let Some(at) = rest.find("crate::") else { break };
            rest = &rest[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(inside) => {
                    *group = Some(1);
                    rest = inside;
                }
                None => named.push(leading_word(rest).to_owned()),
            }
        }
    }
    named
}

fn leading_word(text: &str) -> &str {
    &text[..text.find(|c: char| !is_word(c)).unwrap_or(text.len())]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn an_import_upwards_is_found() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("firewall-agent/src/rules/a.rs", "use crate::sync::Plan;", &["rules may not import sync"]),
            ("firewall-agent/src/rules.rs", "use crate::config::Config;", &["rules may not import config"]),
            ("firewall-agent/src/bpf/a.rs", "let a = crate::files::read();", &["bpf may not import files"]),
            (
                "firewall-agent/src/sync/a.rs",
                "use crate::{\n    rules::{self, bpf},\n    bpf::Maps,\n};\nuse crate::cli::x;",
                &["sync may not import bpf", "sync may not import cli"],
            ),
            (
                "firewall-agent/src/http/a.rs",
                "use crate::{rules::Rule, agent};",
                &["http may not import agent"],
            ),
            (
                "firewall-common/src/lib.rs",
                "use firewall_agent::x;",
                &["firewall-common may not import firewall_agent"],
            ),
            ("tests/src/lab/a.rs", "firewall_agent::run();", &["tests/src may not import firewall_agent"]),
        ];
        for (path, text, expected) in cases {
            assert_eq!(found(check, path, text), *expected, "{path}: {text}");
        }
    }

    #[test]
    fn an_import_downwards_is_not_found() {
        let cases = [
            ("firewall-agent/src/agent.rs", "use crate::{bpf::Maps, files, rules};"),
            ("firewall-agent/src/sync/a.rs", "use crate::rules::Rule; // crate::cli comes later"),
            ("firewall-agent/src/main.rs", "use firewall_agent::cli;"),
            ("firewall-agent/src/rules/a.rs", "let a = \"crate::sync\"; use crate::rules::b;"),
            ("tests/tests/a.rs", "use firewall_agent::rules::Rule;"),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text), [""; 0], "{path}: {text}");
        }
    }
}
