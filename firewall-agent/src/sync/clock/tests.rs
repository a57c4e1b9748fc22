mod walk;

use super::*;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn at(text: &str) -> Timestamp {
    match text.split_once(' ') {
        Some((date, time)) => format!("{date}T{time}Z"),
        None => format!("2026-09-01T{text}Z"),
    }
    .parse()
    .unwrap()
}

#[test]
fn clock_never_goes_back_and_delays_large_forward_steps() {
    for (what, mark, synchronised, wall, confirmed, expected) in [
        ("on time", "12:00:00", false, "12:00:01", None, "12:00:01"),
        ("a little ahead", "12:00:00", false, "12:50:00", None, "12:50:00"),
        ("back", "12:00:00", false, "03:00:00", None, "12:00:01"),
        ("back, synchronised", "12:00:00", true, "03:00:00", None, "12:00:00"),
        ("far ahead", "12:00:00", false, "15:00:00", None, "12:00:01"),
        ("far ahead, synchronised", "12:00:00", true, "2046-09-01 15:00:00", None, "2046-09-01 15:00:00"),
        ("far ahead, confirmed", "12:00:00", false, "15:00:00", Some("14:30:00"), "15:00:00"),
        ("far ahead, confirmed for less", "12:00:00", false, "15:00:00", Some("13:30:00"), "13:30:00"),
        ("far ahead, an old file", "12:00:00", false, "15:00:00", Some("11:00:00"), "12:00:01"),
        ("without a real-time clock", "12:00:00", false, "1970-01-01 00:00:07", None, "12:00:01"),
    ] {
        let mut clock = Clock::new(at("12:00:00"), false, Some(at(mark)));
        if let Some(time) = confirmed {
            clock.confirm(at(time));
        }
        let now = clock.tick(at(wall), SECOND, synchronised);
        assert_eq!(now, at(expected), "{what}");
        assert_eq!(clock.untrusted_wall(), Some(at(wall)).filter(|wall| *wall > now), "{what}");
        assert_eq!(clock.mark(), Some(now), "{what}");
    }
}

#[test]
fn delayed_step_applies_once_confirmed_and_is_dropped_if_reverted() {
    let mut clock = Clock::new(at("12:00:00"), false, Some(at("12:00:00")));
    assert_eq!(clock.tick(at("20:00:00"), SECOND, false), at("12:00:01"));
    assert_eq!(clock.tick(at("20:00:01"), SECOND, false), at("12:00:02"));
    clock.confirm(at("20:00:00"));
    assert_eq!(clock.tick(at("20:00:02"), SECOND, false), at("20:00:02"));
    let mut clock = Clock::new(at("12:00:00"), false, Some(at("12:00:00")));
    clock.tick(at("20:00:00"), SECOND, false);
    assert_eq!(clock.tick(at("12:00:02"), SECOND, false), at("12:00:02"));
    assert_eq!(clock.untrusted_wall(), None);
}

/// A host whose clock is years ahead at one start, before it is synchronised.
#[test]
fn clock_ahead_at_one_start_expires_nothing_permanently() {
    let ahead = at("2046-09-01 12:10:00");
    let mut wrong = Clock::new(ahead, false, Some(at("12:00:00")));
    assert_eq!((wrong.now(), wrong.untrusted_wall()), (at("12:00:00"), Some(ahead)));
    assert_eq!(wrong.tick(ahead, SECOND, false), at("12:00:01"));
    let right = Clock::new(at("12:20:00"), false, wrong.mark());
    assert_eq!((right.now(), right.untrusted_wall()), (at("12:20:00"), None));
    // The same at the first start ever.
    let mut wrong = Clock::new(ahead, false, None);
    assert_eq!((wrong.now(), wrong.mark(), wrong.untrusted_wall()), (ahead, None, None));
    assert_eq!(wrong.tick(at("12:20:00"), SECOND, true), at("12:20:00"), "synchronised");
    assert_eq!(wrong.mark(), Some(at("12:20:00")));
}

