//! The tasks main has in hand: every request from its delivery to its settlement.
//!
//! Owned by the [`Worker`](super::Worker); it decides, and leaves the doing to the pool, the acknowledgements
//! and the producer that are lent to it.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use super::acks::Acks;
use super::options::TaskOptions;
use super::outbox::Fate;
use super::producer::{Producer, Publication};
use super::registry::Registry;
use super::request::{Request, State};
use super::results::{self, Ending, Reporter};
use crate::hub::Timer;
use crate::message::record::{Done, Outcome};
use crate::message::task::Accept;
use crate::pool::{Finish, Job, JobKey, Loss};
use crate::sys::process::Pid;
use crate::util::slots::{Key, Slots};

/// A job that waits for its ETA.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) job: Job,
    pub(super) eta: SystemTime,
}

/// The requests of a worker, and what it knows of its tasks.
#[derive(Debug)]
pub struct Tasks {
    pub(super) registry: Registry,
    pub(super) accept: Accept,
    pub(super) node_name: String,
    pub(super) requests: Slots<Request>,
    pub(super) held: Timer<Held>,
    /// Jobs put aside while too many results wait for the broker.
    pub(super) parked: VecDeque<Job>,
    /// No new tasks: what comes is handed back.
    pub(super) closing: bool,
    /// The options of a task that nobody knows.
    pub(super) unregistered: TaskOptions,
    /// The size of a record without its body, for the next one.
    pub(super) typical_record: usize,
    pub(super) reporter: Reporter,
    /// The Python app listens to `task_received`.
    pub(super) tells_of_received: bool,
}

impl Tasks {
    /// No requests yet.
    pub(super) fn new(
        registry: Registry,
        accept: Accept,
        node_name: String,
        reporter: Reporter,
        now: Instant,
    ) -> Self {
        Self {
            registry,
            accept,
            node_name,
            requests: Slots::new(),
            held: Timer::new(now),
            parked: VecDeque::new(),
            closing: false,
            unregistered: TaskOptions::default(),
            typical_record: 1024,
            reporter,
            tells_of_received: false,
        }
    }

