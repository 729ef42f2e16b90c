//! How a call ended: the line a child logs for it, and what it tells main.

use std::time::{Duration, SystemTime};

use log::Level;

use super::error::{Exception, Retry, TaskError, TaskResult, When};
use super::{Context, TaskOptions};
use crate::message::canvas::{self, Continuation, Followers, Parent};
use crate::message::json::{REPR_LENGTH, Raw, python_float, repr};
use crate::message::moment;
use crate::message::record::{Done, JobHead, Outcome};
use crate::message::result::{ResultMeta, State};
use crate::message::signature;
use crate::sys::process;

/// A call that has ended, with all that its answer is made of.
pub(super) struct Ending<'a> {
    pub(super) job: &'a JobHead<'a>,
    /// The message's body, which a retry sends again.
    pub(super) body: &'a [u8],
    pub(super) context: &'a Context,
    pub(super) options: &'a TaskOptions,
    /// How long the task ran, in seconds.
    pub(super) runtime: f64,
    /// When it ended, by the wall clock.
    pub(super) now: SystemTime,
}

/// What there is to say about it: to the log, in the words of Celery's tracer, and to main.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) level: Level,
    pub(super) line: String,
    /// Where it failed; not part of the line.
    pub(super) traceback: Option<String>,
    pub(super) done: Done,
}

