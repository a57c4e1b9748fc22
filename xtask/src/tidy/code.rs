//! Splits Rust text into code and comments, as far as the rules need it: text inside strings is not code.

/// One line of a file. `code` has string contents and comments blanked, `comment` is the text of a plain `//` comment
/// (without docs and block comments).
#[derive(Debug, Default, PartialEq)]
pub struct Line {
    pub code: String,
    pub comment: Option<String>,
}

enum State {
    Code,
    /// Nesting depth.
    Block(usize),
    /// Number of `#` in the closing delimiter; `None` for an ordinary string with escapes.
    Text(Option<usize>),
}

pub fn lines(text: &str) -> Vec<Line> {
    let mut state = State::Code;
    text.lines().map(|line| take_apart(line, &mut state)).collect()
}

/// Returns the identifiers of a line of code, in order.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn take_apart(line: &str, state: &mut State) -> Line {
    let mut out = Line::default();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let step = match state {
            State::Block(depth) => block_step(rest, depth),
            State::Text(None) if rest.starts_with('\\') => (2, ' ', false),
            State::Text(hashes) => {
                let end = format!("\"{}", "#".repeat(hashes.unwrap_or(0)));
                if rest.starts_with(&end) { (end.len(), '"', true) } else { (first.len_utf8(), ' ', false) }
            }
            State::Code => {
                if let Some(comment) = rest.strip_prefix("//") {
                    let is_doc = comment.starts_with('!') || comment.starts_with('/');
                    out.comment = (!is_doc).then(|| comment.trim().to_owned());
                    break;
                }
                let after_word = out.code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
                match opening(rest, after_word) {
                    Some((length, next)) => {
                        let shown = if matches!(next, State::Text(_)) { '"' } else { ' ' };
                        *state = next;
                        (length, shown, false)
                    }
                    None => (char_literal(rest).unwrap_or(first.len_utf8()), first, false),
                }
            }
        };
        let (length, shown, ends) = step;
        if ends {
            *state = State::Code;
        }
        out.code.push(shown);
        rest = rest.get(length..).unwrap_or("");
    }
    out
}

fn block_step(rest: &str, depth: &mut usize) -> (usize, char, bool) {
    if rest.starts_with("*/") {
        *depth -= 1;
        return (2, ' ', *depth == 0);
    }
    if rest.starts_with("/*") {
        *depth += 1;
        return (2, ' ', false);
    }
    (rest.chars().next().map_or(1, char::len_utf8), ' ', false)
}

fn opening(rest: &str, after_word: bool) -> Option<(usize, State)> {
    if rest.starts_with("/*") {
        return Some((2, State::Block(1)));
    }
    if rest.starts_with('"') {
        return Some((1, State::Text(None)));
    }
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !after_word)?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let is_raw = raw[hashes..].starts_with('"');
    is_raw.then(|| (rest.len() - raw.len() + hashes + 1, State::Text(Some(hashes))))
}

/// Returns the length of a char literal at the start of `rest`; `None` for a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let first = body.chars().next()?.len_utf8();
    let inner = match body.strip_prefix('\\') {
        // The character after the backslash may itself be a quote.
        Some(escaped) => {
            let skipped = escaped.chars().next()?.len_utf8();
            1 + skipped + escaped[skipped..].find('\'')?
        }
        None => first,
    };
    body[inner..].starts_with('\'').then_some(inner + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_distinguished_from_strings_and_comments() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("let a = b; // why", "let a = b;", Some("why")),
            ("/// use crate::x;", "", None),
            (r#"f("a // b", c)"#, r#"f("      ", c)"#, None),
            (r#"f("a \" b", c)"#, r#"f("     ", c)"#, None),
            (r##"f(r#"a "b" c"#, d)"##, r#"f("         ", d)"#, None),
            ("f('\"', c) // d", "f(', c)", Some("d")),
            ("f('\\'', c)", "f(', c)", None),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)", None),
            ("a /* b /* c */ d */ e", "a                 e", None),
        ];
        for (text, code, comment) in cases {
            let line = &lines(text)[0];
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeezed(&line.code), squeezed(code), "{text}");
            assert_eq!(line.comment.as_deref(), *comment, "{text}");
        }
    }

    #[test]
    fn a_string_over_two_lines_stays_a_string() {
        let found = lines("let a = \"x\nuse aya;\"; b");
        assert_eq!(words(&found[1].code).collect::<Vec<_>>(), ["b"]);
    }
}
