use super::*;

/// Id, name, prefixes, `accept_shrink`.
type Range<'a> = (&'a str, &'a str, &'a [&'a str], bool);

fn ranges(list: &[Range<'_>]) -> ManagedRanges {
    let range = |(id, name, cidrs, accept_shrink): &Range<'_>| {
        let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let range = ManagedRange { name: (*name).to_owned(), cidrs, accept_shrink: *accept_shrink };
        (id.parse().unwrap(), range.into())
    };
    ManagedRanges {
        revision: u64::MAX,
        generated_at: "2025-12-15T00:00:00.000000001Z".parse().unwrap(),
        ranges: list.iter().map(range).collect(),
    }
}

fn round_trip(ranges: &ManagedRanges) {
    let text = ranges.to_yaml();
    let read = read_ranges(text.as_bytes()).map_err(|problems| format!("{problems:?}: {text}")).unwrap();
    assert_eq!(read.value, *ranges, "{text}");
}

#[test]
fn written_ranges_round_trip() {
    let cases: [&[Range<'_>]; 5] = [
        &[],
        &[("a", "", &[], false)],
        &[("a", "A", &["0.0.0.0/0", "::/0", "::/1", "::1/128", "::102:304/128"], true)],
        &[
            ("a", "A", &["1.2.3.4/32", "64:ff9b::1.2.3.4/128", "ffff::/16"], false),
            ("b", "B", &["::/0"], true),
        ],
        &[("-", "", &[], false), ("---", "", &[], false), ("null", "", &[], false), ("0x1", "", &[], true)],
    ];
    for case in cases {
        round_trip(&ranges(case));
    }
    let many: Vec<String> =
        (0..20_000_u32).map(|n| format!("{}/32", std::net::Ipv4Addr::from(n * 65_537))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    round_trip(&ranges(&[("many", "many", &many, false)]));
}

#[test]
fn name_is_always_read_as_text() {
    let long = "\"\\".repeat(128);
    let wide = "\u{1f525}".repeat(256);
    let names = [
        "null",
        "~",
        "true",
        "1",
        "...",
        "---",
        " a ",
        "'",
        "\"",
        "\\",
        "\\n",
        "a\\",
        "\"a\"",
        "a: b",
        "a #b",
        "- a",
        "{a}",
        "[a",
        "}, cidrs: [0.0.0.0/0], x: {",
        "\"}, {id: x, name: y, cidrs: [0.0.0.0/0]}",
        "&a",
        "*a",
        "!a",
        "<<",
        "%a",
        "@a",
        "`a",
        "|",
        ">",
        "?",
        ",",
        "é",
        "\u{301}",
        "\u{a0}",
        "\u{ad}",
        "\u{200b}",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{1f525}",
        &long,
        &wide,
    ];
    for name in names {
        round_trip(&ranges(&[("a", name, &["192.0.2.0/24"], false), ("b", "B", &[], false)]));
    }
}

/// A file with one range of this name, escaped; `None` when it is refused.
fn file_with_name(name: &[char]) -> Option<ManagedRanges> {
    let name: String = name.iter().map(|c| format!("\\U{:08X}", u32::from(*c))).collect();
    let text = format!(
        "schema_version: 1\nrevision: 1\ngenerated_at: 2025-12-15T00:00:00Z\nranges:\n\
         - {{id: a, name: \"{name}\", cidrs: []}}\n...\n"
    );
    read_ranges(text.as_bytes()).ok().map(|read| read.value)
}

#[test]
fn every_permitted_name_character_round_trips() {
    let characters: Vec<char> = ('\0'..=char::MAX).collect();
    let mut survived = 0;
    for group in characters.chunks(128) {
        let parsed = match file_with_name(group) {
            Some(ranges) => vec![ranges],
            None => group.iter().filter_map(|c| file_with_name(&[*c])).collect(),
        };
        for ranges in parsed {
            round_trip(&ranges);
            survived += ranges.ranges[&"a".parse().unwrap()].name.chars().count();
        }
    }
    // Refused: two groups of controls, one byte order mark, and a dozen direction marks.
    assert_eq!(survived, characters.len() - 65 - 1 - 14);
}
