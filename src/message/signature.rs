//! Calling tasks: a name, arguments and options become a message of protocol 2.
//!
//! Bodies and headers are those that Celery's own publisher writes, in its order; so is what a retry
//! keeps and changes of the message it repeats. Where the message goes is the caller's decision.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::headers::{push_float, push_integer};
use super::json::{REPR_LENGTH, Raw, push_string, repr, repr_tuple};
use super::moment;
use super::properties::MessageProperties;
use super::record::{DeliveryInfo, Publish};

/// An id for a new task.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Who publishes, as Celery's clients name themselves.
pub fn origin(pid: impl fmt::Display, host: &str) -> String {
    format!("gen{pid}@{host}")
}

/// A call of a task.
///
/// ```
/// use std::time::SystemTime;
/// use celeriac::message::json::Raw;
/// use celeriac::message::signature::Call;
///
/// let args = Raw::parse("[1, 2]").unwrap();
/// let call = Call { args, ..Call::new("tasks.add", "an-id", "gen1@host") };
/// let message = call.publish("", "celery", SystemTime::UNIX_EPOCH);
/// assert_eq!(message.body.len(), 81);
/// assert!(message.headers.contains(r#""argsrepr":"(1, 2)""#));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    /// The task's registered name.
    pub task: &'a str,
    /// The new task's id; see [`new_id`].
    pub id: &'a str,
    /// Who publishes; see [`origin`].
    pub origin: &'a str,
    /// Positional arguments, a list.
    pub args: Raw<'a>,
    /// Keyword arguments, a mapping.
    pub kwargs: Raw<'a>,
    /// Run it not before then.
    pub eta: Option<SystemTime>,
    /// Run it not after then.
    pub expires: Option<SystemTime>,
    /// How often it was tried before.
    pub retries: u32,
    /// 0 to 9, or up to 255 where the queue allows it.
    pub priority: Option<u8>,
    /// The child is killed after this long.
    pub hard_limit: Option<Duration>,
    /// The task is told to end after this long.
    pub soft_limit: Option<Duration>,
    /// The name to show instead of `task`.
    pub shadow: Option<&'a str>,
    /// The task that began the workflow; the task itself if nothing is said.
    pub root_id: Option<&'a str>,
    /// The task that publishes this one.
    pub parent_id: Option<&'a str>,
    /// The group it belongs to.
    pub group: Option<&'a str>,
    /// Its place in the group.
    pub group_index: Option<i64>,
    /// Whether the result is of no interest. Nothing: the worker's settings decide.
    pub ignore_result: Option<bool>,
    /// The queue for results of the rpc backend.
    pub reply_to: Option<&'a str>,
    /// In place of the task's id.
    pub correlation_id: Option<&'a str>,
    /// More headers, a mapping. They win over those that are made here.
    pub headers: Option<Raw<'a>>,
    /// What is to happen after the task.
    pub embed: Embed<'a>,
}

/// What a body says is to happen after its task: each a list of signatures, `chord` one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embed<'a> {
    /// After success.
    pub callbacks: Option<Raw<'a>>,
    /// After failure.
    pub errbacks: Option<Raw<'a>>,
    /// After success, one after the other, the next one last.
    pub chain: Option<Raw<'a>>,
    /// After the success of all of its group.
    pub chord: Option<Raw<'a>>,
}

impl<'a> Call<'a> {
    /// A call without arguments or options.
    pub fn new(task: &'a str, id: &'a str, origin: &'a str) -> Self {
        Self {
            task,
            id,
            origin,
            args: Raw::EMPTY_LIST,
            kwargs: Raw::EMPTY_MAPPING,
            eta: None,
            expires: None,
            retries: 0,
            priority: None,
            hard_limit: None,
            soft_limit: None,
            shadow: None,
            root_id: None,
            parent_id: None,
            group: None,
            group_index: None,
            ignore_result: None,
            reply_to: None,
            correlation_id: None,
            headers: None,
            embed: Embed::default(),
        }
    }

