//! One task message on its way through the worker.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};

use super::acks::Acks;
use super::limits::Limits;
use super::recall::{Identity, Run};
use crate::amqp::connection::{Delivery, DeliveryTag};
use crate::hub::TimerKey;
use crate::message::headers;
use crate::message::record::Verdict;
use crate::message::task::TaskMessage;
use crate::sys::process::Pid;
use crate::util::slots::Key;
use crate::worker::options::TaskOptions;

/// A task message that was accepted, until the broker was told what became of it.
///
/// ```text
///   Held ----> Limited ------> Waiting ---> Running ---> Publishing ---> gone
///  (an ETA)   (a rate limit)  (a child)    (in one)  |   (a confirm)       ^
///                                                    +--> Ending ----------+
///                                                        (its child is being killed)
/// ```
#[derive(Debug)]
pub struct Request {
    /// What it is acknowledged by.
    pub tag: DeliveryTag,
    /// When it came, by that tag.
    pub(super) delivered: Instant,
    /// Its tag is of a channel that is gone: the broker delivers it again.
    pub(super) orphaned: bool,
    /// How often a quorum queue has had it back.
    pub(super) delivery_count: u32,
    /// Which run of the task it is.
    pub(super) run: Run,
    /// Acknowledged early, but not before its child has read its body: if that cannot be read it is not to be
    /// thrown away.
    pub(super) unread: bool,
    /// Whether the broker was told: it is told once.
    pub acknowledged: bool,
    /// The task's registered name.
    pub task: String,
    /// The task's name for logs and events.
    pub name: String,
    /// The task's id.
    pub id: String,
    /// Where a result of the rpc backend goes.
    pub reply_to: Option<String>,
    /// What a result is correlated by, when it is not the id.
    pub correlation_id: Option<String>,
    /// The id of its group.
    pub group_id: Option<String>,
    /// The first task of its workflow, where that is another one.
    pub(super) root_id: Option<String>,
    /// The id of the task that published it.
    pub parent_id: Option<String>,
    /// Its stamps, those that revoking looks at.
    pub stamps: Map<String, Value>,
    /// Not to be run after this moment.
    pub expires: Option<SystemTime>,
    /// How long it may run.
    pub limits: Limits,
    /// When a child was given it.
    pub started: Option<SystemTime>,
    /// Acknowledged when it has ended, not when a child is given it.
    pub acks_late: bool,
    /// Late, and failed: acknowledged all the same.
    pub acks_on_failure: bool,
    /// Late, and ended by its hard limit: acknowledged all the same.
    pub acks_on_timeout: bool,
    /// Late, and its child was lost: handed back to the queue.
    pub reject_on_worker_lost: bool,
    /// Nobody wants its result.
    pub ignore_result: bool,
    /// STARTED is reported.
    pub track_started: bool,
    /// Events tell of it, when events are sent (`send_events`).
    pub sends_events: bool,
    /// The Job record a child is given, from then on: what remote control and the clerk of a Python app are told.
    /// A large body is left out unless a clerk may need it.
    pub(super) record: Vec<u8>,
    /// How far it is.
    pub state: State,
    /// Its timer: among the held ones while it is held, else among what is due.
    pub(super) alarm: Option<TimerKey>,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its ETA.
    Held,
    /// Waits for its rate limit.
    Limited,
    /// No task here has its name; it waits for its being handed back.
    Foreign,
    /// Waits for a child.
    Waiting,
    /// A child has it.
    Running {
        /// The child.
        pid: Pid,
        /// Since when.
        since: Instant,
    },
    /// Its child is being killed, or is ending.
    Ending {
        /// The child.
        pid: Pid,
        /// Why.
        cause: Cause,
    },
    /// Has ended; so many publications are to be confirmed before the broker hears of it.
    Publishing {
        /// How many.
        confirms: usize,
        /// What the broker hears then.
        verdict: Verdict,
    },
}

/// Why a task that might have run does not, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A cold shutdown takes it from its child.
    Cancelled,
    /// Its time has passed before it began.
    Expired,
    /// It was revoked before it began.
    Revoked,
    /// It was revoked, and ended by the signal of this number.
    Terminated(i32),
    /// It has run into its hard limit.
    TimedOut(Duration),
}

