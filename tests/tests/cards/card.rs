//! The card under test.

use firewall_tests::lab::{Builder, INTERFACE, TestHost};

/// Names a card of the machine: the mode that `xdp_mode: auto` chooses for it, its MAC address, that of the card at the
/// other end of its wire, and `unreliable` if the agent refuses native mode on its driver, or `forgets` if moreover the
/// driver of this kernel stops running its program when the MTU changes.
const VARIABLE: &str = "FIREWALL_CARD";

#[derive(Debug)]
pub enum Card {
    Veth,
    /// A device of the network stack, on a veth.
    Macvlan,
    Machine {
        mode: String,
        macs: [[u8; 6]; 2],
        is_unreliable: bool,
        forgets: bool,
    },
}

impl Card {
    /// Returns the card of the machine that the environment names; without one, those that every machine can make.
    pub fn all() -> Vec<Self> {
        match std::env::var(VARIABLE) {
            Ok(text) => vec![Self::machine(&text).unwrap_or_else(|| panic!("{VARIABLE}: {text:?}"))],
            Err(_) => vec![Self::Veth, Self::Macvlan],
        }
    }

    fn machine(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mode = words.next()?.to_owned();
        let macs = [mac(words.next()?)?, mac(words.next()?)?];
        let defect = words.next();
        let forgets = defect == Some("forgets");
        Some(Self::Machine { mode, macs, is_unreliable: forgets || defect == Some("unreliable"), forgets })
    }

    /// Returns the agent's reason for which it refuses native mode.
    pub fn refusal(&self) -> &[&str] {
        match matches!(self, Self::Machine { is_unreliable: true, .. }) {
            true => &["is not reliable there", "stops running the program when the MTU changes"],
            false => {
                &["nderlying driver does not support XDP in native mode", "`xdp_mode: auto`", "os error 95"]
            }
        }
    }

    /// Returns the mode that `xdp_mode: auto` chooses.
    pub fn mode(&self) -> &str {
        match self {
            Self::Veth => "native",
            Self::Macvlan => "generic",
            Self::Machine { mode, .. } => mode,
        }
    }

    /// Returns whether the driver stops running its program in native mode when the MTU changes, although the program
    /// stays attached.
    pub fn forgets(&self) -> bool {
        matches!(self, Self::Machine { forgets: true, .. })
    }

    /// Builds two hosts whose link is this card on the database host.
    pub fn plug(&self, builder: Builder<'_>) -> TestHost {
        let host = builder.unlinked().build();
        match self {
            Self::Veth => host.link(INTERFACE),
            Self::Macvlan => {
                // The veth is on a host of its own: on the database host it would answer for the macvlan's addresses.
                let wire = host.lab.host("wire").unwrap();
                for line in [
                    format!("ip link add lower0 up type veth peer name {INTERFACE} netns outside"),
                    format!("ip link add {INTERFACE} link lower0 netns db type macvlan"),
                ] {
                    wire.run(&line).unwrap();
                }
                host.bring_up(INTERFACE);
            }
            Self::Machine { macs, .. } => host.plug(INTERFACE, *macs),
        }
        host
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}
