//! The Debian releases to boot, and the network set-up of each guest.

/// A Debian release. The guests differ so that both common ways to configure a network are booted.
#[derive(Debug)]
pub struct Release {
    pub name: &'static str,
    pub title: &'static str,
    /// Packages of the guest besides the common ones.
    pub packages: &'static [&'static str],
    /// `interfaces` in the agent's configuration.
    pub interfaces: &'static str,
    /// The unit that configures the network.
    pub networking: &'static str,
    /// Files of the network's configuration: path in the guest, content.
    pub files: &'static [(&'static str, &'static str)],
    /// Links in the guest: path, destination.
    pub links: &'static [(&'static str, &'static str)],
}

pub const RELEASES: &[Release] = &[
    Release {
        name: "bookworm",
        title: "Debian 12 (bookworm)",
        packages: &["ifupdown"],
        interfaces: "[db0]",
        networking: "networking.service",
        files: &[
            ("etc/systemd/network/10-db0.link", "[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=db0\n"),
            (
                "etc/network/interfaces",
                "auto lo\niface lo inet loopback\nauto db0\nallow-hotplug db0\niface db0 inet static\n    address 192.0.2.10/24\n",
            ),
        ],
        links: &[],
    },
    Release {
        name: "trixie",
        title: "Debian 13 (trixie)",
        packages: &[],
        interfaces: "[\"en*\"]",
        networking: "systemd-networkd.service",
        files: &[(
            "etc/systemd/network/20-wired.network",
            "[Match]\nName=en*\n[Network]\nAddress=192.0.2.10/24\n",
        )],
        links: &[(
            "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            "/usr/lib/systemd/system/systemd-networkd.service",
        )],
    },
];

impl Release {
    /// Returns the releases of these names; all if `names` is empty.
    pub fn chosen(names: &[String]) -> impl Iterator<Item = &'static Self> {
        RELEASES
            .iter()
            .filter(move |release| names.is_empty() || names.iter().any(|name| name == release.name))
    }
}

/// Returns the names for the command line.
pub fn names() -> Vec<&'static str> {
    RELEASES.iter().map(|release| release.name).collect()
}
