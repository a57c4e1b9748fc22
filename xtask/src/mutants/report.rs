//! The table of mutants.

use std::fmt::Write as _;

use anyhow::Result;

use crate::mutants::judged::Judged;

const INTRODUCTION: &str = "\
# Mutants

Known faults, planted one by one by `cargo xtask mutants`; each must make a test fail. The lists `mended-*` bring back
faults that the project once had.

";

/// Returns the table as Markdown, with the line that names the tested state.
pub fn markdown(judged: &[&Judged], state: &str) -> Result<String> {
    let mut text = INTRODUCTION.to_owned();
    writeln!(text, "| list | mutants | found | time |\n|---|---|---|---|")?;
    for (list, of) in by_list(judged) {
        let found = of.iter().filter(|judged| judged.judgement.is_kill()).count();
        let seconds: u64 = of.iter().map(|judged| judged.seconds).sum();
        writeln!(text, "| {list} | {} | {found} | {seconds} s |", of.len())?;
    }
    writeln!(text, "\n| list | mutant | result |\n|---|---|---|")?;
    for Judged { mutant, judgement, .. } in judged {
        writeln!(text, "| {} | {} | {}: {judgement} |", mutant.list, mutant.name, judgement.word())?;
    }
    writeln!(text, "\n{state}")?;
    Ok(text)
}

/// Groups the results by list; a list's results stand side by side.
fn by_list<'a>(judged: &'a [&'a Judged]) -> impl Iterator<Item = (&'a str, &'a [&'a Judged])> {
    let groups = judged.chunk_by(|one, next| one.mutant.list == next.mutant.list);
    groups.filter_map(|group| Some((group.first()?.mutant.list.as_str(), group)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::judge::Judgement;
    use crate::mutants::mutant::Mutant;

    #[test]
    fn lists_are_counted_and_survivors_visible() {
        let judged = |list: &str, name: &str, judgement| {
            let mutant = Mutant { list: list.to_owned(), name: name.to_owned(), ..Mutant::default() };
            Judged { mutant, judgement, seconds: 2 }
        };
        let all = [
            judged("lib", "one", Judgement::Killed("a_test".to_owned())),
            judged("lib", "two", Judgement::Survived),
            judged("model", "three", Judgement::Hung),
        ];
        let text = markdown(&all.each_ref(), "Sources: tests 0").unwrap();
        for line in [
            "| lib | 2 | 1 | 4 s |",
            "| model | 1 | 1 | 2 s |",
            "| lib | one | killed: by a_test |",
            "| lib | two | passed: every test passed |",
            "Sources: tests 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} is not in\n{text}");
        }
    }
}
