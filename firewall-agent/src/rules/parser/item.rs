//! One value of the tree, with its path in the document.

use super::Report;
use super::quote::quote;
use super::tree::{Node, Position, Value};
use crate::rules::Cause;

#[derive(Debug)]
pub(crate) struct Item<'n, 't> {
    pub(super) path: String,
    pub(super) node: &'n Node<'t>,
}

impl<'n, 't> Item<'n, 't> {
    pub(super) fn new(path: String, node: &'n Node<'t>) -> Self {
        Self { path, node }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn position(&self) -> Position {
        self.node.position
    }

    /// Parses the scalar; the error of `parse` gives the reason without repeating the value.
    pub(crate) fn text<T>(
        &self,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, _) = self.scalar(report)?;
        parse(text).map_err(|reason| self.refuse(report, &reason)).ok()
    }

    /// As [`Self::text`], for numbers and booleans: quotes are refused.
    pub(crate) fn plain<T>(
        &self,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, plain) = self.scalar(report)?;
        if !plain {
            self.refuse(report, "must be written without quotes");
            return None;
        }
        parse(text).map_err(|reason| self.refuse(report, &reason)).ok()
    }

    /// The items of a list; empty, and an error, for anything else.
    pub(crate) fn list(&self, report: &mut Report) -> impl Iterator<Item = Item<'n, 't>> + use<'n, 't> {
        let nodes: &'n [Node<'t>] = match &self.node.value {
            Value::List(nodes) => nodes,
            Value::Null | Value::Scalar { .. } | Value::Map(_) => {
                report.refuse(self.position(), self.path(), self.unlike("a list"));
                &[]
            }
        };
        let path = self.path.clone();
        nodes.iter().enumerate().map(move |(i, node)| Item::new(format!("{path}[{i}]"), node))
    }

    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(&self.node.value, Value::List(nodes) if nodes.is_empty())
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(&self.node.value, Value::Map(_))
    }

    /// Reports the value as wrong, quoted as typed. Lists and maps must be empty.
    pub(crate) fn refuse(&self, report: &mut Report, reason: &str) {
        self.refuse_as(Cause::Invalid, report, reason);
    }

    /// As [`Self::refuse`], with another cause than a wrong value.
    pub(crate) fn refuse_as(&self, cause: Cause, report: &mut Report, reason: &str) {
        report.refuse_as(cause, self.position(), self.path(), format!("{}: {reason}", self.typed()));
    }

    /// Warns of the value, quoted as typed. Lists and maps must be empty.
    pub(crate) fn warn(&self, report: &mut Report, reason: &str) {
        report.warn(self.position(), self.path(), format!("{}: {reason}", self.typed()));
    }

    fn scalar(&self, report: &mut Report) -> Option<(&'n str, bool)> {
        if let Value::Scalar { text, plain } = &self.node.value {
            return Some((text, *plain));
        }
        report.refuse(self.position(), self.path(), self.unlike("a single value"));
        None
    }

    fn typed(&self) -> String {
        match &self.node.value {
            Value::Null | Value::Scalar { .. } => quote(self.node.raw),
            Value::List(_) => "[]".to_owned(),
            Value::Map(_) => "{}".to_owned(),
        }
    }

    /// Message that the value is not `wanted`.
    pub(super) fn unlike(&self, wanted: &str) -> String {
        match &self.node.value {
            Value::Null => format!("has no value, needs {wanted}"),
            Value::Scalar { .. } => format!("{}: must be {wanted}", self.typed()),
            Value::List(_) => format!("is a list, must be {wanted}"),
            Value::Map(_) => format!("is a map, must be {wanted}"),
        }
    }
}
