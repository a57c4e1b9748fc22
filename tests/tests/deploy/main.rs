//! What is in `deploy/`, and what is given away: units and manifests that systemd and Kubernetes take, and that leave the
//! agent what it needs and little more; image and package, run as they would be; the list of what is in them.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod bill;
mod image;
mod manifests;
mod package;
mod privileges;
mod stand;
mod strict;
mod syscalls;
mod told;
mod units;
