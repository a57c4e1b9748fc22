//! Links, anchors and paths in the documents lead to something that exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{Finding, Source};

/// The files of the tree, and the anchors of its documents.
struct Tree<'a> {
    files: &'a [PathBuf],
    anchors: BTreeMap<&'a Path, BTreeSet<String>>,
}

/// Checks links and paths in documents, and mentions of documents in every other file.
pub fn check(sources: &[Source], files: &[PathBuf]) -> Vec<Finding> {
    let documents = sources.iter().filter(|source| is_document(source));
    let anchors = documents.map(|source| (source.path.as_path(), anchors(&source.text))).collect();
    let tree = Tree { files, anchors };
    let sources = sources.iter().filter(|source| !source.is_fixture());
    sources.flat_map(|source| tree.check(source)).collect()
}

fn is_document(source: &Source) -> bool {
    source.path.extension().is_some_and(|extension| extension == "md")
}

impl Tree<'_> {
    fn check(&self, source: &Source) -> Vec<Finding> {
        let root = Path::new("");
        let here = source.path.parent().unwrap_or(root);
        let named = |(number, line)| mentions(line).map(move |document| (number, root, document));
        let linked = |(number, line)| {
            let paths = code(line).filter(|span| self.is_path(span)).map(move |path| (number, root, path));
            links(line).into_iter().map(move |link| (number, here, link)).chain(paths)
        };
        let targets: Vec<(usize, &Path, &str)> = if is_document(source) {
            prose(&source.text).flat_map(linked).collect()
        } else {
            source.text.lines().enumerate().map(|(index, line)| (index + 1, line)).flat_map(named).collect()
        };
        let finding = |(number, base, target)| {
            let why = self.broken(&source.path, base, target)?;
            Some(source.finding(number, format!("{target}: {why}")))
        };
        targets.into_iter().filter_map(finding).collect()
    }

    /// Returns the fault of a link in the document `of`, whose target counts from `base`.
    fn broken(&self, of: &Path, base: &Path, target: &str) -> Option<String> {
        if ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
            return None;
        }
        let (path, anchor) =
            target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
        let path = if path.is_empty() { Some(of.to_path_buf()) } else { normal(&base.join(path)) };
        let Some(path) = path else { return Some("leaves the tree".to_owned()) };
        if !self.files.iter().any(|file| file.starts_with(&path)) {
            return Some("no such file".to_owned());
        }
        let anchor = anchor?;
        let is_there = self.anchors.get(path.as_path()).is_some_and(|anchors| anchors.contains(anchor));
        (!is_there).then(|| format!("{} has no such heading", path.display()))
    }

    /// Returns `true` for code that is a path from the root of the tree.
    fn is_path(&self, code: &str) -> bool {
        let Some((first, _)) = code.split_once('/') else { return false };
        let is_plain = code.chars().all(|c| c.is_ascii_alphanumeric() || "/._-#".contains(c));
        is_plain && !first.is_empty() && self.files.iter().any(|file| file.starts_with(first))
    }
}

/// The path without `.` and `..`; `None` when it leaves the tree.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir if normal.pop() => {}
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

/// Lines outside fenced blocks, with their numbers, from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fenced && !is_fence).then_some((index + 1, line))
    })
}

/// Targets of the links and pictures in a line.
fn links(line: &str) -> Vec<&str> {
    line.match_indices("](")
        .filter(|(at, _)| line[..*at].matches('`').count().is_multiple_of(2))
        .filter_map(|(at, open)| line[at + open.len()..].split_once(')'))
        .map(|(target, _)| target)
        .collect()
}

/// Code spans of a line.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Anchors that a Markdown renderer gives the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let text = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    text.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Documents below `docs` that a line names, with their anchors.
fn mentions(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("docs/").filter_map(|(at, _)| {
        let rest = &line[at..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || "/._-#".contains(c);
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches('.');
        (name.ends_with(".md") || name.contains(".md#")).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the cases, `DIR` is the folder of the documents: this file mentions none that does not exist.
    const GUIDE: &str = "# A guide\n\n## Step 1: `run` it\n\n```sh\n# no heading\n```\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        let in_docs = |text: &str| text.replace("DIR", concat!("do", "cs"));
        let source = |path: &str, text: &str| Source { path: in_docs(path).into(), text: in_docs(text) };
        let sources = [source(path, text), source("DIR/guide.md", GUIDE), source("src/main.rs", "")];
        let files: Vec<PathBuf> = sources.iter().map(|source| source.path.clone()).collect();
        check(&sources, &files).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn broken_links_are_found() {
        let cases = [
            ("README.md", "[guide](DIR/gide.md)"),
            ("README.md", "[guide](DIR/guide.md#step-2)"),
            ("README.md", "[guide](DIR/guide.md#no-heading)"),
            ("README.md", "[here](#nowhere)"),
            ("README.md", "[`guide`](guide.md) and `code`"),
            ("README.md", "![picture](DIR/status.svg)"),
            ("DIR/other.md", "[out](../../guide.md)"),
            ("README.md", "see `src/lib.rs`"),
            ("src/lib.rs", "// see DIR/gide.md."),
            ("rules.yaml", "a: DIR/guide.md#step-2"),
        ];
        for (path, text) in cases {
            assert_eq!(found(path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn valid_links_are_not_reported() {
        let cases = [
            ("README.md", "# Here\n[guide](DIR/guide.md#step-1-run-it), [a](DIR), [b](#here)"),
            (
                "DIR/other.md",
                "[guide](guide.md) [source](../src/main.rs) `src/main.rs`, `src/*.rs`, `lib/a.rs`",
            ),
            ("README.md", "[web](https://example.org/DIR/nowhere.md) and `[code](nowhere.md)`"),
            ("README.md", "```\n[fenced](nowhere.md)\n```"),
            ("src/lib.rs", "// see DIR/guide.md#step-1-run-it."),
        ];
        for (path, text) in cases {
            assert_eq!(found(path, text), [""; 0], "{path}: {text}");
        }
    }
}
