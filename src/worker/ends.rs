//! Ends of tasks that no child tells of: the child is gone, or main has ended the task, or kept it from beginning.

use super::acks::Acks;
use super::producer::Producer;
use super::request::Cause;
use super::results::Ending;
use super::task_event::What;
use super::tasks::Tasks;
use crate::message::json::Raw;
use crate::message::record::{Record, Verdict};
use crate::message::result::{Exception, State};
use crate::message::signature;
use crate::pool::JobKey;
use crate::sys::clock;
use crate::util::slots::Key;

impl Tasks {
    /// The child that had the job is gone.
    pub(super) fn lost(&mut self, key: Key, text: &str, acks: &mut Acks, producer: &mut Producer) {
        let retried = self.retries_loss(key);
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        self.events.metrics.count_lost(request);
        let native = self.reporter.books.is_none();
        if retried == Some(true)
            && native
            && let Some(confirms) = self.retry(key, text, producer)
        {
            return self.settle(key, confirms, Verdict::Ack, acks);
        }
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let handed_back =
            !request.acknowledged && request.reject_on_worker_lost && retried.is_none();
        let last = handed_back && self.losses.is_last(&request.id, request.delivery_count);
        let (name, id) = (&request.name, &request.id);
        if last {
            request.error(format_args!(
                "Task {name}[{id}] has lost its child too often ({text}): its message is rejected"
            ));
        }
        if handed_back && !last && native {
            request.warn(format_args!(
                "Task {name}[{id}] is handed back to its queue: {text}"
            ));
            return self.settle(key, 0, Verdict::Requeue, acks);
        }
        let exception = Exception::worker_lost(text).repr();
        if native {
            request.error(format_args!("Task handler raised error: {exception}"));
        }
        // Of a Python app its own Celery decides; this is for the case that it cannot.
        let verdict = match request.acks_on_failure {
            _ if last => Verdict::Reject,
            true => Verdict::Ack,
            false => Verdict::Reject,
        };
        let ending = Ending::WorkerLost { text, last };
        let confirms = self
            .reporter
            .report(request, &ending, request.waits(key), producer);
        let traceback = String::new();
        match retried {
            Some(true) => self.events.note(request, || What::Retried {
                exception,
                traceback,
            }),
            _ if handed_back && !last => {} // it has not failed yet
            _ => self.events.note(request, || What::Failed {
                exception,
                traceback,
            }),
        }
        self.settle(key, confirms, verdict, acks);
    }

    /// Whether a lost child has the task run again, for its own option `retry_on_worker_lost`; `None` without it.
    fn retries_loss(&self, key: Key) -> Option<bool> {
        let request = self.requests.get(key)?;
        let options = self.registry.options(&request.task)?;
        options.retries_loss(request.retries())
    }

    pub(super) fn is_retried_after_loss(&self, job: JobKey) -> bool {
        self.retries_loss(Key::from(job.0)) == Some(true)
    }

    /// Publishes a native task once more, because its child is gone. How many messages that takes, if it can be done.
    fn retry(&mut self, key: Key, text: &str, producer: &mut Producer) -> Option<usize> {
        let request = self.requests.get(key)?;
        let delay = self.registry.options(&request.task)?.default_retry_delay;
        let record = Record::first(&request.record).ok().flatten()?;
        let job = record.job().ok()?;
        let now = clock::wall();
        let again = signature::Retry {
            id: &request.id,
            headers: Raw::parse(job.headers.get()).ok()?,
            properties: &job.properties,
            delivery_info: &job.delivery_info,
            body: record.body,
            eta: now.checked_add(delay).filter(|_| !delay.is_zero()),
        };
        let waits = request.waits(key);
        if !self
            .reporter
            .publish(request, again.publish(now), waits, producer)
        {
            return None;
        }
        let lost = Exception::worker_lost(text);
        let stored = self
            .reporter
            .store(request, State::Retry, &lost.to_json(), waits, producer);
        let (name, id, exception) = (&request.name, &request.id, lost.repr());
        let seconds = delay.as_secs_f64();
        request.info(format_args!(
            "Task {name}[{id}] retry: Retry in {seconds}s: {exception}"
        ));
        self.events.note(request, || What::Retried {
            exception,
            traceback: String::new(),
        });
        Some(1 + stored)
    }

    /// A task that we have ended, or kept from beginning.
    pub(super) fn ended(
        &mut self,
        key: Key,
        cause: Cause,
        acks: &mut Acks,
        producer: &mut Producer,
    ) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let (ending, verdict) = match cause {
            Cause::Cancelled if !request.acknowledged => {
                self.events.note(request, || What::Cancelled);
                return self.settle(key, 0, Verdict::Requeue, acks);
            }
            Cause::Cancelled => (Ending::Cancelled, Verdict::Ack),
            Cause::TimedOut(limit) if request.acks_on_timeout => {
                (Ending::TimedOut(limit), Verdict::Ack)
            }
            Cause::TimedOut(limit) => (Ending::TimedOut(limit), Verdict::Requeue),
            Cause::Expired => (Ending::Expired, self.life.refusals.expired),
            Cause::Revoked => (Ending::Revoked, Verdict::Ack),
            Cause::Terminated(signal) => (Ending::Terminated(signal), Verdict::Ack),
        };
        let confirms = self
            .reporter
            .report(request, &ending, request.waits(key), producer);
        self.events.note(request, || happened(cause));
        self.settle(key, confirms, verdict, acks);
    }
}

/// The event for a task that we have ended.
fn happened(cause: Cause) -> What {
    let revoked = |terminated, signal, expired| What::Revoked {
        terminated,
        signal,
        expired,
    };
    match cause {
        Cause::Cancelled => What::Cancelled,
        Cause::Expired => revoked(false, None, true),
        Cause::Revoked => revoked(false, None, false),
        Cause::Terminated(signal) => revoked(true, Some(signal), false),
        Cause::TimedOut(limit) => What::Failed {
            exception: Exception::time_limit_exceeded(limit).repr(),
            traceback: String::new(),
        },
    }
}
