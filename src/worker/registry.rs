//! What main knows of the tasks its children can run: names and options, no functions.

use std::collections::BTreeMap;

use super::options::TaskOptions;

/// The tasks of an app by name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    tasks: BTreeMap<String, TaskOptions>,
}

impl Registry {
    /// A registry without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task, or replaces the one of that name.
    pub fn insert(&mut self, name: impl Into<String>, options: TaskOptions) {
        self.tasks.insert(name.into(), options);
    }

    /// The options of a task, if it is registered.
    pub fn options(&self, name: &str) -> Option<&TaskOptions> {
        self.tasks.get(name)
    }

    /// The options of a task, to change them.
    pub fn options_mut(&mut self, name: &str) -> Option<&mut TaskOptions> {
        self.tasks.get_mut(name)
    }

    /// The tasks with their options, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TaskOptions)> {
        self.tasks
            .iter()
            .map(|(name, options)| (name.as_str(), options))
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }
}