#[test]
fn without_a_mark_only_a_file_within_the_hour_establishes_the_time() {
    for (generated, wall, mark) in [
        ("11:30:00", "12:00:00", Some("12:00:00")),
        ("12:30:00", "12:00:00", Some("12:00:00")),
        ("10:30:00", "12:00:00", None),
        ("13:30:00", "12:00:00", None),
        ("12:00:00", "1970-01-01 00:00:07", None),
        ("12:00:00", "2046-09-01 12:00:00", None),
    ] {
        let mut clock = Clock::new(at(wall), false, None);
        clock.confirm(at(generated));
        clock.tick(at(wall), SignedDuration::ZERO, false);
        assert_eq!(clock.mark(), mark.map(at), "{generated} {wall}");
    }
    // Time that only seemed to pass is taken back.
    let mut clock = Clock::new(at("2046-09-01 12:00:00"), false, None);
    clock.confirm(at("12:00:00"));
    assert_eq!(clock.tick(at("12:00:05"), SECOND, false), at("12:00:05"));
    // Within an hour, only a synchronised clock corrects the time.
    for (synchronised, expected) in [(false, "12:50:01"), (true, "12:10:00")] {
        let mut clock = Clock::new(at("12:50:00"), false, None);
        clock.confirm(at("12:00:00"));
        assert_eq!(clock.tick(at("12:10:00"), SECOND, synchronised), at(expected));
        assert_eq!(clock.mark(), Some(at(expected)));
    }
}

#[test]
fn clock_in_the_past_continues_from_the_mark_until_synchronised() {
    let mark = at("12:00:00");
    let past = |seconds| Timestamp::from_second(seconds).unwrap();
    let mut clock = Clock::new(past(3), false, Some(mark));
    assert!(clock.ahead().is_some(), "the lead is reported");
    assert_eq!(clock.tick(past(63), SignedDuration::from_mins(1), false), at("12:01:00"));
    // Down for two days: rules that ended meanwhile expire at once.
    assert_eq!(clock.tick(at("2026-09-03 12:00:00"), SECOND, true), at("2026-09-03 12:00:00"));
    assert_eq!((clock.untrusted_wall(), clock.ahead()), (None, None));
}

#[test]
fn mark_ahead_of_a_synchronised_clock_stops_and_can_be_lowered() {
    let mark = at("2046-09-01 12:00:00");
    let mut clock = Clock::new(at("12:00:00"), true, Some(mark));
    assert_eq!(clock.ahead(), Some(mark.duration_since(at("12:00:00"))));
    assert_eq!(clock.tick(at("13:00:00"), SignedDuration::from_hours(1), true), mark);
    clock.lower(at("13:00:00"));
    assert_eq!((clock.now(), clock.mark(), clock.ahead()), (at("13:00:00"), Some(at("13:00:00")), None));
    assert_eq!(clock.tick(at("13:00:01"), SECOND, true), at("13:00:01"));
    clock.lower(at("23:00:00"));
    assert_eq!(clock.now(), at("13:00:01"), "lowering never moves it forward");
    // A lead that disappears by itself is not reported.
    let clock = Clock::new(at("12:00:00"), true, Some(at("12:00:30")));
    assert_eq!((clock.now(), clock.ahead()), (at("12:00:30"), None));
}

#[test]
fn extreme_timestamps_do_not_panic() {
    for wall in [Timestamp::MIN, Timestamp::MAX] {
        for mark in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
            for synchronised in [false, true] {
                let mut clock = Clock::new(wall, synchronised, mark);
                clock.confirm(Timestamp::MAX);
                clock.tick(wall, SignedDuration::MAX, synchronised);
                clock.tick(wall, SignedDuration::MIN, synchronised);
                clock.lower(Timestamp::MIN);
                clock.tick(wall, SECOND, synchronised);
            }
        }
    }
}
