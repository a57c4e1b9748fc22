//! Rule files, managed ranges and configuration: accepted files, rejected files, and the messages.
//!
//! `UPDATE_EXPECTED=1` rewrites the `.expected` files; review the difference before committing it.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod causes;
mod compiled;
mod documented;
mod fixtures;
mod hostile;
mod invalid;
mod mutations;
mod prefixes;
mod reference;
mod schema;
mod summary;
mod valid;
mod validate;
