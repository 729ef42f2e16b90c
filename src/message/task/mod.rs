//! A received message, read as far as main needs it.
//!
//! [`receive`] decides what a message is, in the order a Celery worker does: a header `task` makes
//! it protocol 2; without one, a body that is a mapping with `task` makes it protocol 1; a protocol
//! 2 message whose body is such a mapping is a hybrid. Older messages are turned into protocol 2
//! here, by moving slices around, so that nothing above and no child knows of any other.
//!
//! What cannot be run is a [`Refusal`], which says what the broker is to be told and what to log.
//! Where a Python worker dies of a message (no `id`, a `task` that is no string, a body of another
//! shape), it is an [`InvalidTask`] here.
//!
//! The headers are read in one pass over the table's octets; a protocol 2 body is not read at all.

mod accept;
mod draft;
mod field;
mod older;
mod refusal;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use self::draft::Draft;
use super::body::{Arguments, BodyError};
use super::headers::Headers;
use crate::amqp::Properties;
use crate::amqp::table::{Array, Table};

pub use accept::{Accept, JSON};
pub use refusal::{InvalidTask, Refusal};

/// The protocol of a message as it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Everything in the body, a mapping.
    One,
    /// Everything about the task in the headers.
    Two,
    /// The headers of protocol 2 over the body of protocol 1.
    Hybrid,
}

/// A task to run: what the headers say, and the body.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMessage<'a> {
    /// How it was published.
    pub protocol: Protocol,
    /// The task's registered name; header `task`.
    pub name: Cow<'a, str>,
    /// The task's id.
    pub id: Cow<'a, str>,
    /// The name to show instead of `name`; see [`display_name`](Self::display_name).
    pub shadow: Option<Cow<'a, str>>,
    /// Not to be run before this moment.
    pub eta: Option<Moment<'a>>,
    /// Not to be run after this moment.
    pub expires: Option<Moment<'a>>,
    /// How often it was tried before.
    pub retries: i64,
    /// How often it has replaced itself by another task.
    pub replaced: i64,
    /// How often a quorum queue has had it back; header `x-delivery-count`.
    pub delivery_count: u32,
    /// After this long the child is killed.
    pub hard_limit: Option<Duration>,
    /// After this long the task is told to end.
    pub soft_limit: Option<Duration>,
    /// The id of the task that began the workflow; nothing when the publisher did not say.
    pub root_id: Option<Cow<'a, str>>,
    /// The id of the task that published this one.
    pub parent_id: Option<Cow<'a, str>>,
    /// The id of its group.
    pub group: Option<Cow<'a, str>>,
    /// Its place in the group.
    pub group_index: Option<i64>,
    /// The publisher's text for the arguments, for logs and events. May be empty.
    pub argsrepr: Cow<'a, str>,
    /// The publisher's text for the keyword arguments. May be empty.
    pub kwargsrepr: Cow<'a, str>,
    /// Who published it first.
    pub origin: Option<Cow<'a, str>>,
    /// Whether the result is of no interest. Nothing: as the task's own settings say.
    pub ignore_result: Option<bool>,
    /// The stamps, when there are any.
    pub stamps: Option<Table<'a>>,
    /// The names of the stamps that revoking by stamp looks at.
    pub stamped_headers: Option<Array<'a>>,
    /// How the body is compressed.
    pub compression: Option<Cow<'a, str>>,
    /// All headers.
    pub headers: Headers<'a>,
    /// The body, `[args, kwargs, embed]` in its content type and compression.
    pub body: Cow<'a, [u8]>,
    /// Whether the body is JSON as it stands.
    json: bool,
}

impl TaskMessage<'_> {
    /// The name for logs and events.
    pub fn display_name(&self) -> &str {
        self.shadow.as_deref().unwrap_or(&self.name)
    }

    /// Whether the body is JSON as it stands, and so one that [`check_body`](Self::check_body) checks.
    pub fn is_plain_json(&self) -> bool {
        self.json
    }

    /// Checks in one pass that the body is what a task can be run with, if it is plain JSON; other
    /// bodies pass, and are the child's to refuse. Worth it in main while bodies are small.
    ///
    /// # Errors
    /// When the body is no JSON, or of another shape.
    pub fn check_body(&self) -> Result<(), Refusal> {
        if !self.json {
            return Ok(());
        }
        match Arguments::scan(&self.body) {
            Ok(_) => Ok(()),
            Err(BodyError::NotJson(error)) => Err(Refusal::Undecodable(error)),
            Err(BodyError::Shape(error)) => Err(InvalidTask::Shape(error).into()),
        }
    }
}

/// A moment from a header, with the text it was given as, which events repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment<'a> {
    /// When it is.
    pub at: SystemTime,
    /// As the publisher wrote it.
    pub text: Cow<'a, str>,
}

/// Reads a delivered message.
///
/// # Errors
/// What is to be done with a message that is no task to run.
///
/// ```
/// use celeriac::amqp::{Properties, table::TableBuf};
/// use celeriac::message::task::{Accept, InvalidTask, Refusal, receive};
///
/// let mut headers = TableBuf::new();
/// headers.insert("task", "tasks.add").unwrap();
/// headers.insert("id", "8c6e").unwrap();
/// let properties = Properties {
///     content_type: Some("application/json".into()),
///     headers: Some(headers.as_table()),
///     ..Properties::default()
/// };
/// let task = receive(&properties, b"[[1, 2], {}, null]", &Accept::default()).unwrap();
/// assert_eq!((&*task.name, &*task.id, task.retries), ("tasks.add", "8c6e", 0));
///
/// let properties = Properties { headers: None, ..properties };
/// let refusal = receive(&properties, b"[1, 2]", &Accept::default()).unwrap_err();
/// assert_eq!(refusal, Refusal::Unknown);
/// ```
pub fn receive<'a>(
    properties: &Properties<'a>,
    body: &'a [u8],
    accept: &Accept,
) -> Result<TaskMessage<'a>, Refusal> {
    let table = properties.headers.unwrap_or_default();
    let draft = Draft::read(table).map_err(InvalidTask::Headers)?;
    let content_type = properties.content_type.map(|name| name.to_string_lossy());
    let content_type = content_type.as_deref().unwrap_or(accept::DATA);
    if !accept.allows(content_type) {
        return Err(accept.refusal(content_type));
    }
    let json = content_type == JSON && draft.compression.is_none();
    if !draft.has_task() {
        if !json {
            return Err(Refusal::Foreign);
        }
        return older::read(Protocol::One, table, draft, body);
    }
    if json && body.trim_ascii_start().starts_with(b"{") {
        return older::read(Protocol::Hybrid, table, draft, body);
    }
    Ok(draft.finish(
        Protocol::Two,
        Headers::Table(table),
        Cow::Borrowed(body),
        json,
    )?)
}

#[cfg(test)]
mod tests;
