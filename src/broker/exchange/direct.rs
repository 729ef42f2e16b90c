//! Direct: a message goes where its key is bound.

use std::collections::HashMap;

use super::{Binding, Destination, add, take};

/// Bindings by key. No list is empty.
#[derive(Debug, Default)]
pub(super) struct Direct {
    keys: HashMap<Box<[u8]>, Vec<Binding>>,
}

impl Direct {
    pub(super) fn bind(&mut self, binding: Binding) -> bool {
        add(self.keys.entry(binding.key.clone()).or_default(), binding)
    }

    pub(super) fn unbind(&mut self, binding: &Binding) -> bool {
        let Some(list) = self.keys.get_mut(&binding.key) else {
            return false;
        };
        let taken = take(list, binding);
        if list.is_empty() {
            self.keys.remove(&binding.key);
        }
        taken
    }

    pub(super) fn route(&self, key: &[u8], found: &mut Vec<Destination>) {
        if let Some(list) = self.keys.get(key) {
            found.extend(list.iter().map(|binding| binding.destination));
        }
    }

    pub(super) fn all(&self) -> Vec<Binding> {
        self.keys.values().flatten().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
