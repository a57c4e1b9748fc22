use std::collections::BTreeSet;

use super::*;

/// Every character, in texts of 256; a harmless one on each side of each.
fn every_text() -> impl Iterator<Item = String> {
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    let texts: Vec<String> =
        all.chunks(256).map(|some| some.iter().flat_map(|c| ['a', *c, 'b']).collect()).collect();
    texts.into_iter()
}

/// Unicode's categories Cc, Zl and Zp, its property Bidi_Control, and the byte order mark; not derived from the code.
fn acts(c: char) -> bool {
    const BIDI_CONTROLS: [char; 12] = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
        '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    let code = u32::from(c);
    code < 0x20
        || (0x7f..0xa0).contains(&code)
        || BIDI_CONTROLS.contains(&c)
        || ['\u{2028}', '\u{2029}', '\u{feff}'].contains(&c)
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn no_control_character_passes_and_no_text_is_lost() {
    let mut passed = 0;
    for text in every_text() {
        let line = escaped(&text).into_owned();
        assert!(!line.contains(acts), "{line:?}");
        passed += line.chars().filter(|c| !"ab".contains(*c)).count();

        let terminal = written(|out| {
            let mut lines = EscapedLines::new(out);
            writeln!(lines, "{text}")?;
            lines.flush()
        });
        assert_eq!(terminal, format!("{line}\n"));
        let event = written(|out| EscapedEvents(out).write_all(format!("{text}\n").as_bytes()));
        assert_eq!(event, format!("{line}\n"));

        for (json, line_breaks) in [
            (written(|out| write_json_line(&[&text], out)), 1),
            (written(|out| write_json(&[&text], out)), 3),
        ] {
            assert!(!json.contains(|c| acts(c) && c != '\n'), "{json:?}");
            assert_eq!(json.matches('\n').count(), line_breaks, "{json:?}");
            let read: [String; 1] = serde_json::from_str(&json).unwrap();
            assert_eq!(read[0], text);
        }
    }
    // Control: the other characters pass.
    assert!(passed > 1_100_000, "{passed}");
}

#[test]
fn files_may_contain_only_the_format_characters_of_scripts_and_emoji() {
    for c in '\0'..=char::MAX {
        assert!(is_harmful(c) || !is_forbidden(c), "{c:?}");
        assert!(is_forbidden(c) || !acts(c), "{c:?}");
    }
    assert!(!is_forbidden('\u{200d}') && !is_forbidden('\u{200c}'));
}

#[test]
fn only_harmful_characters_are_escaped_in_json_form() {
    let hostile = "a\u{1b}[31mb\r\n\u{7f}c\u{9b}0m\u{202e}d\0\te\u{feff}";
    let expected = r"a\u001b[31mb\u000d\u000a\u007fc\u009b0m\u202ed\u0000\u0009e\ufeff";
    assert_eq!(escaped(hostile), expected);
    for harmless in ["", "orders.yaml", r"a\nb", "日本 🔥 é \" '"] {
        assert!(matches!(escaped(harmless), Cow::Borrowed(text) if text == harmless), "{harmless}");
    }
}

#[test]
fn non_utf8_names_remain_distinguishable() {
    let names: [&[u8]; 5] =
        [b"a\xff.yaml", b"a\xfe.yaml", b"a\xc3\xa4.yaml", b"a\xc3.yaml", b"a\xef\xbf\xbd.yaml"];
    let texts: BTreeSet<String> = names.iter().map(|name| name_text(OsStr::from_bytes(name))).collect();
    let expected = [r"a\xc3.yaml", r"a\xfe.yaml", r"a\xff.yaml", "aä.yaml", "a\u{fffd}.yaml"];
    assert_eq!(texts, expected.map(str::to_owned).into());
    assert_eq!(shown(Path::new(OsStr::from_bytes(b"/x\n\xff"))), r"/x\u000a\xff");
}

#[test]
fn bytes_written_singly_are_escaped_as_whole_characters() {
    let hostile = "a\u{1b}[31mb\r\u{7f}c\u{9b}0m\u{202e}d\0\te";
    let text = written(|out| {
        let mut lines = EscapedLines::new(out);
        hostile.as_bytes().iter().try_for_each(|byte| lines.write_all(&[*byte]))?;
        lines.write_all(b"\nrest")?;
        lines.flush()
    });
    let expected = r"a\u001b[31mb\u000d\u007fc\u009b0m\u202ed\u0000\u0009e";
    assert_eq!(text, format!("{expected}\nrest"));
}

#[test]
fn no_value_starts_a_line() {
    // As the commands do: through a reference to a writer.
    fn write_name(out: &mut impl Write, name: &str) -> io::Result<()> {
        writeln!(out, "\n{name}: refused\n")?;
        write!(out, "! ")?;
        writeln!(out, "refused {name}")?;
        out.flush()
    }
    let name = "a: ok\n1 file, 0 refused\n.yaml";
    let text = written(|out| write_name(&mut &mut EscapedLines::new(out), name));
    let shown = r"a: ok\u000a1 file, 0 refused\u000a.yaml";
    assert_eq!(text, format!("\n{shown}: refused\n\n! refused {shown}\n"));
}
