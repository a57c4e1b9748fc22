//! A fleet in one process: many hosts that run the real loop over kernels in memory, one control plane, and between
//! them everything that may become of a push. Thousands of random histories, each from its own seed.
//!
//! `FLEET_SEED=N` runs the one history of that seed, `FLEET_HISTORIES=N` so many instead of the usual number.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

mod channel;
mod fault;
mod machine;
mod oracle;
mod provider;
mod site;

use self::fault::Fault;
use self::oracle::nets;
use self::provider::Provider;
use self::site::{Site, Tally};

/// Steps of one history.
const STEPS: usize = 30;
const HISTORIES: u64 = 2000;
/// Looks within which a host catches up once nothing stands in its way: one, and one more when the first found what a
/// failed write had left.
const LOOKS: usize = 2;

struct History {
    rng: Rng,
    now: Timestamp,
    provider: Provider,
    sites: Vec<Site>,
    told: Vec<String>,
}

impl History {
    fn new(seed: u64, fault: Fault) -> Self {
        let mut rng = Rng::with_seed(seed);
        let now: Timestamp = "2026-09-01T12:00:00Z".parse().unwrap();
        let provider = Provider::new(rng.usize(1..=3));
        let rangeless = rng.bool();
        let sites = (0..rng.usize(1..=2)).map(|number| Site::new(number, now, rangeless, fault)).collect();
        Self { rng, now, provider, sites, told: Vec::new() }
    }

    fn run(&mut self) -> Result<()> {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.catch_up()
    }

    fn step(&mut self) -> Result<()> {
        self.now += SignedDuration::from_millis(self.rng.i64(1..600_000));
        let rng = &mut self.rng;
        let at = rng.usize(..self.sites.len());
        let site = &mut self.sites[at];
        let told = match rng.u8(0..16) {
            0..=2 => {
                let id = rng.choice(self.provider.ids()).unwrap();
                self.provider.change(&id, self.now, rng);
                let newest = self.provider.newest(&id);
                let text = &self.provider.issue(&id, newest).context("nothing issued")?.text;
                format!("{id} {newest} is issued:\n{}", String::from_utf8_lossy(text))
            }
            3 => {
                self.provider.skew = SignedDuration::from_secs(rng.i64(-7200..7200));
                self.provider.change_ranges(self.now, rng);
                format!("managed ranges {} are issued", self.provider.ranges.len())
            }
            4..=8 => site.channel.mishap(&self.provider, rng),
            9..=11 => site.mishap(self.now, &self.provider, rng).with_context(|| format!("host {at}"))?,
            _ => {
                site.look(self.now, &self.provider).with_context(|| format!("host {at} looks"))?;
                "looks".to_owned()
            }
        };
        self.told.push(format!("{} host {at}: {told}", self.now));
        Ok(())
    }

    /// Pushes get through again: every host has the newest revisions in force, and says so.
    fn catch_up(&mut self) -> Result<()> {
        self.provider.change_ranges(self.now, &mut self.rng);
        let mut digests = BTreeMap::new();
        for (at, site) in self.sites.iter_mut().enumerate() {
            site.mend();
            for id in self.provider.ids() {
                site.channel.push(&self.provider, &id, self.provider.newest(&id));
            }
            site.channel.push_ranges(&self.provider, self.provider.ranges.len() as u64);
            for _ in 0..LOOKS {
                self.now += SignedDuration::from_secs(10);
                site.look(self.now, &self.provider).with_context(|| format!("host {at} catches up"))?;
            }
            let status = site.status();
            let keeper = site.keeper.as_ref().context("no agent runs")?;
            ensure!(!keeper.unfinished, "host {at} is not finished");
            for id in self.provider.ids() {
                let newest = self.provider.newest(&id);
                let Some(issue) = self.provider.issue(&id, newest) else { continue };
                let databases = status["databases"].as_array().unwrap();
                let row = databases.iter().find(|row| row["database_id"] == id.as_str());
                let seen = row.map(|row| (row["state"].as_str().unwrap(), row["revision"].as_u64()));
                let expected = (!issue.removed).then_some(("applied", Some(newest)));
                ensure!(seen == expected, "host {at} tells of {id} {newest}: {row:?}");
                if let (Some(row), Some(slot)) = (row, keeper.host.live.slot(&id)) {
                    let nets = nets(&keeper.host.live.databases[&slot]);
                    let digest = digests.entry((id, nets)).or_insert_with(|| row["digest"].clone());
                    ensure!(*digest == row["digest"], "host {at}: another digest for the same rules");
                }
            }
        }
        Ok(())
    }
}

/// How the looks of a seed's history ended; or what went wrong, and how it came to that.
fn run(seed: u64, fault: Fault) -> Result<Tally, String> {
    let mut history = History::new(seed, fault);
    let done = history.run();
    done.map_err(|error| format!("FLEET_SEED={seed}\n{}\n{error:#}", history.told.join("\n")))?;
    Ok(history.sites.iter().fold(Tally::default(), |sum, site| sum + site.tally))
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

#[test]
fn no_host_goes_back_or_takes_what_was_not_issued_and_every_host_catches_up() {
    let (first, histories) = match from_environment("FLEET_SEED") {
        Some(seed) => (seed, 1),
        None => (fastrand::u64(..1 << 60), from_environment("FLEET_HISTORIES").unwrap_or(HISTORIES)),
    };
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            let mut seeds = (first..first + histories).filter(|seed| seed % 2 == half);
            seeds.try_fold(Tally::default(), |sum, seed| Ok::<_, String>(sum + run(seed, Fault::None)?))
        })
    });
    let [one, other] = halves.map(|half| half.join().unwrap());
    let sum = one.and_then(|one| Ok(one + other?)).unwrap_or_else(|wrong| panic!("{wrong}"));
    let enough = |looks: u32| u64::from(looks) >= histories / 4;
    assert!(histories == 1 || [sum.finished, sum.refused, sum.killed].into_iter().all(enough), "{sum:?}");
}

#[test]
fn a_loop_with_a_fault_is_found_out() {
    for fault in Fault::ALL {
        let found = (0..HISTORIES).position(|seed| run(seed, fault).is_err());
        assert!(found.is_some(), "{fault:?} was not noticed");
    }
}

/// Too rare a turn of events to be left to chance.
#[test]
fn what_could_not_be_stored_stays_in_force_over_a_restart_without_its_file() {
    let mut history = History::new(1, Fault::None);
    let (now, id) = (history.now, history.provider.ids().remove(0));
    while history.provider.databases[&id].iter().filter(|issue| !issue.removed).count() < 2 {
        history.provider.change(&id, now, &mut history.rng);
    }
    let mut site = history.sites.remove(0);
    let active = |provider: &Provider, revision: &u64| !provider.issue(&id, *revision).unwrap().removed;
    let revisions: Vec<u64> = (1..=history.provider.newest(&id)).collect();
    for revision in revisions.into_iter().filter(|revision| active(&history.provider, revision)) {
        site.channel.push(&history.provider, &id, revision);
        site.look(now, &history.provider).unwrap();
        // The first is stored, the second is not.
        site.fill_disk();
    }
    site.kill();
    site.channel.withdraw(&id);
    site.look(now, &history.provider).unwrap();
}
