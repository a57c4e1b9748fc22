//! Identifiers: 1 to 64 of `A-Z a-z 0-9 _ -`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Most characters of an identifier.
pub(super) const MAX_CHARS: usize = 64;

/// Reason why a text is not an identifier. Quotes the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidIdent {
    pub text: String,
    pub reason: &'static str,
}

impl fmt::Display for InvalidIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.text, self.reason)
    }
}

impl std::error::Error for InvalidIdent {}

macro_rules! ident {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        /// Clones share the text.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidIdent;

            fn try_from(text: String) -> Result<Self, InvalidIdent> {
                text.parse()
            }
        }

        impl FromStr for $name {
            type Err = InvalidIdent;

            fn from_str(text: &str) -> Result<Self, InvalidIdent> {
                match refusal(text) {
                    None => Ok(Self(text.into())),
                    Some(reason) => Err(InvalidIdent { text: text.to_owned(), reason }),
                }
            }
        }
    };
}

ident! {
    /// Id of a database, unique in the fleet.
    DatabaseId
}
ident! {
    /// Id of a rule, unique within its database.
    RuleId
}
ident! {
    /// Id of a managed range: a named list of prefixes that the provider maintains.
    RangeId
}

fn refusal(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("must not be empty")
    } else if text.len() > MAX_CHARS {
        Some("is longer than 64 characters")
    } else if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        None
    } else {
        Some("may hold letters, digits, _ and - only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_1_to_64_letters_digits_underscores_and_dashes() {
        let longest = "x".repeat(64);
        for good in ["a", "fr-1", "6a316183d0f1f10ecbcca123", "A_b-9", &longest] {
            assert_eq!(good.parse::<RuleId>().unwrap().to_string(), good);
        }
        let too_long = "x".repeat(65);
        for bad in ["", " fr-1", "fr 1", "fr.1", "fr/1", "é", "fr-1\n", &too_long] {
            assert!(bad.parse::<RuleId>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn error_quotes_the_value() {
        let error = "../x".parse::<DatabaseId>().unwrap_err();
        assert_eq!(error.to_string(), r#""../x": may hold letters, digits, _ and - only"#);
    }
}
