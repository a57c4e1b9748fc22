//! Rule: each module of the agent may import only the modules below it.

use std::path::{Component, Path};

use super::code::{Piece, tokens};
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
    let tokens = tokens(&source.text);
    let mut findings = Vec::new();
    if let Some((dir, allowed)) = PACKAGES.iter().find(|(dir, _)| source.path.starts_with(dir)) {
        for token in &tokens {
            if WORKSPACE.contains(&token.text) && !allowed.contains(&token.text) {
                findings.push(source.finding(token.line, format!("{dir} may not import {}", token.text)));
            }
        }
    }
    let Some((module, allowed)) = module_of(&source.path) else { return findings };
    let is_allowed = |name: &str| name == module || allowed.contains(&name) || !is_module(name);
    for (index, start) in tokens.iter().enumerate() {
        let is_super = start.text == "super";
        let is_crate = start.text == "crate" || is_super && is_root_of_module(&source.path);
        for name in next_names(&tokens[index + 1..]) {
            if is_super && name.text == "super" {
                findings.push(source.finding(name.line, CLIMBS.to_owned()));
            } else if is_crate && !is_allowed(name.text) {
                findings.push(source.finding(name.line, format!("{module} may not import {}", name.text)));
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

/// Returns the names that follow `::` at the start of these tokens: one, or the first of each path in a group.
fn next_names<'a>(tokens: &[Piece<'a>]) -> Vec<Piece<'a>> {
    let [Piece { text: ":", .. }, Piece { text: ":", .. }, rest @ ..] = tokens else { return Vec::new() };
    let (mut names, mut depth, mut starts_path) = (Vec::new(), 0_usize, true);
    for token in rest {
        match token.text {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ if starts_path && depth <= 1 => names.push(*token),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        starts_path = matches!(token.text, "{" | ",");
    }
    names
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
