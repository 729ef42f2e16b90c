//! The tasks by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Context, TaskOptions, TaskResult};

/// The tasks of an app by name, sorted, each with its options.
#[derive(Debug, Default)]
pub struct Registry {
    tasks: BTreeMap<String, Task>,
}

/// One registered task.
pub(crate) struct Task {
    pub(crate) options: TaskOptions,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn insert<F, A, R>(&mut self, name: String, function: F, options: TaskOptions)
    where
        F: Fn(&Context, A) -> TaskResult<R> + 'static,
        A: DeserializeOwned,
        R: Serialize,
    {
        let _ = function;
        self.tasks.insert(name, Task { options });
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }

    /// Each task's name with its options, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TaskOptions)> {
        self.tasks
            .iter()
            .map(|(name, task)| (name.as_str(), &task.options))
    }

    /// The options of a task; `None` when no task has that name.
    pub fn options(&self, name: &str) -> Option<&TaskOptions> {
        self.tasks.get(name).map(|task| &task.options)
    }
}
