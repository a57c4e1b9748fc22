//! The `endpoints` of a rule file.

use std::num::NonZeroU16;

use super::{Endpoint, Protocol};
use crate::rules::network::endpoint_address;
use crate::rules::shape::{Fields, Item, Report, decimal, label};

const FIELDS: [&str; 4] = ["type", "address", "port", "protocol"];

pub(super) fn read_endpoints(list: &Item<'_, '_>, report: &mut Report) -> Vec<Endpoint> {
    let mut taken: Vec<(Endpoint, String)> = Vec::new();
    for item in list.list(report) {
        let Some(endpoint) = endpoint(&item, report) else { continue };
        if let Some((other, path)) = taken.iter().find(|(other, _)| other.overlaps(&endpoint)) {
            let message = if other.address == endpoint.address {
                format!("endpoint {endpoint}: already claimed by {path}")
            } else {
                format!(
                    "endpoint {endpoint}: overlaps {path}, {other}: without `address` it claims every address"
                )
            };
            report.refuse(item.place(), item.path(), message);
        }
        taken.push((endpoint, item.path().to_owned()));
    }
    taken.into_iter().map(|(endpoint, _)| endpoint).collect()
}

fn endpoint(item: &Item<'_, '_>, report: &mut Report) -> Option<Endpoint> {
    let fields = Fields::open(item, &FIELDS, report)?;
    let kind = fields.optional("type").and_then(|item| item.text(report, label));
    let address = match fields.optional("address") {
        Some(item) => item.text(report, endpoint_address).map(Some),
        None => Some(None),
    };
    let port =
        fields.required("port", report).and_then(|item| item.plain(report, decimal(1..=u64::from(u16::MAX))));
    let protocol = match fields.optional("protocol") {
        Some(item) => item.text(report, protocol),
        None => Some(Protocol::default()),
    };
    Some(Endpoint { kind, address: address?, port: NonZeroU16::new(port?)?, protocol: protocol? })
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err("must be tcp or udp".to_owned()),
    }
}
