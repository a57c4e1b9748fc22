//! Random changes of valid files.

use crate::fixtures::{Fixture, Kind, fixtures, read};

const SEED: u64 = 0x5eed_f11e;
const MUTATIONS: usize = 20_000;
const FRAGMENTS: [&str; 16] = [
    "\n...\n", "---\n", "&a ", "*a", "<<: ", "!!str ", "'", "\"", ": ", "- ", "[", "}", "\t", "\u{202e}",
    "\0", "/0",
];

#[test]
fn no_mutation_of_a_valid_file_makes_the_reader_panic() {
    println!("seed {SEED:#x}");
    let mut random = Random(SEED);
    let all: Vec<Fixture> = [Kind::Databases, Kind::Ranges, Kind::Config]
        .into_iter()
        .flat_map(|kind| fixtures("valid", kind))
        .collect();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..MUTATIONS {
        let fixture = &all[random.below(all.len())];
        let mut bytes = fixture.bytes.clone();
        for _ in 0..=random.below(2) {
            mutate(&mut bytes, &mut random);
        }
        match read(fixture.kind, &bytes) {
            Ok(_) => accepted += 1,
            Err(problems) => {
                assert!(
                    !problems.is_empty(),
                    "refused without a word: {:?}",
                    String::from_utf8_lossy(&bytes)
                );
                refused += 1;
            }
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(
        accepted > 500 && refused > 1_000,
        "mutations reach only one side: {accepted} accepted, {refused} refused"
    );
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len().max(1));
    let end = (at + 1 + random.below(20)).min(bytes.len());
    match random.below(6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = b" -:#[]{}'\"0129/.\n"[random.below(17)],
        2 if at < end => drop(bytes.drain(at..end)),
        3 if at < end => {
            let copied = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copied);
        }
        4 => bytes.truncate(at),
        _ => drop(bytes.splice(at..at, FRAGMENTS[random.below(FRAGMENTS.len())].bytes())),
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
