//! What a running task may know about its call.

use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{Exception, Retry, TaskResult};
use crate::message::json::Raw;
use crate::message::moment;
use crate::message::record::JobHead;
use crate::sys::clock;
use crate::worker::OfTask;

/// The call a task is running for; lent to the task function.
#[derive(Clone, Debug, Default)]
pub struct Context {
    id: String,
    name: String,
    hostname: String,
    /// The text of a JSON object; what is asked for often is read out of it into the fields below.
    headers: String,
    shadow: Option<String>,
    args_repr: String,
    kwargs_repr: String,
    root_id: Option<String>,
    parent_id: Option<String>,
    group_id: Option<String>,
    retries: u32,
    ignore_result: Option<bool>,
    eta: Option<SystemTime>,
    expires: Option<SystemTime>,
    delivery_info: DeliveryInfo,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    /// When the soft time limit is reached.
    soft_deadline: Option<Instant>,
    /// Whether main is to be told when the body has been read.
    is_told_of: bool,
}

/// What main adds to a job.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    soft_limit: Option<f64>,
    tell: bool,
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
    /// The context of a job. A header of an unexpected type counts as absent, as everything but the id is optional.
    pub(crate) fn new(job: &JobHead<'_>) -> Self {
        let headers = job.headers.get();
        let options = job.options.map(|options| options.get());
        let options: Options = options
            .and_then(|options| serde_json::from_str(options).ok())
            .unwrap_or_default();
        let mut context = Self {
            id: job.id.clone().into_owned(),
            name: job.task.clone().into_owned(),
            hostname: job.hostname.clone().into_owned(),
            headers: headers.to_owned(),
            delivery_info: DeliveryInfo {
                exchange: job.delivery_info.exchange.clone().into_owned(),
                routing_key: job.delivery_info.routing_key.clone().into_owned(),
                priority: job.delivery_info.priority,
                redelivered: job.delivery_info.redelivered,
            },
            correlation_id: job.properties.correlation_id.clone(),
            reply_to: job.properties.reply_to.clone(),
            soft_deadline: options.soft_limit.and_then(soft_deadline),
            is_told_of: options.tell,
            ..Self::default()
        };
        for (name, value) in Raw::parse(headers)
            .iter()
            .flat_map(|headers| headers.members())
        {
            context.take_header(&name.as_str().unwrap_or_default(), value);
        }
        context
    }

    fn take_header(&mut self, name: &str, value: Raw<'_>) {
        let text = || value.as_str().map(|text| text.into_owned());
        let moment = || moment::parse(&value.as_str()?).ok();
        match name {
            "shadow" => self.shadow = text(),
            "argsrepr" => self.args_repr = text().unwrap_or_default(),
            "kwargsrepr" => self.kwargs_repr = text().unwrap_or_default(),
            "root_id" => self.root_id = text(),
            "parent_id" => self.parent_id = text(),
            "group" => self.group_id = text(),
            "retries" => {
                let count = value.as_i64().unwrap_or_default();
                self.retries = u32::try_from(count.max(0)).unwrap_or(u32::MAX);
            }
            "ignore_result" => self.ignore_result = value.as_bool(),
            "eta" => self.eta = moment(),
            "expires" => self.expires = moment(),
            _ => {}
        }
    }

    /// The task's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The task's registered name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that logs show: the caller's `shadow`, or else the registered one.
    pub fn display_name(&self) -> &str {
        self.shadow.as_deref().unwrap_or(&self.name)
    }

    /// The worker's node name, for example `celery@host`.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// How often this call was retried; 0 at first.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Every header of the message. The tree is built anew by each call.
    pub fn headers(&self) -> Map<String, Value> {
        serde_json::from_str(&self.headers).unwrap_or_default()
    }

    /// One header of the message, for example one the caller added.
    pub fn header(&self, name: &str) -> Option<Value> {
        let headers = Raw::parse(&self.headers).ok()?;
        let (_, value) = headers
            .members()
            .find(|(key, _)| key.as_str().as_deref() == Some(name))?;
        serde_json::from_str(value.text()).ok()
    }

    /// What a line of the log about it has beside its text.
    pub(crate) fn log_line(&self) -> OfTask<'_> {
        OfTask {
            id: &self.id,
            name: &self.name,
            root_id: self.root_id.as_deref().unwrap_or(&self.id),
            retries: self.retries.into(),
            traceback: None,
        }
    }

    /// The positional arguments as the caller's text for people, for example `(1, 2)`.
    pub fn args_repr(&self) -> &str {
        &self.args_repr
    }

    /// The keyword arguments as the caller's text for people, for example `{'x': 1}`.
    pub fn kwargs_repr(&self) -> &str {
        &self.kwargs_repr
    }

    /// The id of the first task of the workflow this call belongs to.
    pub fn root_id(&self) -> Option<&str> {
        self.root_id.as_deref()
    }

    /// The id of the task that sent this one.
    pub fn parent_id(&self) -> Option<&str> {
        self.parent_id.as_deref()
    }

    /// The id of the group this call is a member of.
    pub fn group_id(&self) -> Option<&str> {
        self.group_id.as_deref()
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

    /// Whether the caller said that it wants no result; `None` leaves that to the task.
    pub fn ignore_result(&self) -> Option<bool> {
        self.ignore_result
    }

    /// Whether main waits to hear that the body has been read.
    pub(super) fn is_told_of(&self) -> bool {
        self.is_told_of
    }

    /// How long until the soft time limit; nothing is left once it is exceeded. `None`: there is no limit.
    ///
    /// The clock is the child's own, so the limit is exact and never another task's.
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = self.soft_deadline?;
        Some(deadline.saturating_duration_since(clock::now()))
    }

    /// Whether the task has run longer than its soft time limit, and should come to an end.
    pub fn soft_limit_exceeded(&self) -> bool {
        self.time_left() == Some(Duration::ZERO)
    }

    /// Fails the task once its soft time limit is exceeded, as Python's tasks fail when they do not catch
    /// `SoftTimeLimitExceeded`: `context.check_soft_limit()?` in the loop of a long task is all that it takes.
    ///
    /// # Errors
    /// `SoftTimeLimitExceeded` from then on.
    #[track_caller]
    pub fn check_soft_limit(&self) -> TaskResult<()> {
        if self.soft_limit_exceeded() {
            let mut exception = Exception::new("SoftTimeLimitExceeded", Value::Null);
            exception.args.clear();
            return Err(exception.module("billiard.exceptions").into());
        }
        Ok(())
    }

    /// A wish to run this call again, to be returned as the task's error: `Err(context.retry())?`.
    ///
    /// Without more it runs after the task's `default_retry_delay`, and at most `max_retries` times.
    #[track_caller]
    pub fn retry(&self) -> Retry {
        Retry::new()
    }
}

fn soft_deadline(limit: f64) -> Option<Instant> {
    clock::now().checked_add(Duration::try_from_secs_f64(limit).ok()?)
}
