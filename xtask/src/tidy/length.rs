//! No Rust file so long that it must hold more than one thing.

use super::{Finding, Source};

const LONGEST: usize = 300;

pub fn check(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if source.is_rust() && lines > LONGEST {
        vec![source.finding(lines, format!("{lines} lines, more than {LONGEST}: split it"))]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn one_line_beyond_the_bound_is_found() {
        assert_eq!(found(check, "a.rs", &"\n".repeat(LONGEST)), [""; 0]);
        assert_eq!(found(check, "a.rs", &"\n".repeat(LONGEST + 1)).len(), 1);
        assert_eq!(found(check, "a.md", &"\n".repeat(LONGEST + 1)), [""; 0]);
    }
}
