//! Rule: no commented-out code; version control preserves old code.

use super::code::comments;
use super::{Finding, Source};

/// Line starts that only code has.
const STARTS: &[&str] = &[
    "let ", "use ", "fn ", "pub ", "mod ", "impl ", "struct ", "enum ", "match ", "return ", "#[", "} else",
];
/// Line ends that only code has.
const ENDS: &[&str] = &[";", "{", "}", "},", "});", ")?", "=>"];

pub fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let looks_like_code = |text: &str| {
        let is_prose = text.ends_with('.') || !text.contains(['(', '{', ';', ':', '=']);
        let starts = !is_prose && STARTS.iter().any(|start| text.starts_with(start));
        starts || ENDS.iter().any(|end| text.ends_with(end))
    };
    let comments = comments(&source.text);
    let found = comments.iter().filter(|comment| looks_like_code(comment.text));
    found.map(|found| source.finding(found.line, format!("`{}`: code in a comment", found.text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn code_in_a_comment_is_found() {
        let cases =
            ["// let a = b", "    // run(&mut a);", "// if a {", "// }", "//use std::fs::File", "// Ok(a)?"];
        for text in cases {
            assert_eq!(found(check, "a.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn prose_docs_and_strings_are_not_found() {
        let cases = [
            "// The kernel wakes us twice: the second time counts.",
            "// use the older of both",
            "// struct xdp_md: data (a length), then four words that stay zero.",
            "/// let a = b;",
            "let a = \"// let b = c;\";",
            "# let a;",
        ];
        for text in cases {
            assert_eq!(found(check, "a.rs", text), [""; 0], "{text}");
        }
    }
}
