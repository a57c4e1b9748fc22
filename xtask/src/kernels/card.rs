//! The network cards to test, each on a wire with a virtio card of the same guest.

/// A network card that QEMU emulates.
#[derive(Debug)]
pub struct Card {
    /// Name on the command line.
    pub name: &'static str,
    /// QEMU's device, with its properties.
    device: &'static str,
    /// The kernel module of the driver.
    pub module: &'static str,
    /// First kernel version whose driver has native XDP; `None` if no driver has.
    native_since: Option<(u32, u32)>,
    /// The driver stops running its program in native mode when the MTU changes, although the program stays attached:
    /// the agent refuses native mode on it.
    forgets: bool,
    wire: Wire,
}

/// The connection of a card and its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    /// QEMU's hub, which gives the card one queue; a card with queues of its own distributes the packets itself.
    Hub,
    /// A bridge of the host, from a tap with this number of queues.
    Bridge(u32),
}

/// A card in a guest.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    pub card: &'static Card,
    /// Makes names and addresses unique in the guest.
    index: usize,
}

pub const CARDS: &[Card] = &[
    Card {
        name: "virtio-net",
        // With two processors the driver uses two pairs of queues, and two more for XDP.
        device: "virtio-net-pci,mq=on,vectors=10",
        module: "virtio_net",
        native_since: Some((4, 10)),
        forgets: false,
        wire: Wire::Bridge(4),
    },
    Card {
        name: "vmxnet3",
        device: "vmxnet3",
        module: "vmxnet3",
        native_since: Some((6, 6)),
        forgets: true,
        wire: Wire::Hub,
    },
    Card {
        name: "igb",
        device: "igb",
        module: "igb",
        native_since: Some((5, 10)),
        forgets: false,
        wire: Wire::Hub,
    },
    Card {
        name: "e1000e",
        device: "e1000e",
        module: "e1000e",
        native_since: None,
        forgets: false,
        wire: Wire::Hub,
    },
];

impl Card {
    /// Returns the mode that `xdp_mode: auto` chooses on a kernel of this release, as `uname -r` prints it.
    fn mode(&self, release: &str) -> &'static str {
        match (self.native_since, version(release)) {
            (Some(since), Some(version)) if version >= since && !self.forgets => "native",
            _ => "generic",
        }
    }

    /// Returns the words for the tests on a driver that is not reliable.
    fn defect(&self, release: &str) -> &'static str {
        match (self.forgets, self.native_since, version(release)) {
            (false, ..) => "",
            (true, Some(since), Some(version)) if version >= since => " forgets",
            (true, ..) => " unreliable",
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl Slot {
    pub fn all(cards: &[&'static Card]) -> Vec<Self> {
        cards.iter().enumerate().map(|(index, card)| Self { card, index }).collect()
    }

    /// Returns the description of the card for the tests, on a kernel of this release.
    pub fn description(self, release: &str) -> String {
        format!("{} {} {}{}", self.card.mode(release), self.mac(), self.peer(), self.card.defect(release))
    }

    /// Returns the MAC address of the card.
    fn mac(self) -> String {
        format!("52:54:00:00:{:02x}:01", self.index)
    }

    /// Returns the MAC address of the card at the other end of the wire.
    fn peer(self) -> String {
        format!("52:54:00:00:{:02x}:02", self.index)
    }

    /// Returns QEMU's arguments for both cards.
    pub fn arguments(self) -> Vec<String> {
        let Self { index, card: Card { device, wire, .. } } = self;
        let [card, peer] = match wire {
            Wire::Hub => ["card", "peer"].map(|end| format!("hubport,id={end}{index},hubid={index}")),
            Wire::Bridge(queues) => [("card", *queues), ("peer", 1)].map(|(end, queues)| {
                let name = format!("{end}{index}");
                format!("tap,id={name},ifname={name},queues={queues},script=no,downscript=no")
            }),
        };
        let (mac, other) = (self.mac(), self.peer());
        [
            "-netdev".to_owned(),
            card,
            "-netdev".to_owned(),
            peer,
            "-device".to_owned(),
            format!("{device},netdev=card{index},mac={mac},romfile="),
            "-device".to_owned(),
            format!("virtio-net-pci,netdev=peer{index},mac={other},romfile="),
        ]
        .into()
    }

    /// Returns the shell commands that make the wire on the host, in the network namespace of QEMU.
    pub fn wiring(self) -> String {
        let Self { index, card } = self;
        match card.wire {
            Wire::Hub => String::new(),
            Wire::Bridge(_) => format!(
                "ip link add hub{index} up type bridge mcast_snooping 0\n\
                 ip tuntap add card{index} mode tap vnet_hdr multi_queue\n\
                 ip tuntap add peer{index} mode tap vnet_hdr\n\
                 ip link set card{index} up master hub{index}\n\
                 ip link set peer{index} up master hub{index}\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_follows_the_version_of_the_kernel() {
        let mode = |name: &str, release: &str| {
            CARDS.iter().find(|card| card.name == name).map(|card| card.mode(release))
        };
        assert_eq!(mode("vmxnet3", "6.12.117+deb13-rt-amd64"), Some("generic"));
        let defect =
            |release: &str| CARDS.iter().find(|card| card.name == "vmxnet3").map(|card| card.defect(release));
        assert_eq!(defect("6.1.0-50-amd64"), Some(" unreliable"));
        assert_eq!(defect("6.12.117+deb13-rt-amd64"), Some(" forgets"));
        assert_eq!(mode("igb", "6.1.0-50-rt-amd64"), Some("native"));
        assert_eq!(mode("e1000e", "7.2.13+deb14-amd64"), Some("generic"));
    }
}
