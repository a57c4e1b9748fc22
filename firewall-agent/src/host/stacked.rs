//! Interfaces above each other: a VLAN on a bond on network cards.

/// Bound of a walk; the kernel allows 8 levels.
const MOST_LEVELS: usize = 8;

/// Walks down from `first` to the interface below each. The walk ends even if interfaces change meanwhile.
pub fn downwards<T>(first: Option<T>, below: impl FnMut(&T) -> Option<T>) -> impl Iterator<Item = T> {
    std::iter::successors(first, below).take(MOST_LEVELS)
}
