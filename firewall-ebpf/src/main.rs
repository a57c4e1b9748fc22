//! The XDP program of the database firewall: parse → decide → count → act.
//!
//! [`decide`](decide::decide) is shared by two programs. `firewall` is attached: it counts and returns an action.
//! `twin` never is: it counts nothing and returns what was decided, for questions. `recorder` is what `firewall` goes
//! over to, after everything is decided, with the few refused packets that are written down.
//!
//! Everything here compiles for the `bpf` target only; on the host the crate is an empty program, so that no
//! workspace-wide command has to leave it out.

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
