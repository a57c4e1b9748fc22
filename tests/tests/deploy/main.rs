//! What is in `deploy/`: units and manifests that systemd and Kubernetes take, and that leave the agent what it needs and little more.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod manifests;
mod privileges;
mod syscalls;
mod units;
