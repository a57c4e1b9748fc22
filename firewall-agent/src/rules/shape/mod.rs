//! The shape of a file: its bytes → a tree of fields with their places → typed values.
//! Every problem is collected.
//!
//! The YAML taken is the plain part that operators write: one document, without anchors, aliases, merge keys,
//! tags or directives.

mod character;
mod describe;
mod document;
mod fields;
mod item;
mod report;
mod scalar;
mod tree;

pub(crate) use describe::{Due, Field, Kind, Shape, words};
pub(crate) use document::{Document, Ending};
pub(crate) use fields::Fields;
pub(crate) use item::Item;
pub(crate) use report::Report;
pub(crate) use scalar::{MAX_LABEL_CHARS, choice, decimal, expiry, flag, generated, ident, label};
