//! Pushes at random, each followed until a packet shows its effect.

use std::collections::BTreeSet;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp, Unit};

use crate::expectations::{Pair, Verdict};
use crate::files::{DATABASES, Database, FRIENDS, LISTED, RANGED, REMOVABLE, SOURCES, ranges};
use crate::scene::Scene;
use crate::sockets::Sockets;

/// Longest pause between two pushes.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest time to the wire, however the host is disturbed.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time for which an expiring rule counts, before it is rounded up to a second.
const LASTS: SignedDuration = SignedDuration::from_secs(2);

/// Times to the wire, in seconds.
#[derive(Debug, Default)]
pub struct Times {
    /// Of pushes during which the host was undisturbed.
    pub undisturbed: Vec<f64>,
    /// Of pushes during a fault or the recovery from it.
    pub disturbed: Vec<f64>,
}

/// Figures of the pushes.
#[derive(Debug, Default)]
pub struct Pushed {
    /// A source more or less in one database.
    pub rules: Times,
    /// A source more or less in the managed range of all databases: until the last of them shows it.
    pub ranges: Times,
    /// A database that is removed or comes back: until its last source shows it.
    pub databases: Times,
    /// From the end of a rule to the first refused packet.
    pub expiries: Times,
}

impl Pushed {
    /// Returns the kinds of pushes with their times.
    pub fn kinds(&self) -> [(&'static str, &Times); 4] {
        [
            ("rule of one database", &self.rules),
            ("managed range, until the last of all databases shows it", &self.ranges),
            ("database removed or back", &self.databases),
            ("end of a rule, from its time", &self.expiries),
        ]
    }

    /// Returns the times of the pushes during which the host was undisturbed, in seconds.
    pub fn undisturbed(&self) -> Vec<(&'static str, Vec<f64>)> {
        self.kinds().map(|(kind, times)| (kind, times.undisturbed.clone())).to_vec()
    }
}

pub struct Pusher<'a> {
    scene: &'a Scene,
    sockets: &'a Sockets,
    random: Rng,
    databases: Vec<Database>,
    ranged: BTreeSet<usize>,
    ranges_revision: u64,
    figures: Pushed,
}

impl<'a> Pusher<'a> {
    pub fn new(scene: &'a Scene, sockets: &'a Sockets, seed: u64) -> Self {
        Self {
            scene,
            sockets,
            random: Rng::with_seed(seed ^ 1),
            databases: (0..DATABASES).map(Database::new).collect(),
            ranged: BTreeSet::new(),
            ranges_revision: 1,
            figures: Pushed::default(),
        }
    }

    pub fn into_figures(self) -> Pushed {
        self.figures
    }

    pub fn summary(&self) -> String {
        let Pushed { rules, ranges, databases, expiries } = &self.figures;
        let count = |times: &Times| times.undisturbed.len() + times.disturbed.len();
        let [rules, ranges, databases, expiries] = [rules, ranges, databases, expiries].map(count);
        format!("{rules} rules, {ranges} ranges, {databases} databases, {expiries} expiries")
    }

    /// Writes the first files.
    pub fn write_first(&mut self) -> Result<()> {
        self.scene.write_first(&mut self.databases)
    }

    /// Waits until every friend gets in.
    pub fn open_all(&mut self) -> Result<()> {
        let since = Instant::now();
        for pair in pairs(FRIENDS, 0..DATABASES) {
            self.until(pair, true, since)?;
            self.scene.expectations.set(pair, Verdict::Allowed);
        }
        Ok(())
    }

    /// Makes one random push and follows it.
    pub fn act(&mut self) -> Result<()> {
        sleep(PAUSE.mul_f64(self.random.f64()));
        match self.random.u32(..100) {
            0..3 => self.remove_or_return(),
            3..6 => self.expire(),
            6..12 => self.change_ranges(),
            _ => self.change_rule(),
        }
    }

    fn change_rule(&mut self) -> Result<()> {
        let Some(number) = self.live() else { return Ok(()) };
        let source = self.random.usize(LISTED);
        let database = &mut self.databases[number];
        database.expiring = None;
        let is_listed = !database.listed.remove(&source) && database.listed.insert(source);
        let pairs = [Pair { source, database: number }];
        let (time, is_disturbed) = self.publish(&pairs, is_listed, &[number])?;
        self.figures.rules.add(time, is_disturbed);
        Ok(())
    }

    fn change_ranges(&mut self) -> Result<()> {
        let source = self.random.usize(RANGED);
        let is_listed = !self.ranged.remove(&source) && self.ranged.insert(source);
        let live: Vec<usize> = (0..DATABASES).filter(|one| !self.databases[*one].is_removed).collect();
        let pairs: Vec<Pair> = live.into_iter().map(|database| Pair { source, database }).collect();
        let (time, is_disturbed) = self.publish(&pairs, is_listed, &[])?;
        self.figures.ranges.add(time, is_disturbed);
        Ok(())
    }

