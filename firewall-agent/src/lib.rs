//! Database firewall agent: reconciles the kernel with the rule files.
//!
//! Dependencies: `firewall-common ← rules ← sync ← {bpf, files, http} ← agent ← cli ← main`; `config` is on the level of
//! `rules`, `audit` uses `sync`, `host` collects facts for `audit` and serves `bpf`, `agent` and `cli`, and `status`
//! defines the report of `agent`, `http` and `cli`. `escape` serves every module that writes untrusted text.
//!
//! Without the feature `program`, only the parsers of untrusted bytes are built: the fuzz targets link these.

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
