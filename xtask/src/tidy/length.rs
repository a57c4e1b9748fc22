//! Review question for long Rust files: do they have one responsibility? It never fails: a type and its impls share one
//! file of any length.

use super::{Finding, Source};

const LONG: usize = 400;

pub fn question(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let is_long = source.is_rust() && lines > LONG;
    is_long.then(|| source.finding(lines, format!("{lines} lines: does it hold one responsibility?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_file_is_reported() {
        let ask = |path: &str, lines: usize| {
            question(&Source { path: path.into(), text: "\n".repeat(lines) }).is_some()
        };
        assert!(!ask("a.rs", LONG) && ask("a.rs", LONG + 1) && !ask("a.md", LONG + 1));
    }
}
