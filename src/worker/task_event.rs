//! What has happened to tasks, for those who watch: the worker's events, which monitors read.
//!
//! Nothing is noted while nobody watches or counts, and what is noted is bounded: of too much the oldest is dropped and counted.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::metrics::Metrics;
use super::request::Request;
use crate::sys::clock;

/// How many events are kept for somebody who does not fetch them.
const MOST: usize = 100_000;

/// One thing that has happened to one task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEvent {
    /// The task's id.
    pub id: String,
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: What,
}

/// What has happened; see the events of Celery of the same names (`task-received` and so on).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// A message has come in.
    Received {
        /// The task's name.
        name: String,
        /// The positional arguments, as text for people.
        args: String,
        /// The keyword arguments, as text for people.
        kwargs: String,
        /// The first task of its workflow.
        root_id: Option<String>,
        /// The task that sent it.
        parent_id: Option<String>,
        /// How often it was tried before.
        retries: i64,
        /// Not before, as the publisher wrote it.
        eta: Option<String>,
        /// Not after, as the publisher wrote it.
        expires: Option<String>,
    },
    /// A child has it.
    Started,
    /// It has returned.
    Succeeded {
        /// What it returned, as text for people.
        result: String,
        /// Seconds.
        runtime: f64,
    },
    /// It has failed.
    Failed {
        /// The exception, as text for people.
        exception: String,
        /// Where.
        traceback: String,
    },
    /// It will run again.
    Retried {
        /// The exception, as text for people.
        exception: String,
        /// Where.
        traceback: String,
    },
    /// It will not run, or was ended.
    Revoked {
        /// Whether it ran.
        terminated: bool,
        /// By which signal it was ended.
        signal: Option<i32>,
        /// Whether its time had passed.
        expired: bool,
    },
    /// Its message was rejected.
    Rejected {
        /// Whether the broker delivers it again.
        requeue: bool,
    },
    /// A shutdown took it from its child.
    Cancelled,
}

/// Events that wait to be fetched.
#[derive(Debug, Default)]
pub struct TaskEvents {
    /// Whether anybody watches; nothing is noted otherwise.
    pub watched: bool,
    queue: VecDeque<TaskEvent>,
    dropped: u64,
    /// What is counted of all this, whether or not anybody watches.
    pub(super) metrics: Metrics,
}

impl TaskEvents {
    /// No events yet, and whether anybody watches.
    pub fn watched(watched: bool) -> Self {
        Self {
            watched,
            ..Self::default()
        }
    }

    /// Notes what has happened to a task, if anybody watches or counts.
    pub(super) fn note(&mut self, request: &Request, what: impl FnOnce() -> What) {
        if !self.watched && !self.metrics.on {
            return;
        }
        let what = what();
        if self.metrics.on {
            self.metrics.count(request, &what);
        }
        if !self.watched || !request.sends_events {
            return;
        }
        if self.queue.len() >= MOST {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(TaskEvent {
            id: request.id.clone(),
            at: clock::wall(),
            what,
        });
    }

    /// The oldest that was not fetched.
    pub fn pop(&mut self) -> Option<TaskEvent> {
        self.queue.pop_front()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many were dropped because nobody fetched them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
