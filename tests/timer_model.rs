//! The timer wheel against an ordered map, and what the map cannot say: far deadlines, and how often
//! a loop wakes.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use celeriac::fuzzing::{TimerOperation, check_timer};
use celeriac::hub::Timer;
use proptest::prelude::*;

/// A distance in time of any magnitude, with a liking for round ones: the edges of ticks and slots.
fn distance() -> impl Strategy<Value = i64> {
    let round = (0..45_u32, -3..3_i64).prop_map(|(bits, off)| (1 << bits) + off);
    prop_oneof![
        round,
        (0..45_u32, 0..1000_i64).prop_map(|(bits, factor)| factor << bits),
        -1000..1000_i64
    ]
}

fn operation() -> impl Strategy<Value = TimerOperation> {
    prop_oneof![
        6 => (distance(), 0..3_u8)
            .prop_map(|(ahead, priority)| TimerOperation::Insert { ahead, priority }),
        3 => any::<usize>().prop_map(TimerOperation::Cancel),
        2 => distance().prop_map(TimerOperation::Advance),
        1 => distance().prop_map(|by| TimerOperation::Advance(-by)),
        2 => Just(TimerOperation::Sleep),
        2 => Just(TimerOperation::PopDue),
        1 => Just(TimerOperation::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_wheel_behaves_like_an_ordered_map(operations in prop::collection::vec(operation(), 0..120)) {
        check_timer(operations);
    }

    /// Without `Clear`, so that wheels grow, turn far and cascade.
    #[test]
    fn so_does_a_wheel_that_lives_long(
        operations in prop::collection::vec(operation(), 300..600)
    ) {
        check_timer(operations.into_iter().filter(|op| !matches!(op, TimerOperation::Clear)));
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn drain<T>(wheel: &mut Timer<T>, now: Instant) -> Vec<T> {
    std::iter::from_fn(|| wheel.pop_due(now)).collect()
}

#[test]
fn a_timer_is_not_a_nanosecond_early_and_not_a_nanosecond_late() {
    let start = Instant::now();
    for nanoseconds in [
        1,
        999,
        1_048_575,
        1_048_576,
        1_048_577,
        5_000_000_000,
        1 << 50,
    ] {
        let deadline = start + Duration::from_nanos(nanoseconds);
        let mut wheel = Timer::new(start);
        wheel.insert(deadline, 0, ());
        assert_eq!(wheel.pop_due(deadline - Duration::from_nanos(1)), None);
        assert_eq!(wheel.pop_due(deadline), Some(()));
    }
}

#[test]
fn order_is_deadline_then_priority_then_insertion_even_within_a_tick() {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    let soon = start + Duration::from_micros(100);
    wheel.insert(soon, 6, "eta");
    wheel.insert(soon, 0, "first");
    wheel.insert(soon, 0, "second");
    wheel.insert(soon - Duration::from_micros(1), 9, "earlier");
    let due = drain(&mut wheel, start + MILLISECOND);
    assert_eq!(due, ["earlier", "first", "second", "eta"]);
}

#[test]
fn deadlines_years_ahead_come_out_in_their_turn() {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    for years in [400, 1, 30, 5] {
        wheel.insert(start + YEAR * years, 0, years);
    }
    for years in [1, 5, 30, 400] {
        let deadline = start + YEAR * years;
        assert_eq!(wheel.next_deadline(), Some(deadline));
        assert_eq!(wheel.pop_due(deadline - MILLISECOND), None);
        assert_eq!(drain(&mut wheel, deadline), [years]);
    }
}

#[test]
fn a_deadline_beyond_the_range_waits_until_its_end() {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    let key = wheel.insert(start + YEAR * 2000, 0, "never");
    wheel.insert(start + YEAR, 0, "next year");
    assert_eq!(drain(&mut wheel, start + YEAR * 500), ["next year"]);
    assert_eq!(wheel.cancel(key), Some("never"));
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn deadlines_before_the_wheel_are_due_at_once() {
    let start = Instant::now();
    let mut wheel = Timer::new(start + YEAR);
    wheel.insert(start, 1, "long ago");
    wheel.insert(start + MILLISECOND, 0, "a little later, but urgent");
    assert_eq!(
        drain(&mut wheel, start + YEAR),
        ["a little later, but urgent", "long ago"]
    );
}

/// A time limit per task, cancelled when the task ends: what cancels leave behind must neither
/// accumulate nor wake anybody.
#[test]
fn a_wheel_whose_timers_were_all_cancelled_never_wakes() {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    let keys: Vec<_> = (0..1000)
        .map(|n| wheel.insert(start + MILLISECOND * n, 0, n))
        .collect();
    for key in keys {
        assert!(wheel.cancel(key).is_some());
    }
    assert_eq!((wheel.len(), wheel.next_deadline()), (0, None));
}

#[test]
fn a_loop_wakes_once_per_timer_however_far_it_is() {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    for bits in 0..56 {
        wheel.insert(start + Duration::from_nanos(1 << bits), 0, bits);
    }
    for bits in 0..56 {
        let deadline = wheel.next_deadline().unwrap();
        assert_eq!(drain(&mut wheel, deadline), [bits]);
    }
}

/// Many timers in one slot, the earliest of them cancelled: the loop may wake once to find out.
#[test]
fn cancelling_the_earliest_of_many_costs_one_wake_up_not_a_spin() {
    let start = Instant::now();
    for standing in [1_u32, 32, 33, 34, 1000] {
        let mut wheel = Timer::new(start);
        let hour = start + Duration::from_secs(3600);
        let keys: Vec<_> = (0..34)
            .map(|n| wheel.insert(hour + MILLISECOND * n, 0, n))
            .collect();
        for n in 0..standing {
            wheel.insert(hour + MILLISECOND * (1000 + n), 0, n);
        }
        for key in keys {
            wheel.cancel(key);
        }
        let mut wake_ups = 0;
        while wheel.len() as u32 == standing {
            let now = wheel.next_deadline().expect("timers stand");
            drain(&mut wheel, now);
            wake_ups += 1;
        }
        assert!(
            wake_ups <= 2,
            "{wake_ups} wake-ups until the first of {standing}"
        );
    }
}

#[test]
fn a_key_names_its_own_timer_and_nothing_after_it() {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    let old = wheel.insert(start, 0, "old");
    assert_eq!(wheel.pop_due(start), Some("old"));
    let new = wheel.insert(start + YEAR, 0, "new"); // takes the place of the old one
    assert_eq!(wheel.get(old), None);
    assert_eq!(wheel.cancel(old), None);
    wheel.clear();
    let newest = wheel.insert(start + YEAR, 0, "newest");
    assert_eq!(wheel.get(new), None);
    assert_eq!(wheel.cancel(new), None);
    assert_eq!(wheel.cancel(newest), Some("newest"));
}
