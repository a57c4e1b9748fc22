use bytemuck::Zeroable as _;

use super::*;

const MILLISECOND: u64 = 1_000_000;

/// A generator of fixed sequence (xorshift).
fn generator() -> impl Fn() -> u32 {
    let state = std::cell::Cell::new(0x2545_f491_u32);
    move || {
        let mut word = state.get();
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        state.set(word);
        word
    }
}

/// Samples a packet, as the recorder accounts for it; returns the weight of its record.
fn sample(sampler: &mut Sampler, now: u64, random: impl Fn() -> u32) -> u64 {
    let weight = weigh(sampler, now, random);
    sampler.totals.recorded += weight;
    sampler.totals.records += u64::from(weight != 0);
    weight
}

/// A flood of `packets` in each of `ticks` ticks of 4 ms; returns the records of each tick.
fn flood(sampler: &mut Sampler, from: u64, ticks: u64, packets: u64) -> Vec<u64> {
    let random = generator();
    let tick = |number| {
        let before = sampler.totals.records;
        (0..packets).for_each(|_| _ = sample(sampler, from + number * 4 * MILLISECOND, &random));
        sampler.totals.records - before
    };
    (1..=ticks).map(tick).collect()
}

#[test]
fn at_a_low_rate_every_packet_is_recorded_as_one() {
    let mut sampler = Sampler::zeroed();
    for packet in 1..=1_000 {
        assert_eq!(sample(&mut sampler, packet * MILLISECOND, || panic!("nothing to draw")), 1);
    }
    let DenialTotals { seen, recorded, unrecorded, records } = sampler.totals;
    assert_eq!((seen, recorded, unrecorded, records), (1_000, 1_000, 0, 1_000));
    // Control: at a high rate not every one.
    flood(&mut sampler, 1_000 * MILLISECOND, 10, 10_000);
    assert!(sampler.totals.records < 10_000, "{sampler:?}");
}

#[test]
fn flood_is_recorded_within_budget_and_counted_completely() {
    for packets in [1_000, 10_000, 100_000] {
        let mut sampler = Sampler::zeroed();
        let records = flood(&mut sampler, MILLISECOND, 50, packets);
        assert!(records[0] <= 16 * BUDGET, "{packets} packets: the first tick: {records:?}");
        let steady: u64 = records[1..].iter().sum();
        let expected = 49 * BUDGET;
        assert!(steady.abs_diff(expected) < expected / 4, "{packets} packets: {records:?}");
        let totals = sampler.totals;
        assert_eq!((totals.seen, totals.unrecorded), (50 * packets, 0));
        assert!(totals.seen - totals.recorded < packets, "{totals:?}: the pending packets are few");
    }
}

#[test]
fn flood_shares_are_correct_when_sources_alternate() {
    let (mut sampler, random) = (Sampler::zeroed(), generator());
    let mut weights = [0; 2];
    // Of four packets three are the first source's.
    for packet in 0..4_000_000u64 {
        let weight = sample(&mut sampler, (1 + packet / 10_000) * 4 * MILLISECOND, &random);
        weights[usize::from(packet % 4 == 3)] += weight;
    }
    let share = weights[0] as f64 / sampler.totals.seen as f64;
    assert!((share - 0.75).abs() < 0.05, "{share}, {weights:?}");
    // Control: a fixed stride of a multiple of four would lock onto one of them.
    let (mut fixed, mut weights) = (Sampler::zeroed(), [0; 2]);
    for packet in 0..4_000_000u64 {
        let stride = || 399;
        let now = (1 + packet / 10_000) * 4 * MILLISECOND;
        if weigh(&mut fixed, now, stride) != 0 {
            weights[usize::from(packet % 4 == 3)] += 1;
        }
    }
    let share = f64::from(weights[0]) / f64::from(weights[0] + weights[1]);
    assert!((share - 0.75).abs() > 0.05, "{share}, {weights:?}");
}

#[test]
fn packet_after_a_flood_does_not_carry_its_weight() {
    let mut sampler = Sampler::zeroed();
    flood(&mut sampler, 0, 10, 10_000);
    let rest = pending(&sampler.totals);
    assert!(rest > 0, "the end of the flood is unrecorded");
    let mut soon = sampler;
    let now = sampler.rate.tick + QUIET + 1;
    assert_eq!(sample(&mut sampler, now, generator()), 1);
    assert_eq!(sampler.totals.unrecorded, rest);
    // Control: within the flood the next record covers the rest.
    let now = soon.rate.tick + 4 * MILLISECOND;
    let weight =
        (0..10_000).map(|_| sample(&mut soon, now, generator())).find(|weight| *weight != 0).unwrap();
    assert!(weight > rest, "{weight}, {rest}");
    assert_eq!(soon.totals.unrecorded, 0);
}

#[test]
fn denied_and_monitored_denials_are_sampled() {
    let sampled: Vec<&str> =
        Reason::ALL.into_iter().filter(|reason| is_refused(*reason as u32)).map(Reason::name).collect();
    assert_eq!(
        sampled,
        ["vlan_depth", "malformed", "no_match", "would_deny", "closed", "no_port", "fragment", "blocked"]
    );
}
