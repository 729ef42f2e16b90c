//! The commands of `inspect`, and what they answer.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connection::ClientError;
use super::control::{Control, NodeReply, Refused};

/// The answers of nodes by their names.
pub type Nodes<T> = BTreeMap<String, Result<T, Refused>>;

/// Asks nodes; see [`Control::inspect`].
#[derive(Debug)]
pub struct Inspect<'a> {
    control: &'a mut Control,
}

/// How far a task is (`active`, `reserved`, `scheduled`, `ready`), and the task, by id.
pub type Found = BTreeMap<String, (String, TaskInfo)>;

/// A task in a worker's hands.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub id: String,
    /// Its name, or the one it is shown by.
    pub name: String,
    /// Its positional arguments.
    pub args: Value,
    /// Its keyword arguments.
    pub kwargs: Value,
    /// The name it is registered by.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// The worker's node name.
    pub hostname: Option<String>,
    /// When it began, in seconds since 1970; not before a child has it.
    pub time_start: Option<f64>,
    /// Whether the broker may forget its message.
    pub acknowledged: bool,
    /// How its message came.
    pub delivery_info: Value,
    /// The process that runs it.
    pub worker_pid: Option<i64>,
}

/// A task that waits for its time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Scheduled {
    /// Its time, in ISO 8601.
    pub eta: String,
    /// The timer's priority, not the message's.
    pub priority: i64,
    /// The task.
    pub request: TaskInfo,
}

/// A worker in numbers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// How many tasks of each name were accepted.
    pub total: BTreeMap<String, u64>,
    /// The main process.
    pub pid: i64,
    /// Seconds since it began.
    #[serde(default)]
    pub uptime: i64,
    /// How many messages it may have in hand; a text where it consumes nothing.
    #[serde(default)]
    pub prefetch_count: Value,
    /// The pool; see `spec` of Celery's prefork pool: `max-concurrency`, `processes`, and others.
    #[serde(default)]
    pub pool: Value,
    /// Everything else, as it came.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// Each fails when the connection does; that nobody answers gives an empty mapping.
impl<'a> Inspect<'a> {
    pub(super) fn new(control: &'a mut Control) -> Self {
        Self { control }
    }

    /// Asks anything.
    ///
    /// # Errors
    /// As [`Control::call`]; so for the others.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        method: &str,
        arguments: &Value,
    ) -> Result<Nodes<T>, ClientError> {
        self.each(method, arguments, NodeReply::read)
    }

    fn each<T>(
        &mut self,
        method: &str,
        arguments: &Value,
        read: fn(&NodeReply) -> Result<T, Refused>,
    ) -> Result<Nodes<T>, ClientError> {
        let replies = self.control.call(method, arguments)?;
        let pairs = replies.into_iter().map(|reply| {
            let value = read(&reply);
            (reply.node, value)
        });
        Ok(pairs.collect())
    }

    /// Who is there: each says `pong`.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn ping(&mut self) -> Result<Nodes<String>, ClientError> {
        self.each("ping", &json!({}), NodeReply::ok)
    }

    /// The tasks that run.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn active(&mut self) -> Result<Nodes<Vec<TaskInfo>>, ClientError> {
        self.ask("active", &json!({"safe": null}))
    }

    /// The tasks that wait for a child.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn reserved(&mut self) -> Result<Nodes<Vec<TaskInfo>>, ClientError> {
        self.ask("reserved", &json!({}))
    }

    /// The tasks that wait for their time.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn scheduled(&mut self) -> Result<Nodes<Vec<Scheduled>>, ClientError> {
        self.ask("scheduled", &json!({}))
    }

    /// The ids that are revoked.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn revoked(&mut self) -> Result<Nodes<Vec<String>>, ClientError> {
        self.ask("revoked", &json!({}))
    }

    /// The tasks that workers know, each with the attributes of it that are asked for: `name [rate_limit=10/m]`.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn registered(&mut self, attributes: &[&str]) -> Result<Nodes<Vec<String>>, ClientError> {
        self.ask("registered", &json!({"taskinfoitems": attributes}))
    }

    /// How far tasks are, of those ids that a worker knows.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn query_task(&mut self, ids: &[&str]) -> Result<Nodes<Found>, ClientError> {
        self.ask("query_task", &json!({"ids": ids}))
    }

    /// The queues that workers consume, as kombu describes them.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn active_queues(&mut self) -> Result<Nodes<Vec<Value>>, ClientError> {
        self.ask("active_queues", &json!({}))
    }

    /// Workers in numbers.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn stats(&mut self) -> Result<Nodes<Stats>, ClientError> {
        self.ask("stats", &json!({}))
    }

    /// What a bug report needs.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn report(&mut self) -> Result<Nodes<String>, ClientError> {
        self.each("report", &json!({}), NodeReply::ok)
    }
}
