//! Lines of the log that are about a task. As text they read like Celery's; as JSON they have the task's fields too.

use std::fmt;

use log::kv::{Error, Key, Source, Value, VisitSource};
use log::{Level, Record};

use super::request::Request;
use crate::message::task::TaskMessage;

/// The log target of what USR1 asks for: text of many lines for a person, whatever the level of the log.
pub const DUMP: &str = "dump";

/// The task that a line is about: the line's key-values in the [`log`] crate's sense.
#[derive(Clone, Copy, Debug)]
pub struct OfTask<'a> {
    /// Its id.
    pub id: &'a str,
    /// The name it is registered by.
    pub name: &'a str,
    /// The first task of its workflow; often itself.
    pub root_id: &'a str,
    /// How often it was tried before.
    pub retries: i64,
    /// Where it failed, in many lines. As text it follows the line.
    pub traceback: Option<&'a str>,
}

impl OfTask<'_> {
    /// Logs a line about what happens to the task.
    pub fn info(&self, line: fmt::Arguments<'_>) {
        self.log(Level::Info, line);
    }

    /// Logs a line about the task.
    pub fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        if level > log::max_level() {
            return;
        }
        let record = Record::builder()
            .level(level)
            .target(env!("CARGO_PKG_NAME"))
            .key_values(self)
            .args(line)
            .build();
        log::logger().log(&record);
    }
}

impl Source for OfTask<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        visitor.visit_pair(Key::from("task_id"), Value::from(self.id))?;
        visitor.visit_pair(Key::from("name"), Value::from(self.name))?;
        visitor.visit_pair(Key::from("root_id"), Value::from(self.root_id))?;
        visitor.visit_pair(Key::from("retries"), Value::from(self.retries))?;
        match self.traceback {
            Some(text) => visitor.visit_pair(Key::from("traceback"), Value::from(text)),
            None => Ok(()),
        }
    }
}

impl<'a> From<&'a TaskMessage<'_>> for OfTask<'a> {
    fn from(task: &'a TaskMessage<'_>) -> Self {
        Self {
            id: &task.id,
            name: &task.name,
            root_id: task.root_id.as_deref().unwrap_or(&task.id),
            retries: task.retries,
            traceback: None,
        }
    }
}

impl Request {
    /// Logs a line about it that names what failed.
    pub(super) fn error(&self, line: fmt::Arguments<'_>) {
        self.log(Level::Error, line);
    }

    /// Logs a line about it that somebody should look at.
    pub(super) fn warn(&self, line: fmt::Arguments<'_>) {
        self.log(Level::Warn, line);
    }

    /// Logs a line about what happens to it, for everybody.
    pub(super) fn info(&self, line: fmt::Arguments<'_>) {
        self.log(Level::Info, line);
    }

    /// Logs a line about what happens to it, for who looks closely.
    pub(super) fn debug(&self, line: fmt::Arguments<'_>) {
        self.log(Level::Debug, line);
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        let task = OfTask {
            id: &self.id,
            name: &self.task,
            root_id: self.root_id.as_deref().unwrap_or(&self.id),
            retries: self.retries(),
            traceback: None,
        };
        task.log(level, line);
    }
}
