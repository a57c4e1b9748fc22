//! Questions of `explain`: one packet for each matching endpoint.

use std::net::IpAddr;

use crate::cli::known_databases::KnownDatabases;
use crate::rules::DatabaseId;
use crate::sync::{Destination, Live, Question};

/// Parses the arguments.
///
/// # Errors
/// The problem with them, quoting them.
pub(super) fn read(source: &str, target: &str, live: &Live) -> Result<Vec<Question>, String> {
    let source: IpAddr =
        source.parse().map_err(|_| format!("source {source:?}: not an IPv4 or IPv6 address"))?;
    refuse_mapped("source", source)?;
    let destination = target.parse().ok().filter(|parsed: &Destination| parsed.address.is_some());
    let Some(destination) = destination else {
        let known = KnownDatabases::live(live);
        return of_database(source, known.find(target).map_err(|error| error.0)?, live);
    };
    destination.address.map_or(Ok(()), |address| refuse_mapped("target", address))?;
    let question = Question::new(source, destination, live)
        .ok_or_else(|| format!("source {source} and target {destination}: not of the same address family"))?;
    Ok(vec![question])
}

fn of_database(source: IpAddr, id: &DatabaseId, live: &Live) -> Result<Vec<Question>, String> {
    let destinations = live.slot(id).into_iter().flat_map(|slot| live.endpoints_of(slot));
    let questions: Vec<Question> =
        destinations.filter_map(|endpoint| Question::new(source, endpoint.destination, live)).collect();
    if questions.is_empty() {
        return Err(format!("database {id}: no endpoint in the address family of source {source}"));
    }
    Ok(questions)
}

/// Refuses IPv4-mapped addresses. Sockets show an IPv4 peer as `::ffff:a.b.c.d`; packets never have it, and the answer
/// would be about another peer.
fn refuse_mapped(what: &str, address: IpAddr) -> Result<(), String> {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(Ok(()), |v4| {
            Err(format!("{what} {v6}: IPv4-mapped IPv6 address, which no packet has: use {v4}"))
        }),
        IpAddr::V4(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_mapped_address_is_refused_and_the_ipv4_form_named() {
        let live = Live::default();
        for (source, target, expected) in [
            ("::ffff:10.77.0.3", "10.77.0.1:5432", "source ::ffff:10.77.0.3: "),
            ("::ffff:a4d:3", "[2001:db8::1]:5432", "source ::ffff:10.77.0.3: "),
            ("2001:db8::3", "[::ffff:10.77.0.3]:5432", "target ::ffff:10.77.0.3: "),
        ] {
            let refused = read(source, target, &live).unwrap_err();
            assert!(refused.starts_with(expected) && refused.ends_with("use 10.77.0.3"), "{refused}");
        }
        // The controls: the IPv4 form, and an IPv6 address.
        for (source, target) in [("10.77.0.3", "10.77.0.1:5432"), ("2001:db8::3", "[2001:db8::1]:5432")] {
            assert!(read(source, target, &live).is_ok(), "{source}");
        }
    }
}
