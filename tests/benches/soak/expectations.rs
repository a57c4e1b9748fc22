//! Expected verdict of every pair of source and database.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::files::{DATABASES, SOURCES};

/// A source and a database, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub source: usize,
    pub database: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Denied,
    Allowed,
    /// A file that changes the verdict is visible, and no packet has shown the new verdict yet.
    Changing,
}

/// A verdict, and the number of changes before it: two equal values mean that nothing changed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    pub verdict: Verdict,
    changes: u64,
}

/// The verdicts that the files in force demand; shared by the thread that pushes and those that judge.
pub struct Expectations(Vec<AtomicU64>);

impl Expectations {
    /// Everything is denied.
    pub fn new() -> Self {
        Self((0..SOURCES * DATABASES).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn get(&self, pair: Pair) -> Expectation {
        let word = self.word(pair).load(Ordering::SeqCst);
        let verdict = match word & 3 {
            0 => Verdict::Denied,
            1 => Verdict::Allowed,
            _ => Verdict::Changing,
        };
        Expectation { verdict, changes: word >> 2 }
    }

    /// Only the thread that pushes may call this.
    pub fn set(&self, pair: Pair, verdict: Verdict) {
        let changes = self.get(pair).changes + 1;
        self.word(pair).store(changes << 2 | verdict as u64, Ordering::SeqCst);
    }

    fn word(&self, pair: Pair) -> &AtomicU64 {
        &self.0[pair.database * SOURCES + pair.source]
    }
}
