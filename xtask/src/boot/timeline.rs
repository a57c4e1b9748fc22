//! Order of a boot: times at which units started and ended, in seconds since the start of the kernel.

use anyhow::{Context as _, Result, ensure};

use super::arrivals::Arrivals;
use super::guest::{AGENT, DATABASE, Guest, RESTORE};

/// The agent's message of an attached interface, in the journal of this boot.
const ATTACHED: &str = "journalctl --boot --output short-monotonic --no-pager --unit firewall-agent-restore \
                        --unit firewall-agent | grep --max-count=1 'link attached'";

#[derive(Debug)]
pub struct Timeline {
    pub restore_starts: f64,
    pub attached: f64,
    pub restore_ends: f64,
    pub agent_ready: f64,
    pub networking_starts: f64,
    pub networking_ends: f64,
    pub database_starts: f64,
    /// Opening of the guest's early socket.
    pub socket_opens: f64,
    /// First datagram or connection of the allowed source.
    pub friend: f64,
}

impl Timeline {
    pub fn read(guest: &mut Guest, networking: &str, arrivals: &Arrivals) -> Result<Self> {
        let line = guest.read(ATTACHED)?;
        let attached = line.trim_start_matches(['[', ' ']).split(']').next().and_then(|at| at.parse().ok());
        Ok(Self {
            restore_starts: started(guest, RESTORE)?,
            attached: attached.with_context(|| format!("journal: no time in {line:?}"))?,
            restore_ends: active(guest, RESTORE)?,
            agent_ready: active(guest, AGENT)?,
            networking_starts: started(guest, networking)?,
            networking_ends: active(guest, networking)?,
            database_starts: started(guest, DATABASE)?,
            socket_opens: arrivals.opened.context("arrivals: no early socket")?,
            friend: arrivals.first_friend.context("arrivals: nothing from the allowed source")?,
        })
    }

    /// Returns the time from attaching to the start of the network, in seconds.
    pub fn lead(&self) -> f64 {
        self.networking_starts - self.attached
    }

    /// Requires the order that the units ask for.
    pub fn ensure_order(&self) -> Result<()> {
        let order = [
            ("early socket", self.socket_opens),
            ("attached", self.attached),
            ("end of restore", self.restore_ends),
            ("agent ready", self.agent_ready),
            ("start of the network", self.networking_starts),
            ("start of the database", self.database_starts),
        ];
        for pair in order.windows(2) {
            let [(earlier, before), (later, after)] = pair else { continue };
            ensure!(before <= after, "{later}: at {after:.2} s, must follow {earlier} at {before:.2} s");
        }
        ensure!(self.attached < self.friend, "allowed source: in before the interface was filtered");
        Ok(())
    }
}

fn started(guest: &mut Guest, unit: &str) -> Result<f64> {
    seconds(guest, unit, "InactiveExitTimestampMonotonic")
}

fn active(guest: &mut Guest, unit: &str) -> Result<f64> {
    seconds(guest, unit, "ActiveEnterTimestampMonotonic")
}

fn seconds(guest: &mut Guest, unit: &str, property: &str) -> Result<f64> {
    let value = guest.property(unit, property)?;
    let microseconds: f64 = value.parse().with_context(|| format!("{unit}: {property} {value:?}"))?;
    ensure!(microseconds > 0.0, "{unit}: has no {property}");
    Ok(microseconds / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        Timeline {
            restore_starts: 20.0,
            attached: 31.0,
            restore_ends: 32.0,
            agent_ready: 33.0,
            networking_starts: 33.5,
            networking_ends: 35.0,
            database_starts: 36.0,
            socket_opens: 19.0,
            friend: 35.0,
        }
    }

    #[test]
    fn network_and_database_must_follow_the_filter() {
        timeline().ensure_order().unwrap();
        assert!((timeline().lead() - 2.5).abs() < 1e-9);
        for wrong in [
            Timeline { networking_starts: 30.0, ..timeline() },
            Timeline { database_starts: 31.5, ..timeline() },
            Timeline { socket_opens: 34.0, ..timeline() },
            Timeline { friend: 30.0, ..timeline() },
        ] {
            assert!(wrong.ensure_order().is_err(), "{wrong:?}");
        }
    }
}
