//! The tasks by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments::Arguments;
use super::error::{Exception, TaskError};
use super::{Context, TaskOptions, TaskResult};
use crate::message::json;
use crate::worker;

/// A task function behind its binding: takes the call's arguments, gives the value's JSON.
type Function = Box<dyn Fn(&Context, &Arguments<'_>) -> TaskResult<String>>;

/// The tasks of an app by name, sorted, each with its options.
#[derive(Debug, Default)]
pub struct Registry {
    tasks: BTreeMap<String, Task>,
}

/// One registered task.
pub(crate) struct Task {
    pub(crate) options: TaskOptions,
    pub(crate) function: Function,
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
        let short_name = function_name(&name).to_owned();
        let function: Function = Box::new(move |context, arguments| {
            let value = function(context, arguments.bind(&short_name)?)?;
            json::to_string(&value).map_err(unserializable)
        });
        self.tasks.insert(name, Task { options, function });
    }

    /// The task of that name.
    pub(crate) fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.get(name)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }

    /// What main has to know of the tasks: names and options.
    pub fn metadata(&self) -> worker::Registry {
        let mut metadata = worker::Registry::new();
        for (name, task) in &self.tasks {
            metadata.insert(name.clone(), task.options.clone());
        }
        metadata
    }
}

/// The function's name in error texts: the last part of the task's name.
pub(super) fn function_name(task: &str) -> &str {
    task.rsplit('.').next().unwrap_or(task)
}

/// A value that JSON cannot hold fails the task as it does in Python.
fn unserializable(error: serde_json::Error) -> TaskError {
    Exception::new("EncodeError", error.to_string())
        .module("kombu.exceptions")
        .into()
}
