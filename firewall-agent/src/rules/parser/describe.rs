//! Descriptions of the file formats: the parser and the JSON Schemas both use them.

use std::ops::RangeInclusive;

/// A map: all its fields, in the order in which messages list them.
#[derive(Debug)]
pub(crate) struct Shape {
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub requirement: Requirement,
    pub value: Kind,
    /// For readers of the schema; may be empty.
    pub note: &'static str,
}

/// Condition under which a field is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    Required,
    Optional,
    /// Required if another field (the first) has this value, or is absent and the value is its default; else optional.
    RequiredIf(&'static str, &'static str),
    /// As [`Self::RequiredIf`], but forbidden otherwise.
    OnlyIf(&'static str, &'static str),
}

/// Type of a field's value.
#[derive(Debug)]
pub(crate) enum Kind {
    Number(RangeInclusive<u64>),
    Flag,
    Ident,
    /// Free text for people.
    Label,
    /// Host name of at least one character.
    Host,
    Time,
    Cidr,
    Address,
    /// One of these; the first is the default if the field is optional.
    Choice(&'static [&'static str]),
    Cidrs,
    Maps {
        of: &'static Shape,
        /// Minimum length if the field is required.
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
    pub const fn new(name: &'static str, requirement: Requirement, value: Kind, note: &'static str) -> Self {
        Self { name, requirement, value, note }
    }
}

/// The accepted values of a list that maps each to its meaning.
pub(crate) const fn choices<T, const N: usize>(meanings: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut choices = [""; N];
    let mut at = 0;
    while at < N {
        choices[at] = meanings[at].0;
        at += 1;
    }
    choices
}
