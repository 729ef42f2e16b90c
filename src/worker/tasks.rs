//! The tasks main has in hand: every request from its delivery to its settlement.
//!
//! Owned by the [`Worker`](super::Worker); it decides, and leaves the doing to the pool, the acknowledgements
//! and the producer that are lent to it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::acks::Acks;
use super::held::HeldJobs;
use super::limits::{Due, Limits};
use super::losses::Losses;
use super::options::TaskOptions;
use super::outbox::Fate;
use super::overdue::Overdue;
use super::producer::Producer;
use super::publication::Publication;
use super::rate::{Buckets, Rate};
use super::recall::Recall;
use super::registry::Registry;
use super::request::{Cause, Request, State};
use super::results::{Ending, Reporter};
use super::revoked::Revoked;
use super::settings::{LifeSettings, Settings};
use super::task_event::{TaskEvents, What};
use crate::hub::Timer;
use crate::message::canvas;
use crate::message::record::{self, Done, Outcome, Verdict};
use crate::message::task::Accept;
use crate::pool::{Finish, Job, JobKey};
use crate::sys::clock;
use crate::sys::process::Pid;
use crate::util::slots::{Key, Slots};

/// What is said of a task that was acknowledged early, and whose child has died before it began.
const LOST_BEFORE_IT_BEGAN: &str =
    "The child was lost before it began the task, whose message had been acknowledged.";

/// A longer record is kept without its body, unless that may be needed again.
const KEPT_RECORD: usize = 64 * 1024;

/// The requests of a worker, and what it knows of its tasks.
#[derive(Debug)]
pub struct Tasks {
    pub(super) registry: Registry,
    pub(super) accept: Accept,
    pub(super) node_name: String,
    pub(super) requests: Slots<Request>,
    pub(super) held: HeldJobs,
    /// Jobs that wait for their rate limit.
    pub(super) rates: Buckets,
    /// Jobs put aside while too many results wait for the broker.
    pub(super) parked: VecDeque<Job>,
    /// What time will bring: limits, mostly.
    pub(super) due: Timer<Due>,
    /// What is not to be run.
    pub revoked: Revoked,
    /// What has happened, for those who watch.
    pub events: TaskEvents,
    /// How often each task was given to a child, by name (`stats` and heartbeats).
    pub accepted: BTreeMap<String, u64>,
    /// Tasks that have lost their child, by id.
    pub(super) losses: Losses,
    /// What tasks keep to that say nothing themselves.
    pub(super) life: LifeSettings,
    /// No new tasks: what comes is handed back.
    pub(super) closing: bool,
    /// The options of a task that nobody knows.
    pub(super) unregistered: TaskOptions,
    /// The size of a record without its body, for the next one.
    pub(super) typical_record: usize,
    pub(super) reporter: Reporter,
    /// The Python app listens to `task_received`, and to `task_rejected`.
    pub(super) tells_of_received: bool,
    pub(super) tells_of_rejected: bool,
    /// What the broker may deliver again.
    pub(super) recall: Recall,
    /// When it would lose patience.
    pub(super) overdue: Overdue,
    /// How many unsettled messages the broker may give out; 0 for any number.
    pub(super) window: usize,
}

impl Tasks {
    /// No requests yet.
    pub(super) fn new(registry: Registry, settings: &Settings, now: Instant) -> Self {
        let life = &settings.life;
        let mut rates = Buckets::new(now);
        for (name, options) in registry.iter() {
            let own = Limits {
                soft: options.soft_time_limit,
                hard: options.time_limit,
            };
            if own.is_odd() {
                log::warn!(
                    "Task {name} has a soft time limit that is not below its hard one: it has none"
                );
            }
        }
        if !life.disable_rate_limits {
            for (name, options) in registry.iter() {
                match Rate::parse(options.rate_limit.as_deref().unwrap_or_default()) {
                    Ok(rate) => rates.limit(name, rate, now),
                    Err(error) => log::error!("Task {name} has no rate limit: {error}"),
                }
            }
        }
        Self {
            registry,
            accept: settings.accept.clone(),
            node_name: settings.node_name.clone(),
            requests: Slots::new(),
            held: HeldJobs::new(now),
            rates,
            parked: VecDeque::new(),
            due: Timer::new(now),
            revoked: Revoked::new(life.revokes_max, life.revoke_expires),
            events: TaskEvents::watched(settings.monitoring.task_events),
            accepted: BTreeMap::new(),
            losses: Losses::new(life.max_worker_lost),
            life: life.clone(),
            closing: false,
            unregistered: TaskOptions::default(),
            typical_record: 1024,
            reporter: Reporter::new(settings.results, settings.life.hook_timeout),
            tells_of_received: settings.listeners.contains("task_received"),
            tells_of_rejected: settings.listeners.contains("task_rejected"),
            recall: Recall::default(),
            overdue: Overdue::new(settings),
            window: settings.prefetch_count().into(),
        }
    }

