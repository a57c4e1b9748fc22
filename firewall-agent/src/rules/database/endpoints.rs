//! Parser of `endpoints` of a rule file.

use std::num::NonZeroU16;

use super::{Endpoint, Protocol};
use crate::rules::network::endpoint_address;
use crate::rules::parser::{Field, Fields, Item, Kind, Report, Requirement, Shape, choice, choices, label};

const PROTOCOLS: [(&str, Protocol); 2] = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

pub(super) static ENDPOINT: Shape = Shape {
    fields: &[
        Field::new("type", Requirement::Optional, Kind::Label, ""),
        Field::new(
            "address",
            Requirement::Optional,
            Kind::Address,
            "Left out: every destination address of the host",
        ),
        Field::new("port", Requirement::Required, Kind::Number(1..=u16::MAX as u64), ""),
        Field::new("protocol", Requirement::Optional, Kind::Choice(&choices(&PROTOCOLS)), ""),
    ],
};

pub(super) fn read_endpoints(list: &Item<'_, '_>, report: &mut Report) -> Vec<Endpoint> {
    let mut seen: Vec<(Endpoint, String)> = Vec::new();
    for item in list.list(report) {
        let Some(endpoint) = endpoint(&item, report) else { continue };
        if let Some((other, path)) = seen.iter().find(|(other, _)| other.overlaps(&endpoint)) {
            let message = if other.address == endpoint.address {
                format!("endpoint {endpoint}: already claimed by {path}")
            } else {
                format!(
                    "endpoint {endpoint}: overlaps {path}, {other}: without `address` it claims every address"
                )
            };
            report.refuse(item.position(), item.path(), message);
        }
        seen.push((endpoint, item.path().to_owned()));
    }
    seen.into_iter().map(|(endpoint, _)| endpoint).collect()
}

fn endpoint(item: &Item<'_, '_>, report: &mut Report) -> Option<Endpoint> {
    let fields = Fields::open(item, &ENDPOINT, report)?;
    let kind = fields.optional("type").and_then(|item| item.text(report, label));
    let address = match fields.optional("address") {
        Some(item) => item.text(report, endpoint_address).map(Some),
        None => Some(None),
    };
    let port = fields.number("port", report);
    let protocol = match fields.optional("protocol") {
        Some(item) => item.text(report, choice(&PROTOCOLS)),
        None => Some(Protocol::default()),
    };
    Some(Endpoint { kind, address: address?, port: NonZeroU16::new(port?)?, protocol: protocol? })
}
