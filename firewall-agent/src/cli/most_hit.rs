//! `--hits` and `--top`: the rules, ranges and prefixes with the most hits.

use std::cmp::Reverse;

use super::hits::PrefixHits;
use super::style::Style;

/// Prefixes of a rule or a range that a terminal shows whole.
const WHOLE: usize = 20;
/// Prefixes in the summary of more.
const SUMMARY: usize = 10;

/// Selection of rows by their hits.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct MostHit {
    /// Show only rows and prefixes with hits, most packets first
    #[arg(long)]
    pub hits: bool,
    /// Show at most this many rows, and of each at most as many prefixes, most packets first
    #[arg(long, value_name = "ROWS")]
    pub top: Option<usize>,
}

impl MostHit {
    fn is_given(self) -> bool {
        self.hits || self.top.is_some()
    }

    /// Sorts the rows by their packets, and keeps those with the most. Without the options they stay as they are. Rows
    /// with equal packets stay in their order; those without a counter of their own are the last.
    pub fn select<T>(self, rows: &mut Vec<T>, packets: impl Fn(&T) -> Option<u64>) {
        if !self.is_given() {
            return;
        }
        rows.sort_by_key(|row| Reverse(packets(row)));
        rows.retain(|row| !self.hits || packets(row).is_some_and(|packets| packets > 0));
        rows.truncate(self.top.unwrap_or(usize::MAX));
    }

    /// Prefixes that a screen shows: the selected ones. Without the options a terminal shows the most hit ones of many.
    pub fn shown(self, selected: &[PrefixHits], style: Style) -> Vec<PrefixHits> {
        let mut shown = selected.to_vec();
        if !self.is_given() && style.width.is_some() && shown.len() > WHOLE {
            Self { top: Some(SUMMARY), ..self }.select(&mut shown, |one| one.packets);
        }
        shown
    }
}

/// The line about prefixes that a screen does not show.
pub(super) const OMITTED: &str = "left out: prefixes with fewer hits; --top ROWS shows more, -o wide all";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::style;

    fn prefixes(packets: &[Option<u64>]) -> Vec<PrefixHits> {
        let one = |(at, packets): (usize, &Option<u64>)| PrefixHits {
            cidr: format!("192.0.2.{at}/32"),
            packets: *packets,
            bytes: *packets,
            last_hit: None,
        };
        packets.iter().enumerate().map(one).collect()
    }

    fn packets(of: &[PrefixHits]) -> Vec<Option<u64>> {
        of.iter().map(|one| one.packets).collect()
    }

    #[test]
    fn rows_are_sorted_and_bounded_by_their_packets() {
        let rows = prefixes(&[Some(1), None, Some(0), Some(9)]);
        let selected = |hits, top| {
            let mut rows = rows.clone();
            MostHit { hits, top }.select(&mut rows, |one| one.packets);
            packets(&rows)
        };
        assert_eq!(selected(false, None), packets(&rows));
        assert_eq!(selected(true, None), [Some(9), Some(1)]);
        assert_eq!(selected(false, Some(3)), [Some(9), Some(1), Some(0)]);
        assert_eq!(selected(true, Some(1)), [Some(9)]);
        assert_eq!(selected(false, Some(9)), [Some(9), Some(1), Some(0), None]);
    }

    #[test]
    fn a_terminal_gets_a_summary_of_many_prefixes() {
        let shown = |number: u64, width, most: MostHit| {
            let all: Vec<Option<u64>> = (0..number).map(Some).collect();
            packets(&most.shown(&prefixes(&all), style(width)))
        };
        let nothing = MostHit::default();
        assert_eq!(shown(20, Some(80), nothing).len(), 20);
        assert_eq!(shown(21, Some(80), nothing), (11..21).rev().map(Some).collect::<Vec<_>>());
        // A pipe, and a selection by the user, are whole.
        assert_eq!(shown(21, None, nothing).len(), 21);
        assert_eq!(shown(21, Some(80), MostHit { hits: true, top: None }).len(), 21);
    }
}