    fn remove_or_return(&mut self) -> Result<()> {
        let number = self.random.usize(REMOVABLE);
        let database = &mut self.databases[number];
        let allowed = |database: &Database, ranged: &BTreeSet<usize>| -> Vec<Pair> {
            let sources = (0..SOURCES).filter(|source| database.allows(*source, ranged));
            sources.map(|source| Pair { source, database: number }).collect()
        };
        let before = allowed(database, &self.ranged);
        database.is_removed = !database.is_removed;
        database.expiring = None;
        let after = allowed(database, &self.ranged);
        let is_allowed = !after.is_empty();
        let changed = if is_allowed { after } else { before };
        let (time, is_disturbed) = self.publish(&changed, is_allowed, &[number])?;
        self.figures.databases.add(time, is_disturbed);
        Ok(())
    }

    /// Allows a source for seconds, and follows the end of its rule.
    fn expire(&mut self) -> Result<()> {
        let Some(number) = self.live() else { return Ok(()) };
        let source = self.random.usize(LISTED);
        if self.databases[number].listed.contains(&source) {
            return Ok(());
        }
        let until = (Timestamp::now() + LASTS).round(Unit::Second)?;
        let database = &mut self.databases[number];
        database.listed.insert(source);
        database.expiring = Some((source, until));
        let before = self.scene.fault();
        let pair = Pair { source, database: number };
        self.scene.expectations.set(pair, Verdict::Changing);
        self.scene.home.push(&database.next_file())?;
        // On a disturbed host the rule may end before it is in force.
        sleep(until.duration_since(Timestamp::now()).try_into().unwrap_or_default());
        let (ended, late) = (Instant::now(), Timestamp::now().duration_since(until).as_secs_f64());
        let time = self.until(pair, false, ended)?.as_secs_f64() + late;
        self.scene.expectations.set(pair, Verdict::Denied);
        let database = &mut self.databases[number];
        database.listed.remove(&source);
        let is_disturbed = before != self.scene.fault() || before % 2 == 1;
        self.figures.expiries.add(time, is_disturbed);
        Ok(())
    }

    /// Writes the files of these databases, or the ranges, and waits until every pair has the verdict; returns the time
    /// from before the first write in seconds, and whether the host was disturbed.
    fn publish(&mut self, pairs: &[Pair], is_allowed: bool, databases: &[usize]) -> Result<(f64, bool)> {
        pairs.iter().for_each(|pair| self.scene.expectations.set(*pair, Verdict::Changing));
        let before = self.scene.fault();
        let since = Instant::now();
        for number in databases {
            self.scene.home.push(&self.databases[*number].next_file())?;
        }
        if databases.is_empty() {
            self.ranges_revision += 1;
            self.scene.home.write_ranges(&ranges(self.ranges_revision, &self.ranged).to_string())?;
        }
        let mut time = Duration::ZERO;
        for pair in pairs {
            time = time.max(self.until(*pair, is_allowed, since)?);
            let verdict = if is_allowed { Verdict::Allowed } else { Verdict::Denied };
            self.scene.expectations.set(*pair, verdict);
        }
        let is_disturbed = before != self.scene.fault() || before % 2 == 1;
        Ok((time.as_secs_f64(), is_disturbed))
    }

    /// Asks until the verdict is as expected twice in succession; returns the time from `since` to before the first of
    /// the two.
    fn until(&self, pair: Pair, is_allowed: bool, since: Instant) -> Result<Duration> {
        let mut first = None;
        loop {
            let asked = since.elapsed();
            match self.sockets.passes_filter(pair) {
                Some(passes) if passes == is_allowed => match first {
                    Some(first) => return Ok(first),
                    None => first = Some(asked),
                },
                _ => {
                    first = None;
                    sleep(Duration::from_micros(200));
                }
            }
            if asked > PATIENCE {
                bail!("{pair:?}: not {is_allowed} within {} s", PATIENCE.as_secs());
            }
        }
    }

    /// Asks once for every pair; returns the number of verdicts that differ from the files.
    pub fn differing(&self) -> Result<usize> {
        let mut differing = 0;
        for pair in pairs(0..SOURCES, 0..DATABASES) {
            let allows = self.databases[pair.database].allows(pair.source, &self.ranged);
            let passes = self.sockets.passes_filter(pair);
            ensure!(passes.is_some(), "{pair:?}: the link is down");
            differing += usize::from(passes != Some(allows));
        }
        Ok(differing)
    }

    /// Returns a random database that is not removed.
    fn live(&mut self) -> Option<usize> {
        let number = self.random.usize(..DATABASES);
        (!self.databases[number].is_removed).then_some(number)
    }
}

impl Times {
    fn add(&mut self, time: f64, is_disturbed: bool) {
        if is_disturbed { &mut self.disturbed } else { &mut self.undisturbed }.push(time);
    }
}

fn pairs(sources: Range<usize>, databases: Range<usize>) -> impl Iterator<Item = Pair> {
    databases.flat_map(move |database| sources.clone().map(move |source| Pair { source, database }))
}
