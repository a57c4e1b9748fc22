//! Rule: each module of the agent may import only the modules below it.

use std::path::{Component, Path};

use super::code::{lines, words};
use super::{Finding, Source};

/// The modules of the agent and the modules that each may import. `lib.rs` and `main.rs` may import all.
const MODULES: &[(&str, &[&str])] = &[
    ("rules", &["escape"]),
    ("status", &["rules", "escape"]),
    ("escape", &[]),
    ("config", &["rules"]),
    ("sync", &["rules", "config"]),
    ("audit", &["rules", "sync"]),
    ("host", &["rules", "escape", "audit"]),
    ("bpf", &["rules", "config", "sync", "host"]),
    ("files", &["rules", "config", "sync", "escape"]),
    ("http", &["rules", "status", "escape", "config", "sync"]),
    ("agent", &["rules", "status", "escape", "config", "sync", "bpf", "files", "host", "http"]),
    (
        "cli",
        &["rules", "status", "escape", "config", "sync", "audit", "bpf", "files", "host", "http", "agent"],
    ),
];

/// The packages and the packages of the workspace that each may import.
const PACKAGES: &[(&str, &[&str])] = &[
    ("firewall-common", &[]),
    ("firewall-ebpf", &["firewall_common"]),
    ("firewall-agent", &["firewall_common", "firewall_agent"]),
    ("tests/src", &[]),
    ("xtask", &["firewall_tests"]),
];

const CLIMBS: &str = "super::super: name the module from the crate's root, as in crate::rules";

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
        let code = if is_root_of_module(&source.path) {
            line.code.replace("super::", "crate::")
        } else {
            line.code.clone()
        };
        let named = agent_modules(&code, &mut depth_of_crate_group);
        if let Some((module, allowed)) = module {
            if climbs(&line.code) {
                findings.push(source.finding(index + 1, CLIMBS.to_owned()));
            }
            for name in named {
                if name != module && !allowed.contains(&name.as_str()) && is_module(&name) {
                    findings.push(source.finding(index + 1, format!("{module} may not import {name}")));
                }
            }
        }
    }
    findings
}

/// Returns whether `super` is the crate's root in this file.
fn is_root_of_module(path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix("firewall-agent/src") else { return false };
    inside.components().count() == 1 || inside.components().count() == 2 && inside.ends_with("mod.rs")
}

/// Returns whether a path contains more than one `super`, which may lead to any module.
fn climbs(code: &str) -> bool {
    let code: String = code.split_whitespace().collect();
    code.contains("super::super") || code.contains("super::{super")
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

/// Returns the modules named on this line as `crate::name` or inside a `crate::{…}` group that may span lines: `group`
/// is the depth of braces inside it, carried from line to line.
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
            ("firewall-agent/src/rules/a.rs", "use super::super::sync::Plan;", &[CLIMBS]),
            ("firewall-agent/src/rules/a/b.rs", "let a = super::super::c();", &[CLIMBS]),
            ("firewall-agent/src/rules/a.rs", "use super::{super::sync::Plan, b};", &[CLIMBS]),
            ("firewall-agent/src/rules/mod.rs", "use super::sync::Plan;", &["rules may not import sync"]),
            ("firewall-agent/src/sync.rs", "use super::{rules, bpf::Maps};", &["sync may not import bpf"]),
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
            ("firewall-agent/src/sync/mod.rs", "use super::rules::Rule; mod tests { use super::*; }"),
            ("firewall-agent/src/rules/a.rs", "use super::{b, sync}; // not super::super::sync"),
            ("firewall-agent/src/main.rs", "use firewall_agent::cli;"),
            ("firewall-agent/src/rules/a.rs", "let a = \"crate::sync\"; use crate::rules::b;"),
            ("tests/tests/a.rs", "use firewall_agent::rules::Rule;"),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text), [""; 0], "{path}: {text}");
        }
    }
}