    /// The message, for an exchange and routing key. `now` is needed to tell the broker how long
    /// the message may wait.
    pub fn publish(&self, exchange: &str, routing_key: &str, now: SystemTime) -> Publish {
        let properties = MessageProperties {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            delivery_mode: Some(2),
            priority: Some(self.priority.unwrap_or_default()),
            correlation_id: Some(self.correlation_id.unwrap_or(self.id).into()),
            reply_to: Some(self.reply_to.unwrap_or_default().into()),
            expiration: self.expires.map(|expires| expiration(expires, now)),
            ..MessageProperties::default()
        };
        Publish::new(
            exchange,
            routing_key,
            self.headers(),
            properties,
            self.body(),
        )
    }

    /// The headers of protocol 2, in Celery's order.
    fn headers(&self) -> String {
        let mut headers = Object::new(self.headers);
        let moment = |at: Option<SystemTime>| at.map(moment::format);
        headers.text("lang", Some("py"));
        headers.text("task", Some(self.task));
        headers.text("id", Some(self.id));
        headers.text("shadow", self.shadow);
        headers.text("eta", moment(self.eta).as_deref());
        headers.text("expires", moment(self.expires).as_deref());
        headers.text("group", self.group);
        headers.integer("group_index", self.group_index);
        headers.integer("retries", Some(self.retries.into()));
        headers.raw("timelimit", &limits(self.hard_limit, self.soft_limit));
        headers.text("root_id", Some(self.root_id.unwrap_or(self.id)));
        headers.text("parent_id", self.parent_id);
        headers.text("argsrepr", Some(&repr_tuple(self.args, REPR_LENGTH)));
        headers.text("kwargsrepr", Some(&repr(self.kwargs, REPR_LENGTH)));
        headers.text("origin", Some(self.origin));
        let ignore_result = self
            .ignore_result
            .map(|ignore| if ignore { "true" } else { "false" });
        headers.raw("ignore_result", ignore_result.unwrap_or("null"));
        headers.integer("replaced_task_nesting", Some(0));
        headers.raw("stamped_headers", "null");
        headers.raw("stamps", "{}");
        headers.finish()
    }

    fn body(&self) -> Vec<u8> {
        let text = |value: Option<Raw<'a>>| value.map_or("null", Raw::text);
        format!(
            "[{}, {}, {{\"callbacks\": {}, \"errbacks\": {}, \"chain\": {}, \"chord\": {}}}]",
            self.args.text(),
            self.kwargs.text(),
            text(self.embed.callbacks),
            text(self.embed.errbacks),
            text(self.embed.chain),
            text(self.embed.chord),
        )
        .into_bytes()
    }
}

/// `[hard, soft]` in seconds.
fn limits(hard: Option<Duration>, soft: Option<Duration>) -> String {
    let mut out = vec![b'['];
    for (index, limit) in [hard, soft].into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match limit {
            None => out.extend_from_slice(b"null"),
            Some(limit) if limit.subsec_nanos() == 0 => {
                push_integer(&mut out, i64::try_from(limit.as_secs()).unwrap_or(i64::MAX));
            }
            Some(limit) => push_float(&mut out, limit.as_secs_f64()),
        }
    }
    out.push(b']');
    String::from_utf8(out).unwrap_or_default() // only ASCII was written
}

/// The property `expiration`: milliseconds from now, in decimal; none are left of the past.
fn expiration(expires: SystemTime, now: SystemTime) -> String {
    expires
        .duration_since(now)
        .unwrap_or_default()
        .as_millis()
        .to_string()
}

