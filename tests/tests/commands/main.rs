//! Every command against a real kernel: output, exit code, errors.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod blocked;
mod completions;
mod counters;
mod denied;
mod documented;
mod events;
mod explain;
mod hits;
mod hostile;
mod manners;
mod nouns;
mod on_call;
mod overlay;
mod plan;
mod setup;
mod shapes;
mod shell;
mod support_bundle;
mod watch;
