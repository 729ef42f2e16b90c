//! Names of things in the broker's tables. Each kind has a type of its own, so that a queue's key
//! cannot be looked up among the channels; a key that outlived its thing finds nothing.

use crate::util::slots::{Key, Slots};

macro_rules! typed_keys {
    ($($(#[$meta:meta])* $name:ident,)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(super) struct $name(Key);

        impl TypedKey for $name {
            fn new(key: Key) -> Self {
                Self(key)
            }

            fn key(self) -> Key {
                self.0
            }
        }
    )*};
}

/// A key that says what it is the key of.
pub(super) trait TypedKey: Copy {
    fn new(key: Key) -> Self;
    fn key(self) -> Key;
}

typed_keys! {
    /// A client's connection.
    SessionKey,
    /// A channel of any session of the virtual host.
    ChannelKey,
    /// An exchange.
    ExchangeKey,
    /// A queue.
    QueueKey,
    /// A consumer.
    ConsumerKey,
}

/// [`Slots`] whose keys are of one kind.
#[derive(Debug)]
pub(super) struct TypedSlots<K, T> {
    slots: Slots<T>,
    kind: std::marker::PhantomData<K>,
}

impl<K: TypedKey, T> TypedSlots<K, T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Slots::new(),
            kind: std::marker::PhantomData,
        }
    }

    pub(super) fn insert(&mut self, value: T) -> K {
        K::new(self.slots.insert(value))
    }

    pub(super) fn remove(&mut self, key: K) -> Option<T> {
        self.slots.remove(key.key())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.slots.get_mut(key.key())
    }

    #[inline]
    pub(super) fn get(&self, key: K) -> Option<&T> {
        self.slots.get(key.key())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots.iter().map(|(key, value)| (K::new(key), value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slots
            .iter_mut()
            .map(|(key, value)| (K::new(key), value))
    }
}
