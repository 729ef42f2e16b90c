//! Moments of the wall clock, which people set and which steps in both directions.
//!
//! A wheel turns one way only, so these wait in an ordered map and are compared with the wall clock
//! as it is now. Nothing tells a program portably that the clock was set; so whoever sleeps looks
//! again after [`LOOK_AGAIN`] at the latest.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The longest sleep while something waits here.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Values by the moment of the wall clock at which they are due, then by age.
pub(super) struct Wall<T> {
    waiting: BTreeMap<WallKey, T>,
    next_sequence: u64,
}

/// Names one value: its moment, and its number among those of the same moment.
pub(super) type WallKey = (SystemTime, u64);

impl<T> Wall<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next_sequence: 0,
        }
    }

    pub(super) fn insert(&mut self, when: SystemTime, value: T) -> WallKey {
        let key = (when, self.next_sequence);
        self.next_sequence += 1;
        self.waiting.insert(key, value);
        key
    }

    pub(super) fn remove(&mut self, key: WallKey) -> Option<T> {
        self.waiting.remove(&key)
    }

    /// The next value that is due when the wall clock says `wall`.
    pub(super) fn pop_due(&mut self, wall: SystemTime) -> Option<T> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= wall).then(|| first.remove())
    }

    /// How long to sleep before looking again; `None` if nothing waits.
    pub(super) fn wait(&self, wall: SystemTime) -> Option<Duration> {
        let ((when, _), _) = self.waiting.first_key_value()?;
        Some(
            when.duration_since(wall)
                .unwrap_or_default()
                .min(LOOK_AGAIN),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_set_forward_makes_due_what_it_skipped() {
        let mut wall = Wall::new();
        wall.insert(at(5000), "lunch");
        assert_eq!(wall.pop_due(at(1000)), None);
        assert_eq!(wall.pop_due(at(90_000)), Some("lunch"));
        assert!(wall.is_empty());
    }

    #[test]
    fn a_clock_set_back_makes_everything_wait_longer_new_and_old() {
        let mut wall = Wall::new();
        wall.insert(at(5000), "old");
        assert_eq!(wall.pop_due(at(4999)), None);
        wall.insert(at(2000), "new");
        assert_eq!(wall.pop_due(at(1000)), None);
        assert_eq!(wall.wait(at(1000)), Some(LOOK_AGAIN));
        assert_eq!(wall.pop_due(at(2000)), Some("new"));
        assert_eq!(wall.pop_due(at(4999)), None);
        assert_eq!(wall.pop_due(at(5000)), Some("old"));
    }

    #[test]
    fn sleeps_end_with_the_moment_and_never_last_longer_than_a_second() {
        let mut wall = Wall::new();
        assert_eq!(wall.wait(at(0)), None);
        wall.insert(at(100), ());
        assert_eq!(wall.wait(at(1)), Some(LOOK_AGAIN));
        assert_eq!(
            wall.wait(at(100) - Duration::from_millis(7)),
            Some(Duration::from_millis(7))
        );
        assert_eq!(wall.wait(at(200)), Some(Duration::ZERO));
    }

    #[test]
    fn one_moment_runs_in_order_of_insertion_and_without_the_removed() {
        let mut wall = Wall::new();
        let keys = ["a", "b", "c"].map(|name| wall.insert(at(1), name));
        assert_eq!(wall.remove(keys[1]), Some("b"));
        assert_eq!(wall.remove(keys[1]), None);
        assert_eq!(wall.pop_due(at(1)), Some("a"));
        assert_eq!(wall.pop_due(at(1)), Some("c"));
        assert_eq!(wall.pop_due(at(1)), None);
    }
}