impl Request {
    pub(super) fn new(
        task: &TaskMessage<'_>,
        options: &TaskOptions,
        limits: Limits,
        delivery: &Delivery<'_>,
        now: Instant,
    ) -> Self {
        let properties = &delivery.properties;
        let correlation_id = properties.correlation_id.map(|id| id.to_string());
        let of_message = Limits {
            soft: task.soft_limit,
            hard: task.hard_limit,
        };
        let of_task = Limits {
            soft: options.soft_time_limit,
            hard: options.time_limit,
        };
        Self {
            tag: delivery.tag,
            delivered: now,
            orphaned: false,
            delivery_count: task.delivery_count,
            run: Run::of(task, delivery),
            unread: false,
            acknowledged: false,
            task: task.name.clone().into_owned(),
            name: task.display_name().to_owned(),
            id: task.id.clone().into_owned(),
            reply_to: properties.reply_to.map(|queue| queue.to_string()),
            correlation_id: correlation_id.filter(|id| *id != task.id),
            group_id: task.group.as_deref().map(str::to_owned),
            root_id: task
                .root_id
                .as_deref()
                .filter(|root| *root != task.id)
                .map(str::to_owned),
            parent_id: task.parent_id.as_deref().map(str::to_owned),
            stamps: stamps(task),
            expires: task.expires.as_ref().map(|expires| expires.at),
            limits: Limits::of_run([of_message, of_task, limits]),
            started: None,
            acks_late: options.acks_late,
            acks_on_failure: options.acks_on_failure,
            acks_on_timeout: options.acks_on_timeout,
            reject_on_worker_lost: options.reject_on_worker_lost,
            ignore_result: task.ignore_result.unwrap_or(options.ignore_result),
            track_started: options.track_started,
            sends_events: options.send_events,
            record: Vec::new(),
            state: State::Waiting,
            alarm: None,
        }
    }

    /// How often it was tried before.
    pub fn retries(&self) -> i64 {
        self.run.retries
    }

    /// What a redelivery of it is known by.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            id: self.id.clone(),
            task: self.task.clone(),
            run: self.run,
        }
    }

    /// The same of one that is done with.
    pub(super) fn into_identity(self) -> Identity {
        Identity {
            id: self.id,
            task: self.task,
            run: self.run,
        }
    }

    /// What its results are correlated by.
    pub fn correlation_id(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(&self.id)
    }

    /// Tells the broker what becomes of the message, unless it was told before. Whether it is told now.
    pub(super) fn tell(&mut self, verdict: Verdict, acks: &mut Acks) -> bool {
        if std::mem::replace(&mut self.acknowledged, true) {
            return false;
        }
        acks.settle_as(self.tag, verdict)
    }

    /// Whether it waits here, and not in the pool.
    pub(super) fn waits_here(&self) -> bool {
        matches!(self.state, State::Held | State::Limited | State::Foreign)
    }

    /// Itself, `key`, where publications have to be confirmed before the broker may forget the message.
    pub(super) fn waits(&self, key: Key) -> Option<Key> {
        (!self.acknowledged).then_some(key)
    }

    /// Whether a child has it, or had it.
    pub(super) fn has_begun(&self) -> bool {
        matches!(
            self.state,
            State::Running { .. } | State::Ending { .. } | State::Publishing { .. }
        )
    }

    /// Whether its time has passed.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| now > expires)
    }
}

/// The stamps that are listed in `stamped_headers`: only those are looked at, as in Celery.
fn stamps(task: &TaskMessage<'_>) -> Map<String, Value> {
    let (Some(stamps), Some(names)) = (task.stamps, task.stamped_headers) else {
        return Map::new();
    };
    let mut text = Vec::new();
    if headers::write_table(stamps, &mut text).is_err() {
        return Map::new();
    }
    let mut stamps: Map<String, Value> = serde_json::from_slice(&text).unwrap_or_default();
    let mut listed = Vec::new();
    for name in names.into_iter().flatten() {
        listed.extend(name.as_str().map(str::to_owned));
    }
    stamps.retain(|name, _| listed.contains(name));
    stamps
}
