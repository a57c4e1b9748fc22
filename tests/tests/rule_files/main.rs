//! Rule files, managed ranges and configuration: what is taken, what is refused, and in which words.
//!
//! `UPDATE_EXPECTED=1` writes the `.expected` files anew; read the difference before keeping it.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod causes;
mod compiled;
mod fixtures;
mod hostile;
mod invalid;
mod mutations;
mod prefixes;
mod schema;
mod summary;
mod valid;
mod validate;
