//! A place in the worker for what a user's steps keep: one value of each type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;

/// Values by type.
///
/// ```
/// use celeriac::worker::Extensions;
///
/// struct Seen(u32);
/// let mut extensions = Extensions::default();
/// extensions.insert(Seen(1));
/// extensions.find_mut::<Seen>().unwrap().0 += 1;
/// assert_eq!(extensions.find::<Seen>().unwrap().0, 2);
/// ```
#[derive(Default)]
pub struct Extensions {
    values: HashMap<TypeId, Box<dyn Any>>,
}

impl Extensions {
    /// Keeps a value; gives back the one of that type that was kept before.
    pub fn insert<T: Any>(&mut self, value: T) -> Option<T> {
        let before = self.values.insert(TypeId::of::<T>(), Box::new(value))?;
        before.downcast().ok().map(|value| *value)
    }

    /// The value of a type.
    pub fn find<T: Any>(&self) -> Option<&T> {
        self.values.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// The value of a type, to change.
    pub fn find_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.values.get_mut(&TypeId::of::<T>())?.downcast_mut()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("len", &self.values.len())
            .finish()
    }
}
