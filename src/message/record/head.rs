//! The heads of records, as JSON objects.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::amqp::table::TableBuf;
use crate::message::headers::{self, HeadersError};
use crate::message::properties::MessageProperties;

/// The head of a Job record, as a child reads it. Main writes it from a [`Job`](super::Job).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct JobHead<'a> {
    /// Main's name for this job; Started and Done repeat it.
    pub job: u64,
    /// The task's registered name.
    #[serde(borrow)]
    pub task: Cow<'a, str>,
    /// The task's id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// All headers of the message: a JSON object of protocol 2, whatever protocol it came by.
    #[serde(borrow)]
    pub headers: &'a RawValue,
    /// The message's properties, headers apart.
    pub properties: MessageProperties,
    /// How the broker delivered it.
    #[serde(borrow)]
    pub delivery_info: DeliveryInfo<'a>,
    /// The worker's node name.
    #[serde(borrow)]
    pub hostname: Cow<'a, str>,
    /// What the worker adds for this kind of child; not part of the message.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub options: Option<&'a RawValue>,
}

/// How the broker delivered a message: `request.delivery_info` of a task.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct DeliveryInfo<'a> {
    /// The exchange it was published to; empty for the default exchange.
    #[serde(borrow)]
    pub exchange: Cow<'a, str>,
    /// Its routing key.
    #[serde(borrow)]
    pub routing_key: Cow<'a, str>,
    /// Its priority, if the publisher gave one.
    pub priority: Option<u8>,
    /// Whether it was delivered before.
    pub redelivered: bool,
}

/// The head of an Up record.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Up {
    /// The child's process id.
    pub pid: u32,
}

/// The head of a Started record.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Started {
    /// The job that begins.
    pub job: u64,
}

/// The head of a Done record: all that main needs, without reading a result.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Done {
    /// The job that ended.
    pub job: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Seconds that the task ran.
    pub runtime: f64,
    /// With `success`: the repr of what was returned, for log and event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// With `failure` and `retry`: the repr of the exception. With `rejected`: the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// With `failure` and `retry`: the traceback's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// With `rejected`: whether the broker shall deliver the message again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requeue: bool,
    /// Whether main shall store or send [`meta`](Self::meta). A child that has stored it itself, or
    /// has nothing to store, says no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub store: bool,
    /// Messages main shall publish, in this order and before anything is stored: the same task
    /// again after `retry`, callbacks and the next step of a chain after `success`, errbacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// The complete result meta, as a client of Celery reads it: the record's body. Empty when
    /// nothing is to be stored.
    #[serde(skip)]
    pub meta: Vec<u8>,
}

impl Done {
    /// An outcome with nothing to tell and nothing to store.
    pub fn new(job: u64, outcome: Outcome, runtime: f64) -> Self {
        Self {
            job,
            outcome,
            runtime,
            result: None,
            exception: None,
            traceback: None,
            requeue: false,
            store: false,
            publish: Vec::new(),
            meta: Vec::new(),
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It returned.
    Success,
    /// It failed.
    Failure,
    /// It is to run again later; the message for that is in [`Done::publish`], unless the child
    /// has published it.
    Retry,
    /// Acknowledge the message and store no state.
    Ignored,
    /// Reject the message at the broker; see [`Done::requeue`].
    Rejected,
    /// It was not run, for its body cannot be read.
    Undecodable,
}

/// A message to publish.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Publish {
    /// The exchange; empty for the default one.
    pub exchange: String,
    /// The routing key; with the default exchange, the queue's name.
    pub routing_key: String,
    /// The headers: the text of a JSON object.
    pub headers: String,
    /// The properties, headers apart.
    pub properties: MessageProperties,
    /// Whether it may find no queue: nobody has to hear a result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// The length of the body in octets; set when the record is written.
    pub(super) size: u32,
    /// Its body. In the record it stands after the result meta and the bodies before it.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl Publish {
    /// A message to publish, which has to reach a queue.
    pub fn new(
        exchange: impl Into<String>,
        routing_key: impl Into<String>,
        headers: String,
        properties: MessageProperties,
        body: Vec<u8>,
    ) -> Self {
        let (exchange, routing_key) = (exchange.into(), routing_key.into());
        Self {
            exchange,
            routing_key,
            headers,
            properties,
            optional: false,
            size: 0,
            body,
        }
    }

    /// The headers as a table, to publish them.
    ///
    /// # Errors
    /// When they are no JSON object, or not one that a table can hold.
    pub fn header_table(&self) -> Result<TableBuf, HeadersError> {
        headers::table_from_json(&self.headers)
    }
}

/// The head of a Note record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Note<'a> {
    /// Main's name for it; the Reply repeats it.
    pub note: u64,
    /// What has happened.
    #[serde(flatten)]
    pub about: About<'a>,
}

/// What a clerk is told. Those about a task come with its Job record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum About<'a> {
    /// The child that had the task is gone.
    Lost {
        /// The text of Celery's `WorkerLostError`.
        text: &'a str,
        /// It is not to be handed back, whatever the task says: it has done this too often.
        last: bool,
    },
    /// The task has run into its hard time limit.
    TimedOut {
        /// The limit in seconds.
        limit: f64,
    },
    /// The task was revoked, has expired, or was terminated.
    Revoked {
        /// `revoked`, `expired` or `terminated`.
        reason: &'a str,
        /// With `terminated`: the number of the signal.
        signal: Option<i32>,
    },
    /// A cold shutdown has taken the task from its child.
    Cancelled,
    /// No task has this name.
    Unregistered,
    /// The message is rejected: it is no task, or none that can be run.
    Refused {
        /// Why, if it is a task.
        reason: Option<&'a str>,
    },
    /// A task has come in.
    Received,
    /// One of the signals of Celery's main process.
    Signal {
        /// Its name.
        signal: &'a str,
        /// With `worker_shutting_down`: which signal, how, and the exit status to come.
        shutting_down: Option<(&'a str, &'a str, u8)>,
    },
    /// The message is one that main cannot read.
    Decode,
    /// Tasks were revoked that have not begun here: whoever asks the backend is to know.
    Flagged {
        /// Their ids.
        ids: &'a [String],
    },
    /// A command of remote control that is the app's own.
    Command {
        /// Its name.
        method: &'a str,
        /// Its arguments: JSON.
        arguments: &'a str,
        /// What it may ask the consumer for, by the name of the command that tells it: JSON.
        state: &'a str,
    },
}

/// The head of a Reply record.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Reply {
    /// The Note it answers.
    pub note: u64,
    /// What is to become of the task's message, if the note was to settle that.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// What a command has answered: JSON.
    #[serde(default)]
    pub answer: Option<String>,
    /// The commands that this one has main carry out: names, and arguments in JSON.
    #[serde(default)]
    pub orders: Vec<(String, String)>,
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Acknowledge it.
    Ack,
    /// Reject it.
    Reject,
    /// Hand it back to its queue.
    Requeue,
}
