//! Guarded ports and their kinds.

use std::fmt;

use super::ports::Ports;
use crate::config::GuardedPorts;

/// The guarded ports, each closed to every packet or to new connections only. Where nothing claims a destination at a
/// port that is closed to new connections only, TCP packets that cannot open a connection pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// No port is in both sets.
    strict: Ports,
    new_connections: Ports,
}

impl Guards {
    /// A port in both sets is closed to every packet.
    #[must_use]
    pub fn new(strict: Ports, new_connections: &Ports) -> Self {
        Self { new_connections: new_connections.without(&strict), strict }
    }

    /// The guards of marked ports; a port without the mark of a guard has none.
    #[must_use]
    pub fn from_marks(guarded: &Ports, new_connections: &Ports) -> Self {
        let strict = guarded.without(new_connections);
        Self { new_connections: guarded.without(&strict), strict }
    }

    /// Ports closed to every packet.
    #[must_use]
    pub fn strict(&self) -> &Ports {
        &self.strict
    }

    /// Ports closed to new connections only.
    #[must_use]
    pub fn new_connections(&self) -> &Ports {
        &self.new_connections
    }

    /// All guarded ports.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.strict.union(&self.new_connections)
    }

    /// Returns `true` if the port is guarded.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.strict.contains(port) || self.new_connections.contains(port)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.strict.is_empty() && self.new_connections.is_empty()
    }

    /// Number of guarded ports.
    #[must_use]
    pub fn len(&self) -> usize {
        self.strict.len() + self.new_connections.len()
    }

    /// Each port as the stricter of both guards it.
    #[must_use]
    pub fn stricter(&self, other: &Self) -> Self {
        Self::new(self.strict.union(&other.strict), &self.new_connections.union(&other.new_connections))
    }
}

impl From<&GuardedPorts> for Guards {
    fn from(ports: &GuardedPorts) -> Self {
        Self::new(ports.strict().collect(), &ports.new_connections().collect())
    }
}

/// Formats as in the configuration file.
impl fmt::Display for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = |ports: &Ports| ports.iter().map(|port| port..=port).collect::<Vec<_>>();
        GuardedPorts::new(ranges(&self.strict), ranges(&self.new_connections)).fmt(f)
    }
}

/// Ports closed to every packet.
impl From<Ports> for Guards {
    fn from(strict: Ports) -> Self {
        Self { strict, new_connections: Ports::new() }
    }
}

/// Ports closed to every packet.
impl<const N: usize> From<[u16; N]> for Guards {
    fn from(ports: [u16; N]) -> Self {
        Ports::from(ports).into()
    }
}

/// Ports closed to every packet.
impl FromIterator<u16> for Guards {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        Ports::from_iter(ports).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_guarded_as_the_stricter_of_two_guards_says() {
        let guards = |strict: &[u16], new_connections: &[u16]| {
            let ports = |ports: &[u16]| ports.iter().copied().collect::<Ports>();
            Guards::new(ports(strict), &ports(new_connections))
        };
        let one = guards(&[1, 2, 3], &[3, 4, 5]);
        assert_eq!(one, guards(&[1, 2, 3], &[4, 5]), "strict wins");
        let both = one.stricter(&guards(&[4, 6], &[1, 5, 7]));
        assert_eq!(both, guards(&[1, 2, 3, 4, 6], &[5, 7]));
        assert!(both.ports() == Ports::from([1, 2, 3, 4, 5, 6, 7]) && both.len() == 7);
        assert!((0..9).all(|port| both.contains(port) == both.ports().contains(port)));
        assert_eq!(
            Guards::from_marks(&both.ports(), &Ports::from([5, 7, 8])),
            both,
            "an unguarded port has no kind"
        );
        let text = "[1-4, {ports: 5, new_connections_only: true}, 6, {ports: 7, new_connections_only: true}]";
        assert_eq!(both.to_string(), text);
        assert_eq!(Guards::from(&text.parse::<GuardedPorts>().unwrap()), both);
        assert!(!both.is_empty() && !guards(&[], &[1]).is_empty() && Guards::default().is_empty());
    }
}
