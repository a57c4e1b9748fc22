//! What a file may hold, said once: its maps are opened by it, and the JSON Schemas are made of it.

use std::ops::RangeInclusive;

/// A map: every field that it may have, in the order in which they are named to people.
#[derive(Debug)]
pub(crate) struct Shape {
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub due: Due,
    pub value: Kind,
    /// For who reads the schema; may be empty.
    pub note: &'static str,
}

/// When a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Always,
    Never,
    /// While another field is this word, or is left out and that word is its default.
    When(&'static str, &'static str),
    /// So, and else it must not be there.
    OnlyWhen(&'static str, &'static str),
}

/// What a field holds.
#[derive(Debug)]
pub(crate) enum Kind {
    Number(RangeInclusive<u64>),
    Flag,
    Ident,
    /// Text for people.
    Label,
    /// The name of a host, of at least one character.
    Host,
    Time,
    Cidr,
    Address,
    /// One of these; the first is the default where the field may be left out.
    Words(&'static [&'static str]),
    Cidrs,
    Maps {
        of: &'static Shape,
        /// At least, where the field is due.
        least: usize,
        most: Option<usize>,
    },
}

impl Shape {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    pub const fn new(name: &'static str, due: Due, value: Kind, note: &'static str) -> Self {
        Self { name, due, value, note }
    }
}

/// The words of a list that gives each its meaning.
pub(crate) const fn words<T, const N: usize>(meanings: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = meanings[at].0;
        at += 1;
    }
    words
}
