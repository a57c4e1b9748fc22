//! Questions of `explain`: one packet for each matching endpoint.

use std::net::IpAddr;

use crate::cli::BadInput;
use crate::cli::known_databases::KnownDatabases;
use crate::rules::DatabaseId;
use crate::sync::{Destination, Live, Question};

/// Destination argument.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Every endpoint in force.
    All,
    Database(DatabaseId),
    Destination(Destination),
}

/// Parses the arguments.
///
/// # Errors
/// The problem with them, quoting them.
pub(super) fn read(
    source: &str,
    target: Option<&str>,
    known: &KnownDatabases,
) -> Result<(IpAddr, Target), BadInput> {
    let source: IpAddr =
        source.parse().map_err(|_| BadInput(format!("source {source:?}: not an IPv4 or IPv6 address")))?;
    refuse_mapped("source", source)?;
    let Some(text) = target else { return Ok((source, Target::All)) };
    let destination = text.parse().ok().filter(|parsed: &Destination| parsed.address.is_some());
    let Some(destination) = destination else {
        return Ok((source, Target::Database(known.find(text)?.clone())));
    };
    if let Some(address) = destination.address {
        refuse_mapped("target", address)?;
        if address.is_ipv4() != source.is_ipv4() {
            let message = format!("source {source} and target {destination}: not of the same address family");
            return Err(BadInput(message));
        }
    }
    Ok((source, Target::Destination(destination)))
}

/// Packets that the target means: to each endpoint of a database in the address family of the source; where it has no
/// endpoint, to each destination that it claimed.
pub(super) fn questions(
    source: IpAddr,
    target: &Target,
    live: &Live,
    claims: impl Fn(&DatabaseId) -> Vec<Destination>,
) -> Vec<Question> {
    let destinations: Vec<Destination> = match target {
        Target::All => live.table.endpoints.open().keys().copied().collect(),
        Target::Destination(destination) => vec![*destination],
        Target::Database(id) => {
            let slot = live.slot(id);
            let open = slot.into_iter().flat_map(|slot| live.endpoints_of(slot));
            let open: Vec<Destination> = open.map(|endpoint| endpoint.destination).collect();
            if open.is_empty() { claims(id) } else { open }
        }
    };
    destinations.into_iter().filter_map(|to| Question::new(source, to, live)).collect()
}

/// Refuses IPv4-mapped addresses. Sockets show an IPv4 peer as `::ffff:a.b.c.d`; packets never have it, and the answer
/// would be about another peer.
fn refuse_mapped(what: &str, address: IpAddr) -> Result<(), BadInput> {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(Ok(()), |v4| {
            let message = format!("{what} {v6}: IPv4-mapped IPv6 address, which no packet has: use {v4}");
            Err(BadInput(message))
        }),
        IpAddr::V4(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_mapped_address_is_refused_and_the_ipv4_form_named() {
        let known = KnownDatabases::default();
        for (source, target, expected) in [
            ("::ffff:10.77.0.3", "10.77.0.1:5432", "source ::ffff:10.77.0.3: "),
            ("::ffff:a4d:3", "[2001:db8::1]:5432", "source ::ffff:10.77.0.3: "),
            ("2001:db8::3", "[::ffff:10.77.0.3]:5432", "target ::ffff:10.77.0.3: "),
        ] {
            let refused = read(source, Some(target), &known).unwrap_err().0;
            assert!(refused.starts_with(expected) && refused.ends_with("use 10.77.0.3"), "{refused}");
        }
        // The controls: the IPv4 form, and an IPv6 address.
        for (source, target) in [("10.77.0.3", "10.77.0.1:5432"), ("2001:db8::3", "[2001:db8::1]:5432")] {
            assert!(read(source, Some(target), &known).is_ok(), "{source}");
        }
    }
}
