//! Why a file is refused, in a few words that never grow more.

/// Every cause, so that none appears out of nothing.
pub(super) const CAUSES: [&str; 7] = [
    "stale_revision",
    "revision_conflict",
    "endpoint_claimed",
    "range_kept",
    "incomplete",
    "unreadable",
    "invalid",
];

/// The cause of one refusal, by how its message starts.
pub(super) fn cause(message: &str) -> &'static str {
    let known = CAUSES[..3].iter().find(|code| message.starts_with(&format!("{code}:")));
    if let Some(code) = known {
        code
    } else if message.starts_with("range ") {
        "range_kept"
    } else if message.contains("file is incomplete") {
        "incomplete"
    } else if UNREAD.iter().any(|start| message.starts_with(start)) {
        "unreadable"
    } else {
        "invalid"
    }
}

/// How errors of reading a file start.
const UNREAD: [&str; 5] =
    ["cannot be read", "file is hidden", "not a regular file", "a link to ", "file of "];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_one_of_the_causes() {
        for (message, expected) in [
            ("stale_revision: revision 4 is lower than 5, which was taken before", "stale_revision"),
            ("revision_conflict: revision 4 is in force with other contents", "revision_conflict"),
            ("endpoint_claimed: *:5432/tcp is claimed by database a as *:5432/tcp", "endpoint_claimed"),
            ("line 3: file is incomplete: its last line must be `...` alone", "incomplete"),
            ("cannot be read: Permission denied (os error 13)", "unreadable"),
            ("not a regular file", "unreadable"),
            ("range man-egress: revision 8 has 1 prefix and loses 3 of 4: 4 stay in force", "range_kept"),
            ("line 9, column 5: rules[0].cidr \"stale_revision: x\": no address", "invalid"),
            ("", "invalid"),
        ] {
            assert_eq!(cause(message), expected, "{message}");
            assert!(CAUSES.contains(&expected));
        }
    }
}
