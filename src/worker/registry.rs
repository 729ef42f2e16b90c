//! What main knows of the tasks its children can run: names and options, no functions.

use std::collections::BTreeMap;

/// The options of one task that main consults.
///
/// Names and defaults are Celery's. Options marked *later* are carried, and do nothing yet.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskOptions {
    /// Acknowledge after the task ended and its result is safe, rather than when a child is given it.
    pub acks_late: bool,
    /// Store and send no result.
    pub ignore_result: bool,
    /// With `ignore_result`, store failures all the same.
    pub store_errors_even_if_ignored: bool,
    /// Report the state STARTED when the task begins.
    pub track_started: bool,
    /// Hand a late-acknowledged message back to the queue when the child that ran it was lost.
    pub reject_on_worker_lost: bool,
    /// How often the task may be retried; `None` for ever.
    pub max_retries: Option<u32>,
    /// Seconds between retries that name no other time.
    pub default_retry_delay: f64,
    /// Hard time limit in seconds. *Later.*
    pub time_limit: Option<f64>,
    /// Soft time limit in seconds. *Later.*
    pub soft_time_limit: Option<f64>,
    /// Rate limit in Celery's form, such as `100/m`. *Later.*
    pub rate_limit: Option<String>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            acks_late: false,
            ignore_result: false,
            store_errors_even_if_ignored: false,
            track_started: false,
            reject_on_worker_lost: false,
            max_retries: Some(3),
            default_retry_delay: 180.0,
            time_limit: None,
            soft_time_limit: None,
            rate_limit: None,
        }
    }
}

/// The tasks of an app by name.
#[derive(Clone, Debug, Default, PartialEq)]
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

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }
}
