//! What a running task may know about its call.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::error::Retry;

/// The call a task is running for; lent to the task function.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) hostname: String,
    pub(crate) retries: u32,
    pub(crate) headers: Map<String, Value>,
    pub(crate) delivery_info: DeliveryInfo,
    pub(crate) correlation_id: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) eta: Option<SystemTime>,
    pub(crate) expires: Option<SystemTime>,
}

/// How the broker delivered the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryInfo {
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// Its priority, if the publisher gave one.
    pub priority: Option<u8>,
    /// Whether it had been delivered before.
    pub redelivered: bool,
}

impl Context {
    /// The task's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The task's registered name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The worker's node name, for example `celery@host`.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// How often this call was retried; 0 at first.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Every header of the message.
    pub fn headers(&self) -> &Map<String, Value> {
        &self.headers
    }

    /// One header's text; `None` when it is missing, null or something else.
    fn text_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }

    /// The positional arguments as the caller's text for people, for example `(1, 2)`.
    pub fn args_repr(&self) -> &str {
        self.text_header("argsrepr").unwrap_or("")
    }

    /// The keyword arguments as the caller's text for people, for example `{'x': 1}`.
    pub fn kwargs_repr(&self) -> &str {
        self.text_header("kwargsrepr").unwrap_or("")
    }

    /// The id of the first task of the workflow this call belongs to.
    pub fn root_id(&self) -> Option<&str> {
        self.text_header("root_id")
    }

    /// The id of the task that sent this one.
    pub fn parent_id(&self) -> Option<&str> {
        self.text_header("parent_id")
    }

    /// The id of the group this call is a member of.
    pub fn group_id(&self) -> Option<&str> {
        self.text_header("group")
    }

    /// The publisher, `gen<pid>@<host>`.
    pub fn origin(&self) -> Option<&str> {
        self.text_header("origin")
    }

    /// The moment before which the call was not to run.
    pub fn eta(&self) -> Option<SystemTime> {
        self.eta
    }

    /// The moment after which the call is not to run.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// How the broker delivered the message.
    pub fn delivery_info(&self) -> &DeliveryInfo {
        &self.delivery_info
    }

    /// The message's correlation id, as a rule the task's id.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// The queue the caller waits on, if it waits.
    pub fn reply_to(&self) -> Option<&str> {
        self.reply_to.as_deref()
    }

    /// A wish to run this call again, to be returned as the task's error: `Err(context.retry())?`.
    ///
    /// Without more it runs after the task's `default_retry_delay`, and at most `max_retries` times.
    #[track_caller]
    pub fn retry(&self) -> Retry {
        Retry::new()
    }
}
