//! Numbered places for values, with numbers that are never valid for a later value.

use std::fmt;

use slab::Slab;

/// Names one value in a [`Slots`]: the number of its place, and which of the values that have stood
/// there it is.
///
/// A key outlives its value harmlessly: whatever takes the place afterwards has another generation,
/// so a late event for a closed file or a dead child finds nothing instead of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// For a token that the kernel carries; [`Key::from`] reads it back.
impl From<Key> for u64 {
    fn from(key: Key) -> Self {
        Self::from(key.generation) << 32 | Self::from(key.index)
    }
}

/// Any number makes a key; one that no [`Slots`] gave out finds nothing.
impl From<u64> for Key {
    fn from(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// Values in numbered places. Inserting, finding and removing take constant time.
///
/// ```
/// use celeriac::util::slots::Slots;
///
/// let mut slots = Slots::new();
/// let old = slots.insert("first");
/// assert_eq!(slots.remove(old), Some("first"));
/// let new = slots.insert("second"); // in the same place
/// assert_eq!(slots.get(old), None);
/// assert_eq!(slots.get(new), Some(&"second"));
/// ```
#[derive(Clone, Debug)]
pub struct Slots<T> {
    places: Slab<Place<T>>,
    /// Counts insertions. It wraps, so a key could be mistaken for another only after exactly a
    /// multiple of 2³² insertions, with the later one in the same place.
    generation: u32,
}

#[derive(Clone, Debug)]
struct Place<T> {
    generation: u32,
    value: T,
}

impl<T> Slots<T> {
    /// No values yet, and no memory taken.
    pub fn new() -> Self {
        Self {
            places: Slab::new(),
            generation: 0,
        }
    }

    /// Puts `value` in a free place.
    ///
    /// # Panics
    /// At 2³² values at once, more than memory holds.
    pub fn insert(&mut self, value: T) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.places.insert(Place { generation, value });
        Key {
            index: u32::try_from(index).expect("fewer than 2^32 values"),
            generation,
        }
    }

    /// Takes the value out. Its key finds nothing from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.places.remove(key.index as usize).value)
    }

    /// The value of `key`, for changing it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        (place.generation == key.generation).then_some(&mut place.value)
    }

    /// Every key with its value, in the order of places (not of insertion), for changing them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.places.iter_mut().map(|(index, place)| {
            (
                Key {
                    index: index as u32,
                    generation: place.generation,
                },
                &mut place.value,
            )
        })
    }

    /// The value of `key`, unless it was removed.
    pub fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        (place.generation == key.generation).then_some(&place.value)
    }

    /// Whether the value of `key` is still here.
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Every key with its value, in the order of places (not of insertion).
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().map(|(index, place)| {
            (
                Key {
                    index: index as u32,
                    generation: place.generation,
                },
                &place.value,
            )
        })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u16),
        /// Of the key that was given out at this position (modulo how many there are).
        Remove(usize),
        Change(usize, u16),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let one = prop_oneof![
            any::<u16>().prop_map(Operation::Insert),
            any::<usize>().prop_map(Operation::Remove),
            (any::<usize>(), any::<u16>()).prop_map(|(at, value)| Operation::Change(at, value)),
        ];
        proptest::collection::vec(one, 0..200)
    }

    proptest! {
        /// A map from every key ever given out behaves the same, stale keys included.
        #[test]
        fn slots_are_a_map_whose_keys_are_never_reused(operations in operations()) {
            let mut slots = Slots::new();
            let mut model = HashMap::new();
            let mut keys: Vec<Key> = Vec::new();
            for operation in operations {
                match operation {
                    Operation::Insert(value) => {
                        let key = slots.insert(value);
                        prop_assert!(!keys.contains(&key));
                        keys.push(key);
                        model.insert(key, value);
                    }
                    Operation::Remove(at) if !keys.is_empty() => {
                        let key = keys[at % keys.len()];
                        prop_assert_eq!(slots.remove(key), model.remove(&key));
                    }
                    Operation::Change(at, value) if !keys.is_empty() => {
                        let key = keys[at % keys.len()];
                        prop_assert_eq!(
                            slots.get_mut(key).map(|place| *place = value),
                            model.get_mut(&key).map(|place| *place = value)
                        );
                    }
                    Operation::Remove(_) | Operation::Change(..) => {}
                }
                for key in &keys {
                    prop_assert_eq!(slots.get(*key), model.get(key));
                }
                prop_assert_eq!(slots.len(), model.len());
                let listed: HashMap<_, _> = slots.iter().map(|(key, value)| (key, *value)).collect();
                prop_assert_eq!(&listed, &model);
            }
        }

        #[test]
        fn a_key_survives_the_way_through_a_number(bits: u64) {
            prop_assert_eq!(u64::from(Key::from(bits)), bits);
        }
    }
}
