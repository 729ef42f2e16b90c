//! What a task says about itself.

use std::time::Duration;

/// Options of one task, with Celery's names and defaults.
///
/// Some are settled in the child that runs the task; the others are read by the worker's main process, and each says so.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskOptions {
    /// Acknowledge the message after the task ended, not before it starts; default `false`.
    pub acks_late: bool,
    /// With `acks_late`: acknowledge a task that failed; otherwise it is rejected. Default `true`.
    pub acks_on_failure: bool,
    /// With `acks_late`: acknowledge a task that ran into its time limit; otherwise it is handed back. Default `true`.
    pub acks_on_timeout: bool,
    /// With `acks_late`: hand the message back when the child process died; default `false`.
    pub reject_on_worker_lost: bool,
    /// Run it again when the child process died, as a retry after `default_retry_delay` and up to `max_retries` times,
    /// whenever it is acknowledged; default `false`.
    pub retry_on_worker_lost: bool,
    /// The child is killed when the task runs longer; a `timelimit` header of the message wins. Main enforces it.
    pub time_limit: Option<Duration>,
    /// The task is told when it runs longer; a `timelimit` header of the message wins. A native task asks its context.
    pub soft_time_limit: Option<Duration>,
    /// At most so many starts: `"10/m"`, `"2/s"`, `"100/h"`. Kept by main's token buckets.
    pub rate_limit: Option<String>,
    /// How many retries before the task fails; `None` is for ever. Default 3.
    pub max_retries: Option<u32>,
    /// The wait before a retry that names none; default 180 s.
    pub default_retry_delay: Duration,
    /// Keep no result; a call's own `ignore_result` header wins. Default `false`.
    pub ignore_result: bool,
    /// Store a STARTED state when the task starts; default `false`. Main writes it.
    pub track_started: bool,
    /// Send events of it, where events of tasks are sent at all; default `true`. Main sends them.
    pub send_events: bool,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            acks_late: false,
            acks_on_failure: true,
            acks_on_timeout: true,
            reject_on_worker_lost: false,
            retry_on_worker_lost: false,
            time_limit: None,
            soft_time_limit: None,
            rate_limit: None,
            max_retries: Some(3),
            default_retry_delay: Duration::from_secs(180),
            ignore_result: false,
            track_started: false,
            send_events: true,
        }
    }
}

impl TaskOptions {
    /// Celery's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`acks_late`](Self#structfield.acks_late).
    #[must_use]
    pub fn acks_late(mut self, on: bool) -> Self {
        self.acks_late = on;
        self
    }

    /// See [`acks_on_failure`](Self#structfield.acks_on_failure).
    #[must_use]
    pub fn acks_on_failure(mut self, on: bool) -> Self {
        self.acks_on_failure = on;
        self
    }

    /// See [`acks_on_timeout`](Self#structfield.acks_on_timeout).
    #[must_use]
    pub fn acks_on_timeout(mut self, on: bool) -> Self {
        self.acks_on_timeout = on;
        self
    }

    /// See [`reject_on_worker_lost`](Self#structfield.reject_on_worker_lost).
    #[must_use]
    pub fn reject_on_worker_lost(mut self, on: bool) -> Self {
        self.reject_on_worker_lost = on;
        self
    }

    /// See [`retry_on_worker_lost`](Self#structfield.retry_on_worker_lost).
    #[must_use]
    pub fn retry_on_worker_lost(mut self, on: bool) -> Self {
        self.retry_on_worker_lost = on;
        self
    }

    /// See [`time_limit`](Self#structfield.time_limit).
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// See [`soft_time_limit`](Self#structfield.soft_time_limit).
    #[must_use]
    pub fn soft_time_limit(mut self, limit: Duration) -> Self {
        self.soft_time_limit = Some(limit);
        self
    }

    /// See [`rate_limit`](Self#structfield.rate_limit).
    #[must_use]
    pub fn rate_limit(mut self, limit: impl Into<String>) -> Self {
        self.rate_limit = Some(limit.into());
        self
    }

    /// See [`max_retries`](Self#structfield.max_retries).
    #[must_use]
    pub fn max_retries(mut self, limit: Option<u32>) -> Self {
        self.max_retries = limit;
        self
    }

    /// See [`default_retry_delay`](Self#structfield.default_retry_delay).
    #[must_use]
    pub fn default_retry_delay(mut self, delay: Duration) -> Self {
        self.default_retry_delay = delay;
        self
    }

    /// See [`ignore_result`](Self#structfield.ignore_result).
    #[must_use]
    pub fn ignore_result(mut self, on: bool) -> Self {
        self.ignore_result = on;
        self
    }

    /// See [`send_events`](Self#structfield.send_events).
    #[must_use]
    pub fn send_events(mut self, on: bool) -> Self {
        self.send_events = on;
        self
    }

    /// See [`track_started`](Self#structfield.track_started).
    #[must_use]
    pub fn track_started(mut self, on: bool) -> Self {
        self.track_started = on;
        self
    }

    /// Whether a run whose child died, after so many `retries`, is followed by another; `None` where
    /// [`retry_on_worker_lost`](Self#structfield.retry_on_worker_lost) is off.
    pub(crate) fn retries_loss(&self, retries: i64) -> Option<bool> {
        self.retry_on_worker_lost
            .then(|| self.max_retries.is_none_or(|most| retries < most.into()))
    }
}
