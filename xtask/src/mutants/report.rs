//! The table of mutants.

use std::fmt::Write as _;

use anyhow::Result;

use crate::mutants::judged::Judged;
use crate::mutants::mutant::Mutant;
use crate::saved_results::SavedResults;

const INTRODUCTION: &str = "\
# Mutants

Known faults, planted one by one by `cargo xtask mutants`; each must make a test fail. The lists `mended-*` bring back
faults that the project once had. A result holds while the mutant, its file and the tests that must find it are
unchanged; the commit is the one at which it was judged.

";

/// Returns the table of all mutants as Markdown.
pub fn markdown(all: &[Mutant], results: &SavedResults<Judged>) -> Result<String> {
    let judged = |mutant: &Mutant| results.find(|judged| judged.mutant == *mutant);
    let mut text = INTRODUCTION.to_owned();
    writeln!(text, "| list | mutants | found | not judged | time |\n|---|---|---|---|---|")?;
    for of in all.chunk_by(|one, next| one.list == next.list) {
        let list = of.first().map_or("", |mutant| mutant.list.as_str());
        let known: Vec<&Judged> = of.iter().filter_map(judged).collect();
        let found = known.iter().filter(|judged| judged.judgement.is_kill()).count();
        let seconds: u64 = known.iter().map(|judged| judged.seconds).sum();
        let open = of.len() - known.len();
        writeln!(text, "| {list} | {} | {found} | {open} | {seconds} s |", of.len())?;
    }
    let found = results.all().iter().filter(|judged| judged.judgement.is_kill()).count();
    writeln!(text, "\nFound: {found} of {}.", all.len())?;
    writeln!(text, "\n| list | mutant | result | commit |\n|---|---|---|---|")?;
    for mutant in all {
        let Mutant { list, name, .. } = mutant;
        match judged(mutant) {
            Some(Judged { judgement, commit, .. }) => {
                writeln!(text, "| {list} | {name} | {}: {judgement} | {commit} |", judgement.word())?;
            }
            None => writeln!(text, "| {list} | {name} | not judged | – |")?,
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::judge::Judgement;

    #[test]
    fn lists_are_counted_and_survivors_and_open_mutants_visible() {
        let mutant = |list: &str, name: &str| Mutant {
            list: list.to_owned(),
            name: name.to_owned(),
            ..Mutant::default()
        };
        let all =
            [mutant("lib", "one"), mutant("lib", "two"), mutant("model", "three"), mutant("model", "four")];
        let dir = tempfile::tempdir().unwrap();
        let mut results = SavedResults::new(dir.path().join("mutants.json"), String::new());
        let judgements = [Judgement::Killed("a_test".to_owned()), Judgement::Survived, Judgement::Hung];
        for (mutant, judgement) in all.iter().zip(judgements) {
            let judged = Judged {
                mutant: mutant.clone(),
                judgement,
                seconds: 2,
                sources: None,
                commit: "0123456".to_owned(),
            };
            results.add(judged, |_| false).unwrap();
        }
        let text = markdown(&all, &results).unwrap();
        for line in [
            "| lib | 2 | 1 | 0 | 4 s |",
            "| model | 2 | 1 | 1 | 2 s |",
            "| lib | one | killed: by a_test | 0123456 |",
            "| lib | two | passed: every test passed | 0123456 |",
            "| model | four | not judged | – |",
            "Found: 2 of 4.",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} is not in\n{text}");
        }
    }
}
