//! Sets of ports.

use std::fmt;

const WORD: u32 = u64::BITS;
const WORDS: usize = 1 << (u16::BITS - WORD.trailing_zeros());

/// A set of ports in host byte order: one bit for each of the 65,536, because every publish compares thousands of
/// destinations with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ports(Box<[u64; WORDS]>);

impl Ports {
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// Adds a port. Returns `true` when it was not in the set.
    pub fn insert(&mut self, port: u16) -> bool {
        let (word, bit) = position(port);
        let before = self.0[word];
        self.0[word] = before | bit;
        before & bit == 0
    }

    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let (word, bit) = position(port);
        self.0[word] & bit != 0
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.iter_mut().zip(other.0.iter()).for_each(|(word, other)| *word |= other);
        both
    }

    /// The ports that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.0.iter_mut().zip(other.0.iter()).for_each(|(word, other)| *word &= !other);
        rest
    }

    /// Number of ports.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The ports in rising order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..).step_by(WORD as usize).zip(self.0.iter()).flat_map(|(first, word)| {
            let rest = std::iter::successors(Some(*word), |word| Some(word & word.wrapping_sub(1)));
            rest.take_while(|word| *word != 0)
                .filter_map(move |word| u16::try_from(first + word.trailing_zeros()).ok())
        })
    }

    /// The words of the set: port `n` is bit `n % 64` of word `n / 64`.
    #[must_use]
    pub fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// Adds up to 64 ports: bit `n` is port `64 * number + n`. A number above 1023 adds nothing.
    pub fn insert_word(&mut self, number: usize, word: u64) {
        if let Some(known) = self.0.get_mut(number) {
            *known |= word;
        }
    }
}

/// Index of a port's word, and its bit there.
fn position(port: u16) -> (usize, u64) {
    (usize::from(port) / WORD as usize, 1 << (u32::from(port) % WORD))
}

impl Default for Ports {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Extend<u16> for Ports {
    fn extend<T: IntoIterator<Item = u16>>(&mut self, ports: T) {
        ports.into_iter().for_each(|port| _ = self.insert(port));
    }
}

impl FromIterator<u16> for Ports {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        let mut set = Self::new();
        set.extend(ports);
        set
    }
}

impl<const N: usize> From<[u16; N]> for Ports {
    fn from(ports: [u16; N]) -> Self {
        ports.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn port_set_behaves_like_a_set_of_numbers() {
        let mut rng = fastrand::Rng::with_seed(1);
        for most in [3, 200, 60_000] {
            let draw = |rng: &mut fastrand::Rng| -> BTreeSet<u16> {
                (0..most).map(|_| rng.u16(..)).chain([0, 63, 64, u16::MAX]).collect()
            };
            let (one, other) = (draw(&mut rng), draw(&mut rng));
            let (left, right): (Ports, Ports) =
                (one.iter().copied().collect(), other.iter().copied().collect());
            assert!(left.iter().eq(one.iter().copied()));
            assert_eq!((left.len(), left.is_empty()), (one.len(), false));
            assert!(left.union(&right).iter().eq(one.union(&other).copied()));
            assert!(left.without(&right).iter().eq(one.difference(&other).copied()));
            assert!((0..=u16::MAX).all(|port| left.contains(port) == one.contains(&port)));
            assert_eq!(left == right, one == other);
        }
        assert!(Ports::new().is_empty());
        assert!(Ports::from([7]).len() == 1 && !Ports::from([7]).clone().insert(7));
    }
}
