//! The agent of the database firewall: keeps the kernel equal to the rule files.
//!
//! Who may use whom: `firewall-common ← rules ← sync ← {bpf, files, host, http} ← agent ← cli ← main`; `config` stands
//! beside `rules`, `audit` uses `sync`, and `status` is the shape of what `agent`, `http` and `cli` report. `escape` is
//! for all that write text from outside.
//!
//! Without the feature `program` only what reads bytes from outside is built: that is what the fuzz targets link.

#[cfg(feature = "program")]
pub mod agent;
pub mod audit;
#[cfg(feature = "program")]
pub mod bpf;
#[cfg(feature = "program")]
pub mod cli;
pub mod config;
pub mod escape;
pub mod files;
pub mod host;
pub mod http;
pub mod rules;
pub mod status;
pub mod sync;
#[cfg(feature = "program")]
pub mod version;
