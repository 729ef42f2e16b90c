//! One task message on its way through the worker.

use crate::amqp::connection::{Delivery, DeliveryTag};
use crate::message::task::TaskMessage;
use crate::sys::process::Pid;
use crate::worker::options::TaskOptions;

/// A task message that was accepted, until the broker was told what became of it.
///
/// ```text
///   Held ---> Waiting ---> Running ---> Publishing ---> gone
///  (an ETA)   (a child)    (in one)     (a confirm)
/// ```
#[derive(Debug)]
pub struct Request {
    /// What it is acknowledged by.
    pub tag: DeliveryTag,
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
    /// The id of the task that published it.
    pub parent_id: Option<String>,
    /// Acknowledged when it has ended, not when a child is given it.
    pub acks_late: bool,
    /// Late, and failed: acknowledged all the same.
    pub acks_on_failure: bool,
    /// Late, and its child was lost: handed back to the queue.
    pub reject_on_worker_lost: bool,
    /// Nobody wants its result.
    pub ignore_result: bool,
    /// STARTED is reported.
    pub track_started: bool,
    /// The Job record a child was given, for the clerk of a Python app.
    pub(super) record: Vec<u8>,
    /// How far it is.
    pub state: State,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its ETA.
    Held,
    /// Waits for a child.
    Waiting,
    /// A child has it.
    Running {
        /// The child.
        pid: Pid,
    },
    /// A cold shutdown took it away from its child, which is ending.
    Cancelled,
    /// Has ended; so many publications are to be confirmed before the broker hears of it.
    Publishing {
        /// How many.
        confirms: usize,
    },
}

impl Request {
    pub(super) fn new(
        task: &TaskMessage<'_>,
        options: &TaskOptions,
        delivery: &Delivery<'_>,
    ) -> Self {
        let properties = &delivery.properties;
        let correlation_id = properties.correlation_id.map(|id| id.to_string());
        Self {
            tag: delivery.tag,
            name: task.display_name().to_owned(),
            id: task.id.clone().into_owned(),
            reply_to: properties.reply_to.map(|queue| queue.to_string()),
            correlation_id: correlation_id.filter(|id| *id != task.id),
            group_id: task.group.as_deref().map(str::to_owned),
            parent_id: task.parent_id.as_deref().map(str::to_owned),
            acks_late: options.acks_late,
            acks_on_failure: options.acks_on_failure,
            reject_on_worker_lost: options.reject_on_worker_lost,
            ignore_result: task.ignore_result.unwrap_or(options.ignore_result),
            track_started: options.track_started,
            record: Vec::new(),
            state: State::Waiting,
        }
    }

    /// What its results are correlated by.
    pub fn correlation_id(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(&self.id)
    }
}