impl Ending<'_> {
    pub(super) fn report(&self, result: TaskResult<String>) -> Report {
        match result {
            Ok(value) => self.success(&value),
            Err(TaskError::Failed(exception)) => {
                let traceback = exception.traceback(self.context.name());
                self.failure(&exception, traceback)
            }
            Err(TaskError::Retry(retry)) => self.retry(&retry),
            Err(TaskError::Ignore) => {
                self.says(Level::Info, "ignored", self.done(Outcome::Ignored))
            }
            Err(TaskError::Reject { reason, requeue }) => {
                let word = if requeue { "True" } else { "False" };
                let line = format!("reject requeue={word}: {reason}");
                let mut done = Done {
                    requeue,
                    ..self.done(Outcome::Rejected)
                };
                if !requeue {
                    // It will never run again, so it has failed, says Celery since 5.6.2.
                    let mut exception = Exception::new("Reject", reason.as_str());
                    exception.args.push(requeue.into());
                    let exception = exception.module("celery.exceptions");
                    self.store(&mut done, State::Failure, &exception.to_json(), None);
                }
                done.exception = Some(reason);
                self.says(Level::Warn, &line, done)
            }
        }
    }

    fn success(&self, value: &str) -> Report {
        let shown = Raw::parse(value)
            .map(|raw| repr(raw, REPR_LENGTH))
            .unwrap_or_default();
        let line = format!("succeeded in {}s: {shown}", python_float(self.runtime));
        let mut done = self.done(Outcome::Success);
        self.go_on(&mut done, |next, parent| next.succeeded(parent, value));
        self.store(&mut done, State::Success, value, None);
        done.result = Some(shown);
        self.says(Level::Info, &line, done)
    }

    /// The end of a task that failed, or panicked.
    pub(super) fn failure(&self, exception: &Exception, traceback: String) -> Report {
        let shown = exception.repr();
        let line = format!("raised unexpected: {shown}");
        let mut done = self.done(Outcome::Failure);
        let result = exception.to_json();
        let failure = canvas::Failure {
            result: &result,
            traceback: Some(&traceback),
            stored: self.is_stored(),
        };
        self.go_on(&mut done, |next, parent| next.failed(parent, &failure));
        self.store(&mut done, State::Failure, &result, Some(&traceback));
        done.exception = Some(shown);
        let shown = traceback.trim_end().to_owned();
        done.traceback = Some(traceback);
        Report {
            traceback: Some(shown),
            ..self.says(Level::Error, &line, done)
        }
    }

    fn retry(&self, retry: &Retry) -> Report {
        let limit = retry.max_retries.unwrap_or(self.options.max_retries);
        if limit.is_some_and(|limit| self.context.retries() >= limit) {
            let own = retry.cause.clone();
            let exception = own.unwrap_or_else(|| self.retries_used_up(retry));
            let traceback = exception.traceback(self.context.name());
            return self.failure(&exception, traceback);
        }
        let again = signature::Retry {
            id: self.context.id(),
            headers: Raw::parse(self.job.headers.get()).unwrap_or(Raw::EMPTY_MAPPING),
            properties: &self.job.properties,
            delivery_info: &self.job.delivery_info,
            body: self.body,
            eta: self.retry_eta(retry),
        };
        let traceback = retry.traceback(self.context.name());
        let cause = retry.cause.as_ref().map(Exception::to_json);
        let mut done = self.done(Outcome::Retry);
        self.store(
            &mut done,
            State::Retry,
            cause.as_deref().unwrap_or("null"),
            Some(&traceback),
        );
        done.publish = vec![again.publish(self.now)];
        done.exception = retry.cause.as_ref().map(Exception::repr);
        done.traceback = Some(traceback);
        self.says(
            Level::Info,
            &format!("retry: {}", self.retry_text(retry)),
            done,
        )
    }

    /// Has main publish what follows, if anything does.
    fn go_on(
        &self,
        done: &mut Done,
        follow: impl FnOnce(&Followers<'_>, &Parent<'_>) -> Continuation,
    ) {
        let Some(followers) = Followers::of(self.body) else {
            return;
        };
        let parent = Parent {
            id: self.context.id(),
            root_id: self.context.root_id(),
            delivery_info: &self.job.delivery_info,
            origin: &signature::origin(process::current(), &process::host_name()),
            now: self.now,
        };
        let next = follow(&followers, &parent);
        if let Some(warning) = next.warning() {
            let (name, id) = (self.context.display_name(), self.context.id());
            let task = self.context.log_line();
            task.log(Level::Warn, format_args!("Task {name}[{id}] {warning}"));
        }
        done.publish = next.publish;
    }

    /// Has main keep the result, unless nobody wants it.
    fn store(&self, done: &mut Done, state: State, result: &str, traceback: Option<&str>) {
        if self.is_stored() {
            done.store = true;
            done.meta = self.meta(state, result, traceback);
        }
    }

    fn is_stored(&self) -> bool {
        let ignored = self.context.ignore_result();
        !ignored.unwrap_or(self.options.ignore_result)
    }

    /// The result as clients read it.
    fn meta(&self, state: State, result: &str, traceback: Option<&str>) -> Vec<u8> {
        let meta = ResultMeta {
            traceback,
            date_done: Some(self.now),
            group_id: self.context.group_id(),
            parent_id: self.context.parent_id(),
            ..ResultMeta::new(state, self.context.id(), result)
        };
        meta.to_json().into_bytes()
    }

    /// What a task fails with that may not be retried again and names no error of its own.
    fn retries_used_up(&self, retry: &Retry) -> Exception {
        let context = &self.context;
        let text = format!(
            "Can't retry {}[{}] args:{} kwargs:{}",
            context.name(),
            context.id(),
            context.args_repr(),
            context.kwargs_repr()
        );
        let mut exception = Exception::new("MaxRetriesExceededError", text);
        exception.location = Some(retry.location);
        exception.module("celery.exceptions")
    }

    /// `Retry in 5s: ValueError('boom')`.
    fn retry_text(&self, retry: &Retry) -> String {
        let when = match retry.when {
            When::Default => format!("in {}s", seconds(self.options.default_retry_delay)),
            When::Countdown(delay) => format!("in {}s", seconds(delay)),
            When::At(moment) => format!("at {}", moment::format(moment).replace('T', " ")),
        };
        match &retry.cause {
            Some(cause) => format!("Retry {when}: {}", cause.repr()),
            None => format!("Retry {when}"),
        }
    }

    /// When a retry shall run; nothing for at once.
    fn retry_eta(&self, retry: &Retry) -> Option<SystemTime> {
        let delay = match retry.when {
            When::At(moment) => return Some(moment),
            When::Countdown(delay) => delay,
            When::Default => self.options.default_retry_delay,
        };
        if delay.is_zero() {
            None
        } else {
            self.now.checked_add(delay)
        }
    }

    /// A line about `Task tasks.add[8a75c803-..]`, with the name the caller wants shown.
    fn says(&self, level: Level, what: &str, done: Done) -> Report {
        let (name, id) = (self.context.display_name(), self.context.id());
        let line = format!("Task {name}[{id}] {what}");
        Report {
            level,
            line,
            traceback: None,
            done,
        }
    }

    fn done(&self, outcome: Outcome) -> Done {
        Done::new(self.job.job, outcome, self.runtime)
    }
}

/// Seconds as Celery prints a countdown: `180`, `0.5`.
fn seconds(delay: Duration) -> String {
    let text = python_float(delay.as_secs_f64());
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
