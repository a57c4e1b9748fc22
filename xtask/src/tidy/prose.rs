//! Plain prose: doc comments that start with a noun or a verb, none of the retired words in prose and names, short commit
//! subjects.

use anyhow::Result;
use xshell::cmd;

use super::code::{Piece, tokens};
use super::{Finding, Source};
use crate::run::say;
use crate::workspace::Workspace;

/// Openings of doc comments that describe a question in place of the object.
const OPENINGS: &[&str] = &["What", "Who", "Whose", "Whom", "Whether", "How"];
/// Words that the terms of the documents have replaced, in prose.
const RETIRED: &[&str] = &[
    "somebody",
    "whoever",
    "strayed",
    "written down",
    "put right",
    "looked after",
    "looks after",
    "is told",
    "was told",
    "said to be",
    "stands for",
    "kept verdict",
    "kept endpoint",
    "clock_held",
    "range_kept",
];
/// Words that the terms of the documents have replaced, as parts of names.
const RETIRED_NAMES: &[&str] = &[
    "heard",
    "held",
    "keeper",
    "kept",
    "ledger",
    "mishap",
    "mortal",
    "near",
    "said",
    "settle",
    "settled",
    "shelf",
    "somebody",
    "standing",
    "strayed",
    "succession",
    "sweep",
    "tell",
    "telling",
    "told",
    "twin",
    "unsaid",
    "wish",
    "wished",
];
/// Pronouns counted in doc comments.
const PRONOUNS: &[&str] = &["what", "who", "whose", "whom"];
/// Last commit before the check of subjects.
const SINCE: &str = "1ab53198f64840c603b53d2d9a0fa64a2cb69e71";
/// Most characters of a commit's subject.
const SUBJECT: usize = 72;

pub fn check(source: &Source) -> Vec<Finding> {
    let is_of = |kinds: &[&str]| {
        source.path.extension().is_some_and(|extension| kinds.iter().any(|kind| extension == *kind))
    };
    // Rust with its strings: errors, help and log messages.
    let (is_whole, has_comments) = (is_of(&["rs", "md"]), is_of(&["toml", "sh", "yaml", "yml"]));
    // The list itself.
    if source.path.ends_with("xtask/src/tidy/prose.rs") {
        return Vec::new();
    }
    let mut findings = if source.is_rust() { retired_names(source) } else { Vec::new() };
    for (index, line) in source.text.lines().enumerate() {
        let is_comment = has_comments && line.trim_start().starts_with('#');
        let Some(prose) = (is_whole || is_comment).then_some(line) else { continue };
        if let Some(opening) = doc(line).filter(|_| source.is_rust()).and_then(opening) {
            let what =
                format!("doc comment opens with `{opening}`: start with a noun or a third-person verb");
            findings.push(source.finding(index + 1, what));
        }
        let prose = prose.to_lowercase();
        for word in RETIRED.iter().filter(|word| prose.contains(*word)) {
            findings.push(source.finding(index + 1, format!("`{word}`: a retired word")));
        }
    }
    findings
}

fn retired_names(source: &Source) -> Vec<Finding> {
    let tokens = tokens(&source.text);
    let is_retired =
        |token: &&Piece<'_>| parts(token.text).iter().any(|part| RETIRED_NAMES.contains(&part.as_str()));
    let finding =
        |token: &Piece<'_>| source.finding(token.line, format!("`{}`: a retired word in a name", token.text));
    tokens.iter().filter(is_retired).map(finding).collect()
}

/// Parts of a name in snake or camel case, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = '_';
    for c in name.chars() {
        let is_new_part = c == '_' || c.is_ascii_uppercase() && !before.is_ascii_uppercase();
        if is_new_part {
            parts.push(String::new());
        }
        if c != '_'
            && let Some(part) = parts.last_mut()
        {
            part.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    parts
}

/// Prints the rate of pronouns in doc comments, per 1,000 words.
pub fn report(sources: &[Source]) {
    let docs = sources.iter().filter(|source| source.is_rust()).flat_map(|source| source.text.lines());
    let (mut words, mut pronouns) = (0, 0);
    for word in docs.filter_map(doc).flat_map(str::split_whitespace) {
        words += 1;
        let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        pronouns += usize::from(PRONOUNS.contains(&word.as_str()));
    }
    let rate = pronouns as f64 * 1000.0 / f64::max(words as f64, 1.0);
    say(format_args!("doc comments: {rate:.1} of what, who, whose and whom in 1,000 of {words} words"));
}

/// Returns the subjects of new commits that are too long.
pub fn long_subjects(workspace: &Workspace) -> Result<Vec<String>> {
    let log = cmd!(workspace.shell, "git log --format=%s {SINCE}..HEAD").ignore_stderr();
    let Ok(subjects) = log.read() else {
        say(format_args!("commit subjects: not checked, {SINCE} is not in this clone"));
        return Ok(Vec::new());
    };
    Ok(subjects.lines().filter(|subject| subject.chars().count() > SUBJECT).map(ToOwned::to_owned).collect())
}

fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("//")
}

fn doc(line: &str) -> Option<&str> {
    let comment = comment(line)?;
    Some(comment.strip_prefix('/').or_else(|| comment.strip_prefix('!'))?.trim_start())
}

fn opening(doc: &str) -> Option<&'static str> {
    let first = doc.split(|c: char| !c.is_alphanumeric()).next()?;
    OPENINGS.iter().find(|opening| **opening == first).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn openings_and_retired_words_are_found() {
        for text in [
            "/// What is live.",
            "    //! Whose slot it is.",
            "// put right by hand",
            "/// Written down.",
            "// A kept verdict.",
            "let error = \"was not put right\";",
        ] {
            assert_eq!(found(check, "a.rs", text).len(), 1, "{text}");
        }
        assert_eq!(found(check, "a.md", "Whoever asks").len(), 1);
        assert_eq!(found(check, "a.toml", "# whoever asks").len(), 1);
        assert_eq!(found(check, "a.md", "the condition `clock_held`").len(), 1);
    }

    #[test]
    fn retired_words_are_found_in_names() {
        for text in
            ["let held = 1;", "fn is_told() {}", "struct ClockKeeper;", "const WISH: u8 = 1;", "HeldMaps"]
        {
            assert_eq!(found(check, "a.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn plain_prose_code_and_data_are_not_found() {
        let cases = [
            ("a.rs", "/// Returns whether it is live."),
            ("a.rs", "// What follows is safe."),
            ("a.rs", "/// Whatever"),
            ("a.rs", "let nearest = \"held\"; // maps held open"),
            ("a.rs", "fn withheld(tells: Holder) {}"),
            ("a.md", "`let held = 1;`"),
            ("a.md", "What it is not"),
            ("a.json", "put right"),
            ("a.toml", "name = \"put right\""),
        ];
        for (path, text) in cases {
            assert_eq!(found(check, path, text), [""; 0], "{text}");
        }
    }
}
