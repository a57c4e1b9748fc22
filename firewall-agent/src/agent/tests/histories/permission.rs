//! A permission of the overlay whose database has no accepted file: only a file could take its source from the kernel's
//! allow list.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::agent::{Agent, config, settings};
use super::disk::Disk;
use super::faults::Fault;
use super::kernel::SharedKernel;
use super::packets::from_anywhere;
use super::writer::{Promises, Writer};
use crate::files::scan::{ScannedFile, ScannedFiles};
use crate::files::store::LastGoodStore;
use crate::host::clock::Moment;
use crate::sync::{Changes, Expiry, Key, OverlayAction};

const SOURCE: &str = "203.0.113.9/32";

fn pushed(revision: u64, at: Timestamp) -> ScannedFiles {
    let text = format!(
        "schema_version: 1\ndatabase_id: a\nrevision: {revision}\ngenerated_at: {at}\nendpoints: [{{port: 5004}}]\n\
         rules: []\n...\n"
    );
    let file = ScannedFile { content: Ok(text.into_bytes().into()), signature: Ok(None), visible_at: at };
    ScannedFiles { rules: [(PathBuf::from("/nonexistent/a.yaml"), file)].into(), ..ScannedFiles::default() }
}

#[test]
fn permission_of_a_database_without_a_file_stays_listed_after_its_end() {
    // The control has its file: there the permission ends.
    for has_file in [false, true] {
        let (disk, kernel) = (Disk::new(Rng::with_seed(1)), SharedKernel::new(4, Rng::with_seed(2)));
        let begin: Timestamp = "2026-09-01T12:00:00Z".parse().unwrap();
        let after = |minutes: i64| {
            let uptime = Duration::from_secs(60 * (1 + minutes.unsigned_abs()));
            Moment { wall: begin + SignedDuration::from_mins(minutes), uptime, synchronised: true }
        };
        let start = |moment| {
            let writer = |stored| {
                Writer::new(disk.clone(), Promises::default(), stored, Fault::None, Rng::with_seed(3))
            };
            Agent::start(&disk, kernel.clone(), settings(), &config(0), writer, moment).unwrap()
        };
        let passes = || kernel.judgement().passed & kernel.judgement().at_endpoints;
        let allowed = from_anywhere(&SOURCE.parse().unwrap());

        let mut agent = start(after(0));
        agent.reconciler.reconcile(Some(&pushed(1, begin)), after(0), &mut agent.reporter);
        assert_eq!(passes(), 0, "no rule allows a source");
        let action = OverlayAction::Allow { source: SOURCE.parse().unwrap(), database: "a".parse().unwrap() };
        let expiry = Expiry::After { seconds: 600 };
        agent.reconciler.add_overlay(action.clone(), expiry, String::new()).unwrap();
        assert!(passes() != 0 && passes() & !allowed == 0, "the permission alone");
        drop(agent);

        if !has_file {
            let mut lost = Changes::default();
            lost.remove(Key::File("a".parse().unwrap()));
            LastGoodStore::new(disk.clone()).commit(&lost).unwrap();
        }
        let mut agent = start(after(20));
        agent.reconciler.reconcile(None, after(20), &mut agent.reporter);
        let overlay = agent.reconciler.persisted.overlay();
        let listed: Vec<_> =
            overlay.entries().map(|entry| (entry.id.clone(), entry.action.clone())).collect();
        assert_eq!(passes() == 0, has_file);
        if has_file {
            assert!(listed.is_empty(), "{listed:?}");
            continue;
        }
        assert_eq!(listed.iter().map(|(_, action)| action).collect::<Vec<_>>(), [&action]);
        let id = listed[0].0.clone();
        let refused = agent.reconciler.drop_overlay(std::slice::from_ref(&id)).unwrap_err().to_string();
        let named = format!("overlay entry {id}: {SOURCE} stays allowed: database a has no accepted file");
        assert!(refused.starts_with(&named), "{refused}");
        assert_eq!(agent.reconciler.persisted.overlay().len(), 1, "{refused}, and dropped");

        agent.reconciler.reconcile(Some(&pushed(2, after(20).wall)), after(20), &mut agent.reporter);
        assert_eq!((passes(), agent.reconciler.persisted.overlay().len()), (0, 0), "the next file ends it");
    }
}
