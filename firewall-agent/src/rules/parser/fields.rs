//! Access to the fields of a map, all of them known.

use std::collections::BTreeMap;

use super::describe::{Field, Kind, Requirement, Shape};
use super::quote::show;
use super::scalar::decimal;
use super::tree::{Node, Position, Value};
use super::{Item, Report};

#[derive(Debug)]
pub(crate) struct Fields<'n, 't> {
    /// Description of the fields, if there is one.
    shape: Option<&'static Shape>,
    path: String,
    position: Position,
    by_name: BTreeMap<&'n str, &'n Node<'t>>,
}

impl<'n, 't> Fields<'n, 't> {
    /// Reports every field outside `shape`, and every duplicate. `None`, and an error, if the item is not a map.
    pub(crate) fn open(item: &Item<'n, 't>, shape: &'static Shape, report: &mut Report) -> Option<Self> {
        let known: Vec<&str> = shape.fields.iter().map(|field| field.name).collect();
        Some(Self { shape: Some(shape), ..Self::named(item, &known, report)? })
    }

    /// As [`Self::open`], for a map of which only the names are known.
    pub(crate) fn named(item: &Item<'n, 't>, known: &[&str], report: &mut Report) -> Option<Self> {
        let Value::Map(fields) = &item.node.value else {
            report.refuse(item.position(), item.path(), item.unlike("a map of fields"));
            return None;
        };
        let mut opened = Self {
            shape: None,
            path: item.path.clone(),
            position: item.position(),
            by_name: BTreeMap::new(),
        };
        let mut first_lines = BTreeMap::new();
        for (key, value) in fields {
            let Value::Scalar { text: name, .. } = &key.value else {
                report.refuse(key.position, item.path(), "name of a field must be a single value");
                continue;
            };
            let path = opened.path_of(&show(name));
            if let Some(line) = first_lines.get(&**name) {
                report.refuse(key.position, path, format!("duplicate field, first on line {line}"));
                continue;
            }
            first_lines.insert(&**name, key.position.line);
            if name == "<<" {
                report.refuse(key.position, path, "merge keys (<<) are not allowed");
            } else if known.contains(&&**name) {
                opened.by_name.insert(name, value);
            } else {
                let known = known.join(", ");
                report.refuse(key.position, path, format!("unknown field, known are {known}"));
            }
        }
        Some(opened)
    }

    /// The field's value; `None`, and an error at the map, if it is missing.
    pub(crate) fn required(&self, name: &str, report: &mut Report) -> Option<Item<'n, 't>> {
        debug_assert!(self.requirement(name) != Some(Requirement::Optional), "{name} may be left out");
        let item = self.get(name);
        if item.is_none() {
            report.refuse(self.position, self.path_of(name), "missing");
        }
        item
    }

    /// The required field's number, within the bounds of the shape.
    pub(crate) fn number<T: TryFrom<u64>>(&self, name: &str, report: &mut Report) -> Option<T> {
        let Some(Field { value: Kind::Number(range), .. }) = self.shape?.field(name) else { return None };
        self.required(name, report)?.plain(report, decimal(range.clone()))
    }

    pub(crate) fn optional(&self, name: &str) -> Option<Item<'n, 't>> {
        debug_assert!(self.requirement(name) != Some(Requirement::Required), "{name} may not be left out");
        self.get(name)
    }

    fn requirement(&self, name: &str) -> Option<Requirement> {
        Some(self.shape?.field(name)?.requirement)
    }

    fn get(&self, name: &str) -> Option<Item<'n, 't>> {
        self.by_name.get(name).map(|node| Item::new(self.path_of(name), node))
    }

    /// Reports a forbidden field, with the reason.
    pub(crate) fn forbidden(&self, name: &str, reason: &str, report: &mut Report) {
        debug_assert!(matches!(self.requirement(name), Some(Requirement::OnlyIf(..))), "{name} may be there");
        if let Some(item) = self.get(name) {
            report.refuse(item.position(), item.path(), reason);
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
