//! Results: the mapping that a client reads, whatever backend keeps it.
//!
//! [`ResultMeta`] writes it with the keys in Celery's order and the octets of Python's `json.dumps`.
//! Values that a task produced are JSON text and go through untouched. [`Exception`] is how a failure
//! looks inside it; its constructors word what main itself reports as Celery words it.

mod exception;
mod received;

use std::time::SystemTime;

use super::headers::push_integer;
use super::json::{Raw, push_string};
use super::moment;

pub use exception::Exception;
pub use received::ReceivedMeta;

/// The state of a task that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It failed.
    Failure,
    /// It is to run again.
    Retry,
    /// It was revoked, or had expired.
    Revoked,
    /// It runs; stored only for tasks that ask for it.
    Started,
    /// It returned.
    Success,
}

impl State {
    /// Celery's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Failure | Self::Revoked | Self::Success)
    }
}

/// A result as a backend stores it.
///
/// ```
/// use celeriac::message::result::{ResultMeta, State};
/// let meta = ResultMeta::new(State::Success, "an-id", "20");
/// let text = r#"{"status": "SUCCESS", "result": 20, "traceback": null, "children": [], "date_done": null, "task_id": "an-id"}"#;
/// assert_eq!(meta.to_json(), text);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ResultMeta<'a> {
    /// What became of the task.
    pub state: State,
    /// The text of a JSON value: what was returned, or [`Exception::to_json`].
    pub result: &'a str,
    /// The traceback's text.
    pub traceback: Option<&'a str>,
    /// The text of a JSON list: the result tuples of what the task started.
    pub children: &'a str,
    /// When it ended; written only for a state that is final.
    pub date_done: Option<SystemTime>,
    /// The group it belongs to.
    pub group_id: Option<&'a str>,
    /// The task that started it.
    pub parent_id: Option<&'a str>,
    /// More about the task, with the setting `result_extended`.
    pub extended: Option<Extended<'a>>,
    /// The task's id.
    pub task_id: &'a str,
}

/// What `result_extended` adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extended<'a> {
    /// The task's name.
    pub name: Option<&'a str>,
    /// The text of a JSON list: the positional arguments.
    pub args: Option<&'a str>,
    /// The text of a JSON object: the keyword arguments.
    pub kwargs: Option<&'a str>,
    /// The worker's node name.
    pub worker: Option<&'a str>,
    /// How often it was tried before.
    pub retries: Option<i64>,
    /// The routing key of the delivery.
    pub queue: Option<&'a str>,
    /// The names of the stamps, a JSON list, and the stamps, a JSON object.
    pub stamps: Option<(Raw<'a>, Raw<'a>)>,
}

impl<'a> ResultMeta<'a> {
    /// The least that a result says.
    pub fn new(state: State, task_id: &'a str, result: &'a str) -> Self {
        Self {
            state,
            result,
            traceback: None,
            children: "[]",
            date_done: None,
            group_id: None,
            parent_id: None,
            extended: None,
            task_id,
        }
    }

    /// The mapping as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(self.result.len() + 256);
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default() // ASCII, and the text given
    }

    /// Appends the mapping as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut members = Members(out);
        members.text("{\"status\": ", Some(self.state.as_str()));
        members.raw(", \"result\": ", Some(self.result));
        members.text(", \"traceback\": ", self.traceback);
        members.raw(", \"children\": ", Some(self.children));
        let date_done = self
            .date_done
            .filter(|_| self.state.is_ready())
            .map(moment::format);
        members.text(", \"date_done\": ", date_done.as_deref());
        if self.group_id.is_some() {
            members.text(", \"group_id\": ", self.group_id);
        }
        if self.parent_id.is_some() {
            members.text(", \"parent_id\": ", self.parent_id);
        }
        if let Some(extended) = &self.extended {
            extended.write(&mut members);
        }
        members.text(", \"task_id\": ", Some(self.task_id));
        out.push(b'}');
    }
}

impl Extended<'_> {
    fn write(&self, members: &mut Members<'_>) {
        members.text(", \"name\": ", self.name);
        members.raw(", \"args\": ", self.args);
        members.raw(", \"kwargs\": ", self.kwargs);
        members.text(", \"worker\": ", self.worker);
        match self.retries {
            Some(retries) => {
                members.raw(", \"retries\": ", Some(""));
                push_integer(members.0, retries);
            }
            None => members.raw(", \"retries\": ", None),
        }
        members.text(", \"queue\": ", self.queue);
        if let Some((names, stamps)) = self.stamps {
            members.raw(", \"stamped_headers\": ", Some(names.text()));
            for (key, value) in stamps.members() {
                if names.elements().any(|name| name.as_str() == key.as_str()) {
                    members.raw(", ", Some(key.text()));
                    members.raw(": ", Some(value.text()));
                }
            }
        }
    }
}

/// Appends members of an object. What is absent is null.
struct Members<'a>(&'a mut Vec<u8>);

impl Members<'_> {
    fn raw(&mut self, key: &str, json: Option<&str>) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(json.unwrap_or("null").as_bytes());
    }

    fn text(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => {
                self.raw(key, Some(""));
                push_string(self.0, text);
            }
            None => self.raw(key, None),
        }
    }
}

#[cfg(test)]
mod tests;
