//! Parser of the file formats: bytes to a tree of fields with positions to typed values. It collects every problem.
//!
//! The accepted YAML is the plain subset that operators write: one document, without anchors, aliases, merge keys, tags
//! or directives.

mod describe;
mod document;
mod fields;
mod item;
mod quote;
mod report;
mod scalar;
mod tree;

pub(crate) use describe::{Field, Kind, Requirement, Shape, choices};
pub(crate) use document::{Document, Ending};
pub(crate) use fields::Fields;
pub(crate) use item::Item;
pub(crate) use report::Report;
pub(crate) use scalar::{MAX_LABEL_CHARS, choice, decimal, expiry, flag, generated, ident, label};
