//! A set that forgets: the oldest when it is full, and each after a while.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, SystemTime};

/// At most so many items, none older than an age. Times are passed in.
///
/// An item that is inserted again is as new as the later of the two times; a time in the future counts as now, so that
/// no clock but ours can keep an item for ever.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use celeriac::util::limited_set::LimitedSet;
///
/// let mut seen = LimitedSet::new(2, Duration::from_secs(60));
/// let begin = SystemTime::UNIX_EPOCH;
/// for (second, word) in ["a", "b", "c"].into_iter().enumerate() {
///     let at = begin + Duration::from_secs(second as u64);
///     seen.insert(word, at, at);
/// }
/// let now = begin + Duration::from_secs(61);
/// assert_eq!(seen.iter().map(|(word, _)| *word).collect::<Vec<_>>(), ["b", "c"]);
/// assert!(!seen.contains("b", now), "too old");
/// assert!(seen.contains("c", now));
/// ```
#[derive(Clone, Debug)]
pub struct LimitedSet<K> {
    /// Where each item stands in `order`.
    places: HashMap<K, Place>,
    /// The items, oldest first; those of one moment in the order of insertion.
    order: BTreeMap<Place, K>,
    next: u64,
    most: usize,
    age: Duration,
}

type Place = (SystemTime, u64);

impl<K: Clone + Eq + Hash> LimitedSet<K> {
    /// An empty set of at most `most` items, each for `age`.
    pub fn new(most: usize, age: Duration) -> Self {
        Self {
            places: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            most,
            age,
        }
    }

    /// Puts in an item that is as old as `at`. Whether it is new, or newer than it was.
    pub fn insert(&mut self, item: K, at: SystemTime, now: SystemTime) -> bool {
        let at = at.min(now);
        if let Some(place) = self.places.get(&item) {
            if place.0 >= at {
                return false;
            }
            self.order.remove(place);
        }
        let place = (at, self.next);
        self.next += 1;
        self.places.insert(item.clone(), place);
        self.order.insert(place, item);
        self.forget(now);
        true
    }

    /// Whether the item is in the set and not too old.
    pub fn contains<Q>(&self, item: &Q, now: SystemTime) -> bool
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let place = self.places.get(item);
        place.is_some_and(|(at, _)| !self.is_old(*at, now))
    }

    /// Drops what is too old, and the oldest of what is too many.
    pub fn forget(&mut self, now: SystemTime) {
        while let Some(first) = self.order.first_entry() {
            let at = first.key().0;
            if self.places.len() <= self.most && !self.is_old(at, now) {
                return;
            }
            if let Some((_, item)) = self.order.pop_first() {
                self.places.remove(&item);
            }
        }
    }

    fn is_old(&self, at: SystemTime, now: SystemTime) -> bool {
        now.duration_since(at).is_ok_and(|age| age >= self.age)
    }

    /// The items and their times, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, SystemTime)> {
        self.order.iter().map(|((at, _), item)| (item, *at))
    }

    /// How many items it holds, old ones that were not dropped yet included.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    /// T15.2: nobody's clock but ours keeps an item for ever.
    #[test]
    fn a_time_in_the_future_is_now() {
        let mut set = LimitedSet::new(10, Duration::from_secs(5));
        set.insert("x", at(1_000_000), at(1));
        assert!(set.contains("x", at(5)));
        assert!(!set.contains("x", at(6)), "it ages from now on");
    }

    proptest! {
        /// T15.2, against a plain list: the newest `most` of those that are young enough are in the set, and no others.
        #[test]
        fn it_holds_the_newest_that_are_not_too_old(
            steps in proptest::collection::vec((0u8..12, 0u64..40), 1..80),
        ) {
            let (most, age) = (4, 10);
            let mut set = LimitedSet::new(most, Duration::from_secs(age));
            let mut model: Vec<(u8, u64)> = vec![];
            let mut now = 20;
            for (item, when) in steps {
                now += when % 3;
                let when = when.min(now);
                set.insert(item, at(when), at(now));
                match model.iter().position(|(has, _)| *has == item) {
                    Some(place) if model[place].1 >= when => {}
                    Some(place) => {
                        model.remove(place);
                        model.push((item, when));
                    }
                    None => model.push((item, when)),
                }
                model.sort_by_key(|(_, when)| *when);
                model.retain(|(_, when)| now - when < age);
                let excess = model.len().saturating_sub(most);
                model.drain(..excess);
                set.forget(at(now));
                let held: Vec<_> = set.iter().map(|(item, when)| (*item, when)).collect();
                let expected: Vec<_> = model.iter().map(|(item, when)| (*item, at(*when))).collect();
                prop_assert_eq!(held, expected);
                prop_assert_eq!(set.places.len(), set.order.len());
            }
        }
    }
}
