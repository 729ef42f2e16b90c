//! From a delivery to a job: what a message is, whether it may run, and when.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use super::acks::Acks;
use super::held::Held;
use super::limits::{Limits, What};
use super::log_line::OfTask;
use super::producer::Producer;
use super::refusals::RefusalPolicy;
use super::request::{Cause, Request, State};
use super::results::Ending;
use super::tasks::Tasks;
use super::{refusals, task_event};
use crate::amqp::connection::Delivery;
use crate::message::json::{REPR_LENGTH, Raw, python_quoted, repr};
use crate::message::record::{self, About, DeliveryInfo, Verdict};
use crate::message::task::{self, Moment, Refusal, TaskMessage};
use crate::pool::python::clerk::Weight;
use crate::pool::{Job, JobKey};
use crate::sys::clock;
use crate::util::slots::Key;
use crate::util::span::CENTURY;

/// Bodies up to this size are checked in main, which refuses what has not the shape of a task's body. Larger ones
/// are the child's to check: a scan of many megabytes would keep main from everything else.
const CHECKED_BODY: usize = 1024 * 1024;

impl Tasks {
    /// Takes a delivery in, in Celery's order of decisions. Gives the job if it is to run now.
    ///
    /// What cannot be run is settled here, with a line in the log that says why.
    pub(super) fn receive(
        &mut self,
        delivery: &Delivery<'_>,
        acks: &mut Acks,
        producer: &mut Producer,
        now: Instant,
    ) -> Option<Job> {
        acks.delivered(delivery.tag);
        self.take_in(delivery, acks, producer, now)
    }

    /// The same for one that the broker has delivered before, and that only now can be read.
    pub(super) fn take_in(
        &mut self,
        delivery: &Delivery<'_>,
        acks: &mut Acks,
        producer: &mut Producer,
        now: Instant,
    ) -> Option<Job> {
        if self.closing {
            acks.reject(delivery.tag, true);
            return None;
        }
        let task = match self.read(delivery) {
            Ok(task) => task,
            Err(Refusal::Foreign) if self.decode(delivery) => return None,
            Err(refusal) => {
                refusals::log_refusal(&refusal, delivery);
                self.tell_of_rejected(&refusal, delivery);
                acks.settle_as(delivery.tag, self.life.refusals.verdict(&refusal));
                return None;
            }
        };
        let known = delivery.redelivered && !self.life.runs_again;
        if known && self.recognises(&task, delivery, acks, now) {
            return None;
        }
        let Some(options) = self.registry.options(&task.name) else {
            self.refuse_unregistered(&task, delivery, acks, producer, now);
            return None;
        };
        let mut request = Request::new(&task, options, self.life.limits, delivery, now);
        request.unread = !request.acks_late
            && self.life.refusals.undecodable != Verdict::Ack
            && !is_checked(&task);
        let (name, id) = (&request.name, &request.id);
        request.info(format_args!("Task {name}[{id}] received"));
        let wall = clock::wall();
        let refused = self.is_refused(&request, wall);
        if refused.is_some() {
            self.keep_record(&mut request, &task, delivery);
        }
        let key = self.requests.insert(request);
        self.overdue.expect(now);
        if let Some(cause) = refused {
            self.discard(key, cause, acks, producer);
            return None;
        }
        let options = self.job_options(key);
        let job = match self.encode(JobKey(key.into()), &task, delivery, options.as_deref()) {
            Ok(record) => Job {
                key: JobKey(key.into()),
                record,
            },
            Err(error) => {
                OfTask::from(&task).log(
                    Level::Error,
                    format_args!("Received invalid task message: {error}"),
                );
                self.settle(key, 0, Verdict::Reject, acks);
                return None;
            }
        };
        if self.tells_of_received
            && let Some(books) = &mut self.reporter.books
        {
            books.tell(About::Received, Weight::Passing, &job.record);
        }
        if let Some(request) = self.requests.get(key) {
            self.events.note(request, || received(&task));
        }
        match task.eta.as_ref().map(|eta| eta.at) {
            Some(eta) if eta > wall => {
                let channel = delivery.channel;
                self.hold(Held { job, eta, channel }, now);
                None
            }
            _ => self.release(job, now),
        }
    }