    /// Every request in hand.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().map(|(_, request)| request)
    }

    pub(super) fn request_mut(&mut self, key: JobKey) -> Option<&mut Request> {
        self.requests.get_mut(Key::from(key.0))
    }

    /// A child was given the job: an early acknowledgement leaves now.
    pub(super) fn assigned(
        &mut self,
        key: JobKey,
        pid: Pid,
        acks: &mut Acks,
        producer: &mut Producer,
    ) {
        let Some(request) = self.requests.get_mut(Key::from(key.0)) else {
            return;
        };
        let again = matches!(request.state, State::Running { .. });
        request.state = State::Running { pid };
        log::debug!("Task accepted: {}[{}] pid:{pid}", request.name, request.id);
        if !request.acks_late {
            acks.ack(request.tag);
        }
        if request.track_started && !again {
            let node = &self.node_name;
            self.reporter
                .report(request, &Ending::Started { pid, node }, None, producer);
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
        match finish {
            Finish::Done(done) => self.answered(key, done, acks, producer),
            Finish::Lost(loss) => self.lost(key, loss, acks, producer),
            Finish::NotStarted => {
                if let Some(request) = self.requests.remove(key) {
                    acks.reject(request.tag, true);
                }
            }
        }
    }

    /// A child has answered.
    fn answered(&mut self, key: Key, done: Done, acks: &mut Acks, producer: &mut Producer) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if done.outcome == Outcome::Rejected {
            if request.acks_late {
                acks.reject(request.tag, done.requeue);
            }
            self.requests.remove(key);
            return;
        }
        let waits = request.acks_late.then_some(key);
        let mut confirms = 0;
        for publish in done.publish {
            match results::task_message(publish, waits) {
                Ok(publication) => producer.publish(publication),
                Err(error) => {
                    log::error!(
                        "Task {}[{}] cannot be published: {error}",
                        request.name,
                        request.id
                    );
                    continue;
                }
            }
            confirms += 1;
        }
        if done.store
            && !done.meta.is_empty()
            && self.reporter.send(request, done.meta, waits, producer)
        {
            confirms += 1;
        }
        let failed = done.outcome == Outcome::Failure;
        self.settle_after(key, confirms, failed, acks);
    }

    /// The child that had the job is gone.
    fn lost(&mut self, key: Key, loss: Loss, acks: &mut Acks, producer: &mut Producer) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.state == State::Cancelled {
            self.requests.remove(key);
            return;
        }
        if self.reporter.books.is_some() {
            // The app's own Celery decides.
            let waits = request.acks_late.then_some(key);
            self.reporter
                .report(request, &Ending::WorkerLost(loss), waits, producer);
            return self.settle_after(key, 1, false, acks);
        }
        log::error!("Task handler raised error: WorkerLostError('{loss}')");
        if request.acks_late && request.reject_on_worker_lost {
            acks.reject(request.tag, true);
            self.requests.remove(key);
            return;
        }
        let waits = request.acks_late.then_some(key);
        let sent = self
            .reporter
            .report(request, &Ending::WorkerLost(loss), waits, producer);
        self.settle_after(key, usize::from(sent), true, acks);
    }

    /// The task has ended: the broker is told once `confirms` publications are safe.
    fn settle_after(&mut self, key: Key, confirms: usize, failed: bool, acks: &mut Acks) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.acks_late && failed && !request.acks_on_failure {
            acks.reject(request.tag, false);
            self.requests.remove(key);
        } else if request.acks_late && confirms > 0 {
            request.state = State::Publishing { confirms };
        } else {
            acks.ack(request.tag); // an early one has been acknowledged before: nothing happens
            self.requests.remove(key);
        }
    }

    /// A publication that a request waited for has met its fate.
    pub(super) fn published(&mut self, publication: &Publication, fate: Fate, acks: &mut Acks) {
        let lost = fate == Fate::Refused || fate == Fate::Unroutable;
        if lost && publication.mandatory {
            let Publication { routing_key, .. } = publication;
            let id = publication
                .properties
                .correlation_id
                .as_deref()
                .unwrap_or("?");
            log::error!("Task {id} cannot be published again to {routing_key:?}: {fate:?}");
        }
        let Some(key) = publication.request else {
            return;
        };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let State::Publishing { confirms } = &mut request.state else {
            return;
        };
        *confirms = confirms.saturating_sub(1);
        if lost && publication.mandatory {
            acks.reject(request.tag, false);
        } else if *confirms == 0 {
            acks.ack(request.tag);
        } else {
            return;
        }
        self.requests.remove(key);
    }

    /// Takes no more tasks: those that are held go back to the queue. The pool hands back those that wait.
    pub(super) fn close(&mut self, acks: &mut Acks) {
        self.closing = true;
        self.held.clear();
        let mut keys = self.keys(|request| request.state == State::Held);
        keys.extend(self.parked.drain(..).map(|job| Key::from(job.key.0)));
        for key in keys {
            if let Some(request) = self.requests.remove(key) {
                acks.reject(request.tag, true);
            }
        }
    }

    /// Takes running tasks away from their children, as Celery's cold shutdown does: a late message goes back to
    /// the queue; of an early one, which the broker has forgotten, the client hears RETRY.
    pub(super) fn cancel_running(&mut self, acks: &mut Acks, producer: &mut Producer) {
        for key in self.keys(|request| matches!(request.state, State::Running { .. })) {
            let Some(request) = self.requests.get_mut(key) else {
                continue;
            };
            request.state = State::Cancelled;
            if request.acks_late {
                acks.reject(request.tag, true);
            } else {
                self.reporter
                    .report(request, &Ending::Cancelled, None, producer);
            }
        }
    }

    /// Sends what became of a request, if anybody wants to know. Whether a message was sent.
    pub(super) fn report(
        &mut self,
        request: &Request,
        ending: &Ending<'_>,
        waits: Option<Key>,
        producer: &mut Producer,
    ) -> bool {
        self.reporter.report(request, ending, waits, producer)
    }

    fn keys(&self, wanted: impl Fn(&Request) -> bool) -> Vec<Key> {
        let wanted = |(_, request): &(Key, &Request)| wanted(request);
        self.requests
            .iter()
            .filter(wanted)
            .map(|(key, _)| key)
            .collect()
    }
}
