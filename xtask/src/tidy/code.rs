//! Tokens and comments of Rust source, by rustc's own lexer: text inside strings is neither.

use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};

/// A piece of a file, with its line, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    pub text: &'a str,
    pub line: usize,
}

/// Returns the names and signs of the code, without comments and literals; `::` is two signs.
pub fn tokens(text: &str) -> Vec<Piece<'_>> {
    let is_code = |kind: TokenKind| {
        let is_comment = matches!(kind, TokenKind::LineComment { .. } | TokenKind::BlockComment { .. });
        !is_comment && !matches!(kind, TokenKind::Whitespace | TokenKind::Literal { .. })
    };
    pieces(text).filter(|(kind, _)| is_code(*kind)).map(|(_, piece)| piece).collect()
}

/// Returns the texts of plain `//` comments, without documentation.
pub fn comments(text: &str) -> Vec<Piece<'_>> {
    let plain = pieces(text).filter(|(kind, _)| matches!(kind, TokenKind::LineComment { doc_style: None }));
    plain.map(|(_, Piece { text, line })| Piece { text: text.trim_start_matches('/').trim(), line }).collect()
}

fn pieces(text: &str) -> impl Iterator<Item = (TokenKind, Piece<'_>)> {
    let (mut rest, mut line) = (text, 1);
    tokenize(text, FrontmatterAllowed::No).map(move |token| {
        let (text, after) = rest.split_at(token.len as usize);
        let piece = Piece { text, line };
        line += text.matches('\n').count();
        rest = after;
        (token.kind, piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_distinguished_from_strings_and_comments() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("let a = b; // why", "let a = b ;", &["why"]),
            ("/// use crate::x;\na", "a", &[]),
            (r#"f("a // b", c)"#, "f ( , c )", &[]),
            (r#"f("a \" b", c)"#, "f ( , c )", &[]),
            (r##"f(r#"a "b" c"#, d)"##, "f ( , d )", &[]),
            ("f('\"', c) // d", "f ( , c )", &["d"]),
            ("fn f<'a>(x: &'a str)", "fn f < 'a > ( x : & 'a str )", &[]),
            ("a /* b /* c */ d */ e", "a e", &[]),
        ];
        for (text, code, comment) in cases {
            let texts = |pieces: Vec<Piece<'_>>| pieces.iter().map(|piece| piece.text.to_owned()).collect();
            let (found, comments): (Vec<String>, Vec<String>) = (texts(tokens(text)), texts(comments(text)));
            assert_eq!(found.join(" "), *code, "{text}");
            assert_eq!(comments, *comment, "{text}");
        }
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let found = tokens("let a = \"x\nuse aya;\"; /*\n*/ b");
        assert_eq!(found.last(), Some(&Piece { text: "b", line: 3 }));
    }
}