    /// No task here has this name.
    fn refuse_unregistered(
        &mut self,
        task: &TaskMessage<'_>,
        delivery: &Delivery<'_>,
        acks: &mut Acks,
        producer: &mut Producer,
        now: Instant,
    ) {
        let RefusalPolicy {
            unregistered: verdict,
            pause,
            ..
        } = self.life.refusals;
        refusals::log_unregistered(task, verdict, delivery);
        let mut request = Request::new(task, &self.unregistered, Limits::default(), delivery, now);
        self.keep_record(&mut request, task, delivery);
        if verdict == Verdict::Requeue {
            request.state = State::Foreign;
            let key = self.requests.insert(request);
            return self.set_alarm(key, What::HandBack, after(now, pause));
        }
        let name = task.name.clone().into_owned();
        self.events.note(&request, || task_event::What::Failed {
            exception: format!("NotRegistered({})", python_quoted(&name)),
            traceback: String::new(),
        });
        let ending = Ending::NotRegistered(name);
        if self.reporter.books.is_none() {
            acks.settle_as(delivery.tag, verdict);
            self.reporter.report(&request, &ending, None, producer);
            return;
        }
        // A clerk may take its time. The broker gives no more of these than it may until then.
        let key = self.requests.insert(request);
        if let Some(request) = self.requests.get(key) {
            self.reporter.report(request, &ending, Some(key), producer);
        }
        self.settle(key, 1, verdict, acks);
    }

    /// Why a task is not to be run, or not any more.
    fn is_refused(&self, request: &Request, wall: SystemTime) -> Option<Cause> {
        if request.is_expired(wall) {
            return Some(Cause::Expired);
        }
        (self.revoked.covers(request, wall)).then_some(Cause::Revoked)
    }

    /// Settles a task that is not to be run. Celery's words for an expired one are those for a revoked one.
    pub(super) fn discard(
        &mut self,
        key: Key,
        cause: Cause,
        acks: &mut Acks,
        producer: &mut Producer,
    ) {
        if let Some(request) = self.requests.get(key) {
            let by_stamp = match self.revoked.revoking_stamp(&request.stamps) {
                Some((name, value)) if cause == Cause::Revoked => {
                    let value = value.to_string();
                    let value = Raw::parse(&value).map(|value| repr(value, REPR_LENGTH));
                    let (name, value) = (python_quoted(name), value.unwrap_or_default());
                    format!(" (revoked by header: {{{name}: {value}}})")
                }
                _ => String::new(),
            };
            let (name, id) = (&request.name, &request.id);
            request.info(format_args!(
                "Discarding revoked task: {name}[{id}]{by_stamp}"
            ));
        }
        self.ended(key, cause, acks, producer);
    }

    /// A task may begin, but for its rate limit. Gives the job if a child may have it now.
    fn release(&mut self, job: Job, now: Instant) -> Option<Job> {
        let key = Key::from(job.key.0);
        let request = self.requests.get_mut(key)?;
        request.state = State::Limited;
        let job = self.rates.pass(&request.task, job, now)?;
        self.send_off(job, now)
    }

    /// A task waits for a child from now on, but not beyond its time.
    fn send_off(&mut self, job: Job, now: Instant) -> Option<Job> {
        let key = Key::from(job.key.0);
        let request = self.requests.get_mut(key)?;
        request.state = State::Waiting;
        if let Some(expires) = request.expires {
            let left = expires.duration_since(clock::wall()).unwrap_or_default();
            self.set_alarm(key, What::Expiry, after(now, left) + CLOCK_GRAIN);
        }
        Some(job)
    }

