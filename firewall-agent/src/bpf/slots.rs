//! Many slots of arrays of maps at once.
//!
//! Linux before 6.8 waits for an RCU grace period, several milliseconds, at each lookup in an array of maps, and for
//! each slot that a batch writes. Calls at the same time share the wait.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::map_of_maps::Outer;

/// Time after which the kernel counts as one that waits. Without a wait, a lookup takes about a microsecond.
const SLOW: Duration = Duration::from_millis(2);
/// Maximum number of calls at the same time.
const THREADS: usize = 64;
/// Bytes, many times the need of a call.
const STACK: usize = 64 << 10;

/// An outer array and a slot of it.
pub(super) type Slot<'a> = (&'a Outer, u32);

/// Returns the ids of the published maps, in the order of `slots`; `None` for an empty slot.
pub(super) fn slot_ids(slots: &[Slot<'_>]) -> Result<Vec<Option<u32>>> {
    let started = Instant::now();
    let mut ids = Vec::with_capacity(slots.len());
    for (outer, slot) in slots {
        if started.elapsed() > SLOW {
            break;
        }
        ids.push(outer.live_id(*slot)?);
    }
    let rest = slots.get(ids.len()..).unwrap_or_default();
    ids.extend(at_once(rest, |(outer, slot)| outer.live_id(*slot)).into_iter().collect::<Result<Vec<_>>>()?);
    Ok(ids)
}

/// Returns whether the kernel waits for each slot.
pub(super) fn waits((outer, slot): Slot<'_>) -> bool {
    let started = Instant::now();
    outer.live_id(slot).is_ok() && started.elapsed() > SLOW
}

/// Makes one call for each item, many at the same time; returns their results in the same order. Threads that the system
/// refuses to start are replaced by this one.
pub(super) fn at_once<T: Sync, R: Send>(
    items: &[T],
    call: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    if let [only] = items {
        return vec![call(only)];
    }
    let (share, call) = (items.len().div_ceil(THREADS).max(1), &call);
    let calls = |part: &[T]| -> Vec<Result<R>> { part.iter().map(call).collect() };
    let panicked = || Err(anyhow!("a thread of the kernel's calls panicked"));
    thread::scope(|scope| {
        let started = items.chunks(share).map(|part| {
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || calls(part));
            (part, thread)
        });
        let started: Vec<_> = started.collect();
        let results = started.into_iter().flat_map(|(part, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| part.iter().map(|_| panicked()).collect()),
            Err(_) => calls(part),
        });
        results.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items_and_each_call_fails_by_itself() {
        for count in [0, 1, THREADS - 1, THREADS, THREADS + 1, 3 * THREADS + 7] {
            let items: Vec<usize> = (0..count).collect();
            let results =
                at_once(&items, |item| if item % 5 == 4 { Err(anyhow!("{item}")) } else { Ok(item * 2) });
            assert_eq!(results.len(), count);
            for (item, result) in results.into_iter().enumerate() {
                match result {
                    Ok(double) => assert_eq!((double, item % 5 == 4), (item * 2, false)),
                    Err(error) => assert_eq!((error.to_string(), item % 5), (item.to_string(), 4)),
                }
            }
        }
    }
}
