//! Completion in bash. Readline replaces a part of the typed line by the reply as it is, so that the program takes the
//! line apart as bash does, and quotes each reply.

use std::ffi::OsString;

use super::Candidate;

/// The last word of a typed line, without its quotes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Word {
    text: String,
    /// Start of its typed form, in bytes.
    start: usize,
    /// The quote that is open at the end of the line.
    quote: Option<char>,
}

/// Replies for readline: the words are the typed line up to the cursor, and its end, which the reply replaces. That end
/// begins behind an opening quote, and behind each `:` and `=` of the word.
pub(super) fn replies(
    words: &[OsString],
    candidates: impl FnOnce(Vec<OsString>) -> Vec<Candidate>,
) -> Vec<String> {
    let [line, replaced] = words else { return Vec::new() };
    let (Some(line), Some(replaced)) = (line.to_str(), replaced.to_str()) else { return Vec::new() };
    let (mut typed, last) = split(line);
    let Some(before) = line[last.start..].strip_suffix(replaced) else { return Vec::new() };
    // The part of the word that stays on the line.
    let stays = split(before).1.text;
    // Where another completion calls this one, as that of sudo does, the opening quote is replaced, too.
    let opening =
        last.quote.filter(|quote| replaced.starts_with(*quote)).map(String::from).unwrap_or_default();
    typed.push(last.text);
    let found = candidates(typed.into_iter().map(Into::into).collect());
    let rest = found.iter().filter_map(|one| one.value.strip_prefix(&stays));
    rest.map(|rest| format!("{opening}{}", quoted(rest, last.quote))).collect()
}

/// The words of a line before its last one, and that one, which may be empty.
fn split(line: &str) -> (Vec<String>, Word) {
    let (mut words, mut word) = (Vec::new(), Word::default());
    let mut letters = line.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match (word.quote, letter) {
            (None, ' ' | '\t' | '\n') => {
                // Blanks before a word belong to none.
                let typed = &line[word.start..at];
                if !typed.is_empty() {
                    words.push(std::mem::take(&mut word.text));
                }
                word.start = at + 1;
            }
            (None, '\'' | '"') => word.quote = Some(letter),
            (Some(quote), _) if quote == letter => word.quote = None,
            (None, '\\') => word.text.extend(letters.next().map(|(_, letter)| letter)),
            (Some('"'), '\\') => {
                let escaped = letters.next_if(|(_, letter)| ['\\', '"', '$', '`'].contains(letter));
                word.text.push(escaped.map_or(letter, |(_, letter)| letter));
            }
            _ => word.text.push(letter),
        }
    }
    (words, word)
}

/// Writes a text so that bash reads it back, behind this open quote.
fn quoted(text: &str, quote: Option<char>) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        match (quote, letter) {
            (Some('\''), '\'') => quoted.push_str(r"'\''"),
            (Some('"'), '\\' | '"' | '$' | '`') => quoted.extend(['\\', letter]),
            // Behind a double quote, a backslash stops no expansion of the history, and stays.
            (Some('"'), '!') => quoted.push_str(r#""'!'""#),
            (None, _) if letter.is_ascii() && !is_plain(letter) => quoted.extend(['\\', letter]),
            _ => quoted.push(letter),
        }
    }
    quoted
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_-./,:=@%+".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["Orders", "My database", "it's $(reboot) `x` \"y\" \\z!", "a:b=c", "naïve été"];

    /// The line after readline has replaced its end by the only reply; `None` without one, or with several.
    fn completed(line: &str, replaced: &str) -> Option<String> {
        let words = [line, replaced].map(OsString::from);
        let replies = replies(&words, |words| {
            let typed = words.last().unwrap().to_str().unwrap().to_owned();
            let names = NAMES.iter().filter(|name| name.starts_with(&typed));
            names.map(|name| Candidate { value: (*name).to_owned(), description: String::new() }).collect()
        });
        let [reply] = replies.as_slice() else { return None };
        Some(format!("{}{reply}", line.strip_suffix(replaced).unwrap()))
    }

    #[test]
    fn a_reply_completes_the_typed_word_in_its_quotes() {
        for (line, replaced, expected) in [
            ("x rules O", "O", "x rules Orders"),
            ("x rules My", "My", r"x rules My\ database"),
            (r"x rules My\ d", r"My\ d", r"x rules My\ database"),
            (r#"x rules "My d"#, "My d", r#"x rules "My database"#),
            ("x rules 'My d", "My d", "x rules 'My database"),
            // As sudo's completion passes it.
            ("x rules 'My d", "'My d", "x rules 'My database"),
            ("x rules a:", "", "x rules a:b=c"),
            ("x rules a:b=", "", "x rules a:b=c"),
            ("x rules 'a:b", "b", "x rules 'a:b=c"),
            ("x  rules\tna", "na", r"x  rules	naïve\ été"),
            (r"x rules it\'s\ ", r"it\'s\ ", r#"x rules it\'s\ \$\(reboot\)\ \`x\`\ \"y\"\ \\z\!"#),
            (r#"x rules "it's"#, "it's", r#"x rules "it's \$(reboot) \`x\` \"y\" \\z"'!'""#),
            (r"x rules 'it'\''s ", "s ", r#"x rules 'it'\''s $(reboot) `x` "y" \z!"#),
        ] {
            assert_eq!(completed(line, replaced).as_deref(), Some(expected), "{line}");
            // Bash reads back the name.
            let (_, word) = split(expected);
            let read: String = word.text.clone();
            assert!(NAMES.contains(&read.as_str()), "{expected}: {read}");
        }
    }

    #[test]
    fn nothing_is_replied_where_nothing_fits() {
        for (line, replaced) in [("x rules no", "no"), ("x rules o", "o"), ("x rules O", "other")] {
            let words = [line, replaced].map(OsString::from);
            let found = replies(&words, |_| Vec::new());
            assert!(found.is_empty(), "{line}: {found:?}");
        }
        assert!(replies(&["x".into()], |_| unreachable!()).is_empty());
    }

    #[test]
    fn a_line_is_split_as_bash_does() {
        let split = |line: &str| {
            let (mut words, last) = split(line);
            words.push(last.text);
            (words.join("|"), last.start, last.quote)
        };
        for (line, words, start, quote) in [
            ("", "", 0, None),
            ("x", "x", 0, None),
            ("x ", "x|", 2, None),
            ("x '' ", "x||", 5, None),
            (r#"x 'a b'"c d"\ e"#, "x|a bc d e", 2, None),
            (r#"x "a\"b\n"#, r#"x|a"b\n"#, 2, Some('"')),
            (r"x 'a\", r"x|a\", 2, Some('\'')),
            (r"x a\", "x|a", 2, None),
        ] {
            assert_eq!(split(line), (words.to_owned(), start, quote), "{line}");
        }
    }
}