    fn read<'a>(&self, delivery: &Delivery<'a>) -> Result<TaskMessage<'a>, Refusal> {
        let task = task::receive(&delivery.properties, delivery.body, &self.accept)?;
        if self.registry.options(&task.name).is_none() {
            return Ok(task);
        }
        if is_checked(&task) {
            task.check_body()?;
        }
        Ok(task)
    }

    fn encode(
        &mut self,
        key: JobKey,
        task: &TaskMessage<'_>,
        delivery: &Delivery<'_>,
        options: Option<&str>,
    ) -> Result<Vec<u8>, record::WriteError> {
        let delivery_info = DeliveryInfo {
            exchange: delivery.exchange.to_string_lossy(),
            routing_key: delivery.routing_key.to_string_lossy(),
            priority: delivery.properties.priority,
            redelivered: delivery.redelivered,
        };
        let mut record = Vec::with_capacity(self.typical_record + task.body.len());
        let job = record::Job {
            job: key.0,
            task: &task.name,
            id: &task.id,
            headers: &task.headers,
            properties: &delivery.properties,
            delivery_info: &delivery_info,
            hostname: &self.node_name,
            options,
            body: &task.body,
        };
        job.encode(&mut record)?;
        self.typical_record = (record.len() - task.body.len()).next_multiple_of(256);
        Ok(record)
    }

    /// What a child must know beside the message: that its having read the body is waited for; and a native one its soft
    /// limit, since no signal tells it.
    fn job_options(&self, key: Key) -> Option<String> {
        let request = self.requests.get(key)?;
        let soft = request
            .limits
            .soft
            .filter(|_| self.reporter.books.is_none());
        match (soft.map(|soft| soft.as_secs_f64()), request.unread) {
            (None, false) => None,
            (None, true) => Some("{\"tell\":true}".to_owned()),
            (Some(soft), tell) => Some(format!("{{\"soft_limit\":{soft},\"tell\":{tell}}}")),
        }
    }

    /// The clerk of a Python app is told of tasks by their records.
    fn keep_record(
        &mut self,
        request: &mut Request,
        task: &TaskMessage<'_>,
        delivery: &Delivery<'_>,
    ) {
        if self.reporter.books.is_some() {
            request.record = self
                .encode(JobKey(0), task, delivery, None)
                .unwrap_or_default();
        }
    }

    fn hold(&mut self, held: Held, now: Instant) {
        let key = Key::from(held.job.key.0);
        let wait = held.eta.duration_since(clock::wall()).unwrap_or_default();
        if let Some(request) = self.requests.get_mut(key) {
            request.state = State::Held;
            request.alarm = Some(self.held.insert(after(now, wait), held));
        }
    }

    /// The next job whose time has come: its ETA, or its turn under a rate limit. One that the wall clock says is early
    /// (it was set back) is held on; one that was revoked or has expired meanwhile is settled.
    pub(super) fn pop_due(
        &mut self,
        now: Instant,
        acks: &mut Acks,
        producer: &mut Producer,
    ) -> Option<Job> {
        while let Some(job) = self.rates.pop_due(now) {
            if self.still_wanted(&job, acks, producer) {
                return self.send_off(job, now);
            }
        }
        while let Some(held) = self.held.pop_due(now) {
            if let Some(request) = self.request_mut(held.job.key) {
                request.alarm = None;
            }
            if held.eta > clock::wall() + CLOCK_GRAIN {
                self.hold(held, now);
                continue;
            }
            if self.still_wanted(&held.job, acks, producer)
                && let Some(job) = self.release(held.job, now)
            {
                return Some(job);
            }
        }
        None
    }

    /// Whether a task that has waited here is still to be run; settled otherwise.
    fn still_wanted(&mut self, job: &Job, acks: &mut Acks, producer: &mut Producer) -> bool {
        let key = Key::from(job.key.0);
        let Some(request) = self.requests.get(key) else {
            return false;
        };
        let Some(cause) = self.is_refused(request, clock::wall()) else {
            return true;
        };
        self.keep_job(job);
        self.discard(key, cause, acks, producer);
        false
    }
}

/// Whether main checks the body itself.
fn is_checked(task: &TaskMessage<'_>) -> bool {
    task.is_plain_json() && task.body.len() <= CHECKED_BODY
}

/// What watchers are told of a task that has come in.
fn received(task: &TaskMessage<'_>) -> task_event::What {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let moment =
        |moment: &Option<Moment<'_>>| moment.as_ref().map(|moment| moment.text.to_string());
    task_event::What::Received {
        name: task.display_name().to_owned(),
        args: task.argsrepr.to_string(),
        kwargs: task.kwargsrepr.to_string(),
        root_id: text(&task.root_id),
        parent_id: text(&task.parent_id),
        retries: task.retries,
        eta: moment(&task.eta),
        expires: moment(&task.expires),
    }
}

/// A wall clock that is this close to the time has reached it.
const CLOCK_GRAIN: Duration = Duration::from_millis(1);

/// `now + wait`, or a hundred years from now where there is no such instant.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}
