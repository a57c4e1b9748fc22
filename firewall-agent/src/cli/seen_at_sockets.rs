//! Packets that the socket filter judged, by the interface that received them.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::audit::{Finding, Kind};
use crate::bpf::Kernel;
use crate::host::interface_names::InterfaceNames;

/// Kinds of findings about one interface.
const INTERFACES: [Kind; 4] = [Kind::Container, Kind::Interface, Kind::Tunnel, Kind::GenericMode];

/// Packets of one interface, since its counters exist. Field names are an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    /// Packets to protected ports that entered a socket.
    pub packets: u64,
    /// Of these, packets that were refused, or would be with `enforce`.
    pub refused: u64,
}

/// The counters of every interface, by its name.
#[derive(Debug, Default)]
pub(super) struct SeenByInterface(BTreeMap<String, Seen>);

impl SeenByInterface {
    pub fn read(kernel: &Kernel) -> Result<Self> {
        let (names, mut all) = (InterfaceNames::read(), Self::default());
        for one in kernel.socket_traffic()? {
            let seen = all.0.entry(names.name(one.interface)).or_default();
            seen.packets += one.packets;
            seen.refused += if one.reason.passes() { 0 } else { one.packets };
        }
        Ok(all)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Seen)> {
        self.0.iter()
    }

    /// The packets by the interface of a finding; `None` for a finding about anything else.
    pub fn of(&self, finding: &Finding) -> Option<Seen> {
        let interface = if finding.kind == Kind::Loopback {
            finding.object.split(':').next()?
        } else if INTERFACES.contains(&finding.kind) {
            &finding.object
        } else {
            return None;
        };
        Some(self.0.get(interface).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_about_an_interface_has_its_packets() {
        let seen = Seen { packets: 7, refused: 2 };
        let all = SeenByInterface(["eth1", "lo"].map(|name| (name.to_owned(), seen)).into());
        let finding = |kind, object: &str| Finding {
            kind,
            object: object.to_owned(),
            meaning: String::new(),
            advice: String::new(),
            socket_filter_covers: true,
        };
        assert_eq!(all.of(&finding(Kind::Interface, "eth1")), Some(seen));
        assert_eq!(all.of(&finding(Kind::Loopback, "lo: 0.0.0.0:5432/tcp")), Some(seen));
        assert_eq!(all.of(&finding(Kind::Tunnel, "vx0")), Some(Seen::default()));
        assert_eq!(all.of(&finding(Kind::Dnat, "eth1")), None);
    }
}
