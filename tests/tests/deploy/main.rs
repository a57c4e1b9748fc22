//! The contents of `deploy/` and the release artefacts: units and manifests that systemd and Kubernetes accept and that
//! grant the agent the rights it needs and little more; image and package, run as in production; the bill of materials.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod bill;
mod image;
mod kustomize;
mod manifests;
mod operator;
mod overlays;
mod package;
mod podman;
mod privileges;
mod setup;
mod strict;
mod syscalls;
mod units;
mod version_output;
