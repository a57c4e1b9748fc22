//! `audit` on a host where the tests plant bypasses of its protected ports, one at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod cut;
mod planted;
mod served;
mod setup;
mod sight;