    /// How many requests of a channel only wait for a moment: their ETA, or that they are handed back. They do not count
    /// against its window, or those behind them would never come.
    pub(super) fn held_on(&self, channel: u16) -> usize {
        let handed_back = match self.life.refusals.unregistered {
            Verdict::Requeue => self
                .requests()
                .filter(|request| request.state == State::Foreign && request.tag.channel == channel)
                .count(),
            _ => 0,
        };
        self.held.len_on(channel) + handed_back
    }

    /// Every request in hand.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().map(|(_, request)| request)
    }

    pub(super) fn request(&self, key: JobKey) -> Option<&Request> {
        self.requests.get(Key::from(key.0))
    }

    /// A job goes to the pool: remote control may ask what it is, and should its child be lost we, or the clerk, what is
    /// to follow it.
    pub(super) fn keep_job(&mut self, job: &Job) {
        let whole = self.reporter.books.is_some()
            || job.record.len() <= KEPT_RECORD
            || !canvas::asks_for_nothing(&job.record)
            || self.is_retried_after_loss(job.key);
        if let Some(request) = self.request_mut(job.key) {
            if whole {
                request.record.clone_from(&job.record);
            } else {
                request.record = record::without_body(&job.record);
            }
        }
    }

    pub(super) fn request_mut(&mut self, key: JobKey) -> Option<&mut Request> {
        self.requests.get_mut(Key::from(key.0))
    }

    /// Sets how often a task may start (`rate_limit` by remote control). False when there is no such task.
    pub fn set_rate_limit(&mut self, task: &str, rate: Option<Rate>, now: Instant) -> bool {
        let known = self.registry.options(task).is_some();
        if known {
            self.rates.limit(task, rate, now);
        }
        known
    }

    /// A child was given the job: an early acknowledgement leaves now.
    pub(super) fn assigned(
        &mut self,
        key: JobKey,
        pid: Pid,
        now: Instant,
        acks: &mut Acks,
        producer: &mut Producer,
    ) {
        let key = Key::from(key.0);
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let again = matches!(request.state, State::Running { .. });
        request.state = State::Running { pid, since: now };
        request.started = Some(clock::wall());
        let (name, id) = (&request.name, &request.id);
        request.debug(format_args!("Task accepted: {name}[{id}] pid:{pid}"));
        if !request.acks_late && !request.unread {
            request.tell(Verdict::Ack, acks);
        }
        if request.track_started && !again {
            let node = &self.node_name;
            self.reporter
                .report(request, &Ending::Started { pid, node }, None, producer);
        }
        if !again {
            self.events.note(request, || What::Started);
            match self.accepted.get_mut(&request.name) {
                Some(count) => *count += 1,
                None => drop(self.accepted.insert(request.name.clone(), 1)),
            }
        }
        self.begin_limits(key, now);
    }

    /// A child has read what it was given, and begins.
    pub(super) fn begun(&mut self, key: JobKey, acks: &mut Acks) {
        if let Some(request) = self.request_mut(key)
            && std::mem::take(&mut request.unread)
        {
            request.tell(Verdict::Ack, acks);
        }
    }

    /// The pool is done with a job.
    pub(super) fn finished(
        &mut self,
        key: JobKey,
        finish: Finish,
        acks: &mut Acks,
        producer: &mut Producer,
    ) {
        let key = Key::from(key.0);
        let Some(request) = self.requests.get(key) else {
            return;
        };
        if let State::Publishing { .. } = request.state {
            return; // it was withdrawn from the pool, and is settled already
        }
        self.clear_alarm(key);
        if !is_unread(&finish) {
            self.begun(JobKey(key.into()), acks);
        }
        let Some(request) = self.requests.get(key) else {
            return;
        };
        match (finish, request.state) {
            // It has ended in spite of us, and what it says of itself is true.
            (Finish::Done(done), _) => self.answered(key, done, acks, producer),
            (_, State::Ending { cause, .. }) => self.ended(key, cause, acks, producer),
            (Finish::Lost(loss), _) => self.lost(key, &loss.to_string(), acks, producer),
            (Finish::NotStarted, _) if request.acknowledged => {
                self.lost(key, LOST_BEFORE_IT_BEGAN, acks, producer);
            }
            (Finish::NotStarted, _) => self.settle(key, 0, Verdict::Requeue, acks),
        }
    }

    /// A child has answered.
    fn answered(&mut self, key: Key, mut done: Done, acks: &mut Acks, producer: &mut Producer) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        self.losses.forget(&request.id);
        let waits = request.waits(key);
        let mut confirms = 0;
        for publish in std::mem::take(&mut done.publish) {
            confirms += usize::from(self.reporter.publish(request, publish, waits, producer));
        }
        let meta = std::mem::take(&mut done.meta);
        if done.store && !meta.is_empty() && self.reporter.send(request, meta, waits, producer) {
            confirms += 1;
        }
        let verdict = match done.outcome {
            Outcome::Rejected if done.requeue => Verdict::Requeue,
            Outcome::Rejected => Verdict::Reject,
            Outcome::Failure if !request.acks_on_failure => Verdict::Reject,
            Outcome::Undecodable => self.life.refusals.undecodable,
            _ => Verdict::Ack,
        };
        note_answer(&mut self.events, request, done);
        self.settle(key, confirms, verdict, acks);
    }

    /// The task has ended: the broker is told once `confirms` publications are safe.
    pub(super) fn settle(&mut self, key: Key, confirms: usize, verdict: Verdict, acks: &mut Acks) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if !request.acknowledged && confirms > 0 {
            request.state = State::Publishing { confirms, verdict };
            return;
        }
        let early = request.acknowledged;
        if request.tell(verdict, acks) {
            let requeue = match verdict {
                Verdict::Ack => None,
                Verdict::Reject => Some(false),
                Verdict::Requeue => Some(true),
            };
            if let Some(requeue) = requeue {
                self.events.note(request, || What::Rejected { requeue });
            }
        }
        self.remember(key, if early { Verdict::Ack } else { verdict });
    }

    /// A publication that a request waited for has met its fate.
    pub(super) fn published(&mut self, publication: &Publication, fate: Fate, acks: &mut Acks) {
        let lost = fate == Fate::Refused || fate == Fate::Unroutable;
        if lost && publication.mandatory {
            let key = &publication.routing_key;
            let id = publication.properties.correlation_id.as_deref();
            let id = id.unwrap_or("?");
            let line = format!("Task {id} cannot be published again to {key:?}: {fate:?}");
            match publication.request.map(|key| self.requests.get(key)) {
                Some(Some(request)) => request.error(format_args!("{line}")),
                _ => log::error!("{line}"),
            }
        }
        let Some(key) = publication.request else {
            return;
        };
        let request = self.requests.get_mut(key);
        let Some(State::Publishing { confirms, verdict }) = request.map(|request| request.state)
        else {
            return;
        };
        if lost && publication.mandatory {
            self.settle(key, 0, Verdict::Reject, acks);
        } else {
            self.settle(key, confirms.saturating_sub(1), verdict, acks);
        }
    }

    /// Takes no more tasks: those that wait here go back to the queue. The pool hands back those that wait there.
    pub(super) fn close(&mut self, acks: &mut Acks) {
        self.closing = true;
        let mut keys = self.keys(Request::waits_here);
        keys.extend(self.parked.drain(..).map(|job| Key::from(job.key.0)));
        self.held.clear();
        self.rates.clear();
        self.let_go(keys, acks);
    }

    /// Hands back requests that no child has, to a broker that knows them. They are not parked any more.
    pub(super) fn let_go(&mut self, keys: Vec<Key>, acks: &mut Acks) {
        for key in keys {
            if let Some(request) = self.requests.get_mut(key) {
                match request.state {
                    State::Held => {
                        let alarm = request.alarm.take();
                        alarm.and_then(|alarm| self.held.cancel(alarm));
                    }
                    State::Limited => {
                        self.rates.remove(&request.task, JobKey(key.into()));
                    }
                    _ => {}
                }
            }
            self.clear_alarm(key);
            self.settle(key, 0, Verdict::Requeue, acks);
        }
    }

    /// The pool is about to take running tasks away from their children, as Celery's cold shutdown does: once the
    /// child is gone a late message goes back to the queue; of an early one, which the broker has forgotten, the client
    /// hears RETRY.
    pub(super) fn cancel_running(&mut self) {
        for key in self.keys(|request| matches!(request.state, State::Running { .. })) {
            self.doom(key, Cause::Cancelled);
        }
    }

    pub(super) fn keys(&self, wanted: impl Fn(&Request) -> bool) -> Vec<Key> {
        let keys = self.requests.iter().filter(|(_, it)| wanted(it));
        keys.map(|(key, _)| key).collect()
    }
}

/// Whether a job has come back as it was.
fn is_unread(finish: &Finish) -> bool {
    match finish {
        Finish::Done(done) => done.outcome == Outcome::Undecodable,
        Finish::Lost(_) => false,
        Finish::NotStarted => true,
    }
}

/// The event for a child's answer.
fn note_answer(events: &mut TaskEvents, request: &Request, done: Done) {
    let exception = done.exception.unwrap_or_default();
    let traceback = done.traceback.unwrap_or_default();
    let what = match done.outcome {
        Outcome::Success => What::Succeeded {
            result: done.result.unwrap_or_default(),
            runtime: done.runtime,
        },
        Outcome::Retry => What::Retried {
            exception,
            traceback,
        },
        Outcome::Ignored | Outcome::Undecodable => return,
        Outcome::Rejected if done.requeue => return,
        // A task that is rejected for good has failed, says Celery since 5.6.2.
        Outcome::Rejected | Outcome::Failure => What::Failed {
            exception,
            traceback,
        },
    };
    events.note(request, || what);
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