/// A task that is to run once more.
#[derive(Clone, Copy, Debug)]
pub struct Retry<'a> {
    /// The task's id.
    pub id: &'a str,
    /// The headers it came with, a mapping.
    pub headers: Raw<'a>,
    /// The properties it came with.
    pub properties: &'a MessageProperties,
    /// Where it came by.
    pub delivery_info: &'a DeliveryInfo<'a>,
    /// The body it came with, in whatever form.
    pub body: &'a [u8],
    /// Run it not before then. Nothing: at once.
    pub eta: Option<SystemTime>,
}

impl Retry<'_> {
    /// The same message again, tried once more often.
    ///
    /// It goes where it came from, with everything it came with, custom headers and the publisher's
    /// reprs of the arguments included. Only `retries` and `eta` change; the broker's notes about
    /// dead letters are dropped; and a task without parent becomes its own, as in Celery, whose
    /// retries are published from inside the task.
    pub fn publish(&self, now: SystemTime) -> Publish {
        let mut headers = Object::new(None);
        let mut retries = 0;
        let mut parent = None;
        let mut expires = None;
        for (key, value) in self.headers.members() {
            let name = key.as_str().unwrap_or_default();
            match &*name {
                "retries" => retries = value.as_i64().unwrap_or_default(),
                "parent_id" => parent = Some(value).filter(|value| !value.is_null()),
                "eta" => {}
                name if is_death(name) => {}
                name => {
                    if name == "expires" {
                        expires = value.as_str().and_then(|text| moment::parse(&text).ok());
                    }
                    headers.raw(name, value.text());
                }
            }
        }
        headers.text("eta", self.eta.map(moment::format).as_deref());
        headers.integer("retries", Some(retries.saturating_add(1)));
        match parent {
            Some(parent) => headers.raw("parent_id", parent.text()),
            None => headers.text("parent_id", Some(self.id)),
        }
        let properties = MessageProperties {
            expiration: expires.map(|expires| expiration(expires, now)),
            ..self.properties.clone()
        };
        let info = self.delivery_info;
        let (exchange, routing_key) = (&*info.exchange, &*info.routing_key);
        Publish::new(
            exchange,
            routing_key,
            headers.finish(),
            properties,
            self.body.to_vec(),
        )
    }
}

/// What a broker adds to a message that it dead-letters.
fn is_death(header: &str) -> bool {
    header == "x-death"
        || header.starts_with("x-first-death-")
        || header.starts_with("x-last-death-")
}

/// The text of a JSON object under construction.
struct Object<'a> {
    text: Vec<u8>,
    /// Members that come last and in place of others of the same name.
    last: Option<Raw<'a>>,
}

impl<'a> Object<'a> {
    fn new(last: Option<Raw<'a>>) -> Self {
        let mut text = Vec::with_capacity(768);
        text.push(b'{');
        Self { text, last }
    }

    fn raw(&mut self, key: &str, json: &str) {
        let replaced = |raw: Raw<'_>| {
            raw.members()
                .any(|(name, _)| name.as_str().as_deref() == Some(key))
        };
        if !self.last.is_some_and(replaced) {
            self.push(key, json);
        }
    }

    fn text(&mut self, key: &str, text: Option<&str>) {
        let mut json = Vec::new();
        match text {
            Some(text) => push_string(&mut json, text),
            None => json.extend_from_slice(b"null"),
        }
        self.raw(key, std::str::from_utf8(&json).unwrap_or("null"));
    }

    fn integer(&mut self, key: &str, integer: Option<i64>) {
        match integer {
            Some(integer) => self.raw(key, &integer.to_string()),
            None => self.raw(key, "null"),
        }
    }

    fn push(&mut self, key: &str, json: &str) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        push_string(&mut self.text, key);
        self.text.push(b':');
        self.text.extend_from_slice(json.as_bytes());
    }

    fn finish(mut self) -> String {
        for (key, value) in self.last.into_iter().flat_map(Raw::members) {
            self.push(&key.as_str().unwrap_or_default(), value.text());
        }
        self.text.push(b'}');
        String::from_utf8(self.text).unwrap_or_default() // ASCII, and slices of text
    }
}
