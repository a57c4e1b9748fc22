//! The clock of one host: built from the stored mark and the accepted files, lowered on an operator's command.

use anyhow::{Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::read_back::ReadBack;
use super::reconcile::Reconciler;
use crate::host::clock::Moment;
use crate::status::{Condition, Conditions};
use crate::sync::{AcceptedFiles, Changes, Clock, PersistedState, StateStore};

/// The clock of an agent that starts at this moment.
#[must_use]
pub fn clock_at(accepted: &AcceptedFiles, persisted: &PersistedState, moment: Moment) -> Clock {
    let mut clock = Clock::new(moment.wall, moment.synchronised, persisted.clock_mark());
    accepted.generated_at().for_each(|generated_at| clock.confirm(generated_at));
    clock.tick(moment.wall, SignedDuration::ZERO, moment.synchronised);
    clock
}

/// Updates the clock conditions. Their messages omit the times, and therefore change only with the condition.
pub(super) fn set_conditions(clock: &Clock, synchronised: bool, conditions: &mut Conditions) {
    let untrusted = clock.untrusted_wall().map(|_| {
        "clock untrusted: the wall clock is more than an hour ahead of the expected time and not synchronised; \
         expiry continues from the mark until the clock is synchronised or a file generated at that time is \
         accepted"
    });
    let ahead = clock.ahead().map(|_| match synchronised {
        true => {
            "clock ahead: the mark is ahead of the synchronised wall clock; rules that expire before the \
             mark stay expired; `firewall-agent clock` shows the mark, `clock --lower` sets it back"
        }
        false => {
            "clock ahead: the wall clock is more than an hour behind the mark and not synchronised; expiry \
             continues from the mark; if the mark is wrong, `firewall-agent clock --lower --to TIME` sets it \
             back"
        }
    });
    conditions.set(Condition::ClockUntrusted, untrusted.map(ToOwned::to_owned));
    conditions.set(Condition::ClockAhead, ahead.map(ToOwned::to_owned));
}

impl<D: ReadBack, S: StateStore> Reconciler<D, S> {
    /// Lowers the mark to `to`, or to the synchronised wall clock, and stores it.
    ///
    /// # Errors
    /// The clock cannot be read, there is nothing to lower, the time is implausible, or the mark cannot be stored.
    pub fn lower_clock(&mut self, to: Option<Timestamp>) -> Result<String> {
        let moment = Moment::now()?;
        self.tick(moment);
        let before = self.clock.now();
        let to = self.clock.lowest(moment.wall, moment.synchronised, to).map_err(|error| anyhow!(error))?;
        self.clock.lower(to);
        let mut changes = Changes::default();
        self.persisted.set_clock_mark(to, &mut changes);
        self.store.submit(changes);
        self.force();
        self.flush()?;
        warn!(from = %before, %to, "clock mark lowered, rules that expire after it apply again");
        Ok(format!("clock: mark lowered from {before} to {to}; rules that expire after it apply again"))
    }
}
