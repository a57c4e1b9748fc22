//! A store in which two databases claim one destination: that destination is closed, for any cause.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use super::agent::{Agent, config, settings};
use super::disk::Disk;
use super::faults::Fault;
use super::kernel::SharedKernel;
use super::packets::{Packets, to_claimed};
use super::writer::{Promises, Writer};
use crate::files::store::LastGoodStore;
use crate::host::clock::Moment;
use crate::sync::{Changes, Destination, Record, StoredFile};

/// Rule files, and those of their destinations that two of them claim.
type Case = ([(&'static str, &'static str); 3], &'static [&'static str]);

const CASES: [Case; 3] = [
    ([("a", "{port: 5004}"), ("b", "{port: 5004}"), ("c", "{port: 5009}")], &["*:5004"]),
    (
        [
            ("a", "{port: 5004}"),
            ("b", "{address: 192.0.2.1, port: 5004}"),
            ("c", "{address: 192.0.2.1, port: 5009}"),
        ],
        &["*:5004", "192.0.2.1:5004"],
    ),
    // The control: no two claim the same.
    (
        [
            ("a", "{address: 192.0.2.2, port: 5004}"),
            ("b", "{address: 192.0.2.1, port: 5004}"),
            ("c", "{port: 5009}"),
        ],
        &[],
    ),
];

#[test]
fn destination_claimed_by_two_stored_files_is_closed_after_every_start() {
    let now: Timestamp = "2026-09-01T12:00:00Z".parse().unwrap();
    for (files, contended) in CASES {
        let disk = Disk::new(Rng::with_seed(1));
        let mut changes = Changes::default();
        for (id, endpoint) in files {
            let text = format!(
                "schema_version: 1\ndatabase_id: {id}\nrevision: 1\ngenerated_at: {now}\nendpoints: [{endpoint}]\n\
                 rules: [{{id: r, type: custom_range, cidr: 203.0.113.9/32}}]\n...\n"
            );
            let path = PathBuf::from(format!("/nonexistent/{id}.yaml"));
            let file = StoredFile { path, signature: None, content: text.into_bytes().into() };
            changes.put(Record::File(id.parse().unwrap(), file));
        }
        LastGoodStore::new(disk.clone()).commit(&changes).unwrap();
        let kernel = SharedKernel::new(4, Rng::with_seed(2));
        let closed: Packets =
            to_claimed(&contended.iter().map(|text| text.parse::<Destination>().unwrap()).collect());
        let check = |what: &str| {
            let passed = kernel.judgement().passed & to_claimed(&["*:5004".parse().unwrap()].into());
            assert_eq!(passed & closed, 0, "{files:?}: {what}");
            assert_eq!(passed == 0, !contended.is_empty(), "{files:?}: {what}");
        };
        for start in ["boot", "restart"] {
            let moment = Moment { wall: now, uptime: Duration::from_secs(60), synchronised: true };
            let writer = |stored| {
                Writer::new(disk.clone(), Promises::default(), stored, Fault::None, Rng::with_seed(3))
            };
            let mut agent =
                Agent::start(&disk, kernel.clone(), settings(), &config(0), writer, moment).unwrap();
            agent.reconciler.reconcile(None, moment, &mut agent.reporter);
            check(start);
            if start == "boot" {
                agent.reconciler.forget(&"c".parse().unwrap(), false).unwrap();
                check("forget c");
            }
            assert_eq!(agent.reporter.conditions.incomplete().is_empty(), contended.is_empty(), "{start}");
        }
    }
}
