//! The XDP program of the database firewall: parse → decide → count → act.
//!
//! Two programs share [`decide`](decide::decide). `firewall` is attached: it counts and returns an action. `probe`, the
//! probe program, is never attached: it counts nothing and returns the reason. `recorder` is the target of a tail call
//! of `firewall`, after the verdict, with the few refused packets to be recorded.
//!
//! Everything here compiles for the `bpf` target only; on the host the crate is an empty program, so that
//! workspace-wide commands include it.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod cache;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod decide;
#[cfg(target_arch = "bpf")]
mod denied;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod look;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod measured;
#[cfg(target_arch = "bpf")]
mod members;
#[cfg(all(target_arch = "bpf", feature = "packet-log"))]
mod packet_log;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod recorder;
#[cfg(target_arch = "bpf")]
mod stages;
#[cfg(target_arch = "bpf")]
mod tables;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
