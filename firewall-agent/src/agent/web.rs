//! Connection of the HTTP server to the kernel and the disk.

use std::sync::Arc;

use anyhow::Result;
use firewall_common::Tally;

use super::{counters, kernel_memory};
use crate::bpf::Kernel;
use crate::config::Config;
use crate::files::socket::{GROUP, bind_at};
use crate::host::interface_names::InterfaceNames;
use crate::http::{self, Bind, Counters, SharedState, SocketTally};
use crate::status::{KernelMemory, ReasonCounter};
use crate::sync::CounterId;

/// Serves the shared state. Reads counters through `kernel`, a handle of its own.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn serve(config: &Config, kernel: Kernel, shared: &Arc<SharedState>) -> Result<()> {
    let bind: Bind = |path| {
        let (listener, name) = bind_at(path, GROUP)?;
        Ok((listener, Box::new(move || name.is_lost())))
    };
    http::serve(config.listen.clone(), bind, kernel, Arc::clone(shared))
}

impl Counters for Kernel {
    fn unrecorded(&self) -> Result<u64> {
        Ok(self.denied_totals()?.unrecorded)
    }

    fn reasons(&self) -> Result<Vec<ReasonCounter>> {
        counters(self)
    }

    fn tally(&self, counter: CounterId) -> Result<Tally> {
        let hits = self.hits(counter)?;
        Ok(Tally { packets: hits.packets, bytes: hits.bytes })
    }

    fn memory(&self) -> Result<KernelMemory> {
        kernel_memory(self)
    }

    fn sockets(&self) -> Result<Vec<SocketTally>> {
        let names = InterfaceNames::read();
        let counts = self.socket_traffic()?.into_iter().map(|one| SocketTally {
            interface: names.name(one.interface),
            is_on_host: names.known(one.interface).is_some(),
            reason: one.reason.name(),
            counter: one.counter,
            tally: Tally { packets: one.packets, bytes: one.bytes },
        });
        Ok(counts.collect())
    }
}
