//! Fanout: a message goes everywhere.

use super::{Binding, Destination, add, take};

/// All bindings.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    list: Vec<Binding>,
}

impl Fanout {
    pub(super) fn bind(&mut self, binding: Binding) -> bool {
        add(&mut self.list, binding)
    }

    pub(super) fn unbind(&mut self, binding: &Binding) -> bool {
        take(&mut self.list, binding)
    }

    pub(super) fn route(&self, found: &mut Vec<Destination>) {
        found.extend(self.list.iter().map(|binding| binding.destination));
    }

    pub(super) fn all(&self) -> Vec<Binding> {
        self.list.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
