//! A map of which every field is known.

use std::collections::BTreeMap;

use super::character::show;
use super::tree::{Node, Place, Value};
use super::{Item, Report};

#[derive(Debug)]
pub(crate) struct Fields<'n, 't> {
    path: String,
    place: Place,
    by_name: BTreeMap<&'n str, &'n Node<'t>>,
}

impl<'n, 't> Fields<'n, 't> {
    /// Reports every field that is not of `known`, and every second one of a name.
    /// `None`, and an error, for what is no map.
    pub(crate) fn open(item: &Item<'n, 't>, known: &[&str], report: &mut Report) -> Option<Self> {
        let Value::Map(fields) = &item.node.value else {
            report.refuse(item.place(), item.path(), item.unlike("a map of fields"));
            return None;
        };
        let mut opened = Self { path: item.path.clone(), place: item.place(), by_name: BTreeMap::new() };
        let mut first_lines = BTreeMap::new();
        for (key, value) in fields {
            let Value::Scalar { text: name, .. } = &key.value else {
                report.refuse(key.place, item.path(), "name of a field must be a single value");
                continue;
            };
            let path = opened.path_of(&show(name));
            if let Some(line) = first_lines.get(&**name) {
                report.refuse(key.place, path, format!("duplicate field, first on line {line}"));
                continue;
            }
            first_lines.insert(&**name, key.place.line);
            if name == "<<" {
                report.refuse(key.place, path, "merge keys (<<) are not allowed");
            } else if known.contains(&&**name) {
                opened.by_name.insert(name, value);
            } else {
                let known = known.join(", ");
                report.refuse(key.place, path, format!("unknown field, known are {known}"));
            }
        }
        Some(opened)
    }

    /// The field's value; `None`, and an error at the map, when it is missing.
    pub(crate) fn required(&self, name: &str, report: &mut Report) -> Option<Item<'n, 't>> {
        let item = self.optional(name);
        if item.is_none() {
            report.refuse(self.place, self.path_of(name), "missing");
        }
        item
    }

    pub(crate) fn optional(&self, name: &str) -> Option<Item<'n, 't>> {
        self.by_name.get(name).map(|node| Item::new(self.path_of(name), node))
    }

    /// Reports a field that must not be there, with the reason.
    pub(crate) fn forbidden(&self, name: &str, reason: &str, report: &mut Report) {
        if let Some(item) = self.optional(name) {
            report.refuse(item.place(), item.path(), reason);
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
