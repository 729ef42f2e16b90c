//! What needs the Hub's inside: a wall clock that the test sets.
#![allow(clippy::disallowed_methods)]

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use super::*;

thread_local! {
    /// What the wall clock of this test says, in seconds.
    static WALL: Cell<u64> = const { Cell::new(0) };
}

fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn hub() -> Hub<Vec<&'static str>> {
    let mut hub = Hub::new().unwrap();
    hub.wall = || moment(WALL.get());
    hub
}

#[test]
fn a_call_follows_the_wall_clock_when_it_is_set() {
    let (mut hub, mut seen) = (hub(), Vec::new());
    let mut turn = |hub: &mut Hub<_>| {
        hub.tick(&mut seen, Some(Duration::ZERO)).unwrap();
        std::mem::take(&mut seen)
    };
    WALL.set(1_000_000);
    hub.call_at(moment(1_000_500), |seen, _| seen.push("old"));
    assert_eq!(turn(&mut hub), [""; 0]);
    WALL.set(500_000); // set back
    hub.call_at(moment(500_010), |seen, _| seen.push("new"));
    assert_eq!(turn(&mut hub), [""; 0]);
    WALL.set(500_010);
    assert_eq!(turn(&mut hub), ["new"]);
    WALL.set(2_000_000); // set forward
    assert_eq!(turn(&mut hub), ["old"]);
    assert!(hub.is_idle());
}

#[test]
fn the_hub_looks_at_the_wall_clock_once_a_second_and_only_while_a_call_waits_for_it() {
    let mut hub = hub();
    hub.call_after(Duration::from_secs(3600), |_, _| {});
    let far = hub.next_deadline().unwrap();
    let key = hub.call_at(moment(9_999_999_999), |_, _| {});
    let look = hub.next_deadline().unwrap();
    assert!(look <= clock::now() + Duration::from_secs(1));
    assert!(hub.cancel(key));
    assert_eq!(hub.next_deadline(), Some(far));
}

#[test]
fn a_sleeping_hub_notices_within_a_second_that_the_clock_was_set() {
    let (mut hub, mut seen) = (hub(), Vec::new());
    WALL.set(0);
    hub.call_at(moment(1_000_000), |seen, _| seen.push("due"));
    // Somebody sets the clock while the Hub sleeps: it looked before, it looks again.
    hub.before_poll(|_, hub| {
        hub.wall = || {
            moment(if WALL.replace(WALL.get() + 1) == 0 {
                0
            } else {
                2_000_000
            })
        };
    });
    let start = clock::now();
    hub.run(&mut seen).unwrap();
    assert_eq!(seen, ["due"]);
    assert!(
        clock::now() - start < Duration::from_secs(5),
        "it slept as if the clock stood"
    );
}
