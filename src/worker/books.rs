//! What main has a Python app's clerk do, and what depends on it.
//!
//! The [`Clerk`] is the process; here is known which request waits for which note. A clerk that fails, or an app
//! whose code raises, costs the task its late result, never the worker its place.

use std::collections::HashMap;
use std::time::Duration;

use super::Worker;
use super::acks::Acks;
use super::control::Asker;
use super::foreign::Foreign;
use super::request::{Request, State};
use super::results::Ending;
use super::shutdown::Phase;
use super::tasks::Tasks;
use crate::hub::{Hub, Interest, Mode, Next};
use crate::message::pidbox::Exception;
use crate::message::record::{About, Verdict};
use crate::pool::python::clerk::{Clerk, ClerkEvent, Weight};
use crate::sys::clock;
use crate::sys::fd::SharedFd;
use crate::sys::process::Pid;
use crate::sys::signal::Signal;
use crate::util::slots::Key;

/// The clerk's reason when there is no zygote to make one.
const NO_ZYGOTE: &str = "there is no zygote";

/// The notes of a worker.
#[derive(Debug, Default)]
pub(super) struct Books {
    clerk: Clerk,
    /// Requests whose messages wait for a note's answer.
    waiting: HashMap<u64, Key>,
    /// Who waits for the answer to a command.
    asking: HashMap<u64, Asker>,
    /// Messages that the clerk reads.
    decoding: HashMap<u64, Foreign>,
    /// The clerk's files in the Hub.
    files: Vec<Key>,
}

impl Books {
    /// None yet. A clerk may take as long as `patience` for one note.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            clerk: Clerk::new(patience),
            ..Self::default()
        }
    }

    /// Has the clerk see to the end of a request; `waits` is to be settled by its answer.
    pub(super) fn report(&mut self, request: &Request, ending: &Ending<'_>, waits: Option<Key>) {
        let about = match ending {
            Ending::Started { .. } => return, // the child's own business
            Ending::NotRegistered(_) => About::Unregistered,
            Ending::Expired => About::Revoked {
                reason: "expired",
                signal: None,
            },
            Ending::Revoked => About::Revoked {
                reason: "revoked",
                signal: None,
            },
            Ending::Terminated(signal) => About::Revoked {
                reason: "terminated",
                signal: Some(*signal),
            },
            Ending::TimedOut(limit) => About::TimedOut {
                limit: limit.as_secs_f64(),
            },
            Ending::WorkerLost { text, last } => About::Lost { text, last: *last },
            Ending::Cancelled => About::Cancelled,
        };
        let note = self
            .clerk
            .tell(about, Weight::Result, &request.record, clock::now());
        if let (Some(note), Some(key)) = (note, waits) {
            self.waiting.insert(note, key);
        }
    }

    /// Tells the clerk of something that nobody waits for.
    pub(super) fn tell(&mut self, about: About<'_>, weight: Weight, body: &[u8]) {
        self.clerk.tell(about, weight, body, clock::now());
    }

    /// How many notes the clerk has not answered.
    pub(super) fn notes(&self) -> usize {
        self.clerk.notes()
    }

    /// Whether the clerk has so much to do that no tasks should be begun.
    pub(super) fn is_congested(&self) -> bool {
        self.clerk.is_congested()
    }

    /// Has the clerk carry out a command of the app's own, and remembers who has asked.
    pub(super) fn command(
        &mut self,
        method: &str,
        arguments: &str,
        state: &str,
        asker: Option<Asker>,
    ) {
        let about = About::Command {
            method,
            arguments,
            state,
        };
        let note = self.clerk.tell(about, Weight::Once, &[], clock::now());
        self.asking.extend(note.zip(asker));
    }

    /// Has the clerk read a message; its record is `record`. False when it cannot be told.
    pub(super) fn decode(&mut self, foreign: Foreign, record: &[u8]) -> bool {
        let note = self
            .clerk
            .tell(About::Decode, Weight::Once, record, clock::now());
        note.map(|note| self.decoding.insert(note, foreign))
            .is_some()
    }

    /// A channel of tasks is gone, or with `None` all are, and with it what it has delivered.
    pub(super) fn forget_unstarted(&mut self, channel: Option<u16>) {
        let is_lost = |foreign: &Foreign| channel.is_none_or(|it| foreign.channel == it);
        self.decoding.retain(|_, foreign| !is_lost(foreign));
    }

    /// Whether the clerk has seen to everything.
    pub(super) fn is_closed(&self) -> bool {
        self.clerk.is_idle()
    }

    /// Lets the clerk go.
    pub(super) fn stop(&mut self) {
        self.clerk.stop();
    }

    /// When something is due, with or without a zygote.
    pub(super) fn deadline(&self, zygote: bool) -> Option<std::time::Instant> {
        self.clerk.deadline(zygote)
    }
}

impl Tasks {
    /// The clerk is done with a note, well or badly: the message that waits for it is settled.
    fn noted(&mut self, note: u64, verdict: Option<Verdict>, acks: &mut Acks) {
        let books = self.reporter.books.as_mut();
        let Some(key) = books.and_then(|books| books.waiting.remove(&note)) else {
            return;
        };
        let request = self.requests.get(key);
        let Some(State::Publishing { verdict: ours, .. }) = request.map(|request| request.state)
        else {
            return;
        };
        self.settle(key, 0, verdict.unwrap_or(ours), acks);
    }
}

impl Worker {
    /// Sends one of the signals of Celery's main process, if the app listens to it.
    pub(super) fn send_signal(&mut self, signal: &str) {
        self.tell_of_signal(signal, None);
    }

    /// Sends `worker_shutting_down` for a signal that begins a phase.
    pub(super) fn announce_shutdown(&mut self, signal: Signal, phase: Phase) {
        let (how, exit_code) = match phase {
            Phase::Warm => ("Warm", self.shutdown.exit_code()),
            Phase::Cold => ("Cold", 1),
            Phase::Running | Phase::Soft | Phase::Ending | Phase::Hard => return,
        };
        let shutting_down = (signal.as_str(), how, exit_code);
        self.tell_of_signal("worker_shutting_down", Some(shutting_down));
    }

    fn tell_of_signal(&mut self, signal: &str, shutting_down: Option<(&str, &str, u8)>) {
        if self.settings.listeners.contains(signal)
            && let Some(books) = &mut self.tasks.reporter.books
        {
            let about = About::Signal {
                signal,
                shutting_down,
            };
            let weight = match signal {
                "heartbeat_sent" => Weight::Passing,
                _ => Weight::Once,
            };
            books.tell(about, weight, &[]);
        }
    }

    /// Starts a clerk if there is something to see to, and takes in what it has answered.
    pub(super) fn serve_clerk(&mut self, hub: &mut Hub<Self>) {
        let now = hub.now();
        let Some(books) = &mut self.tasks.reporter.books else {
            return;
        };
        if books.clerk.is_wanted(now) {
            match self.pool.pool.as_ref().and_then(crate::pool::Pool::zygote) {
                Some(zygote) => {
                    if let Err(error) = books.clerk.start(zygote, now) {
                        log::error!("clerk: cannot be started: {error}");
                    }
                }
                None if self.successor.is_expected() => {}
                None => books.clerk.abandon(NO_ZYGOTE),
            }
        }
        self.handle_clerk_events(hub);
    }

    pub(super) fn handle_clerk_deadline(&mut self, hub: &mut Hub<Self>) {
        if let Some(books) = &mut self.tasks.reporter.books {
            books.clerk.handle_deadline(hub.now());
        }
        self.serve_clerk(hub);
    }

    /// A process was reaped that is not the pool's.
    pub(super) fn handle_clerk_exit(&mut self, pid: Pid, hub: &mut Hub<Self>) {
        if let Some(books) = &mut self.tasks.reporter.books {
            books.clerk.handle_exit(pid, hub.now());
        }
        self.handle_clerk_events(hub);
    }

    fn handle_clerk(&mut self, hub: &mut Hub<Self>) -> Next {
        if let Some(books) = &mut self.tasks.reporter.books {
            books.clerk.handle_ready(hub.now());
        }
        self.handle_clerk_events(hub);
        Next::Wait
    }

    fn handle_clerk_events(&mut self, hub: &mut Hub<Self>) {
        let mut any = false;
        while let Some(books) = &mut self.tasks.reporter.books
            && let Some(event) = books.clerk.poll_event()
        {
            any = true;
            match event {
                ClerkEvent::Started(notes, replies) => {
                    unwatch(&mut books.files, hub);
                    watch(&mut books.files, hub, notes, Interest::WRITE);
                    watch(&mut books.files, hub, replies, Interest::READ);
                }
                ClerkEvent::Gone => unwatch(&mut books.files, hub),
                ClerkEvent::Again { reason } => {
                    log::warn!("clerk: {reason}; another is told what it was at");
                }
                ClerkEvent::Answered(reply) => {
                    let asker = books.asking.remove(&reply.note);
                    let message = books.decoding.remove(&reply.note);
                    let acks = &mut self.consumer.acks;
                    self.tasks.noted(reply.note, reply.verdict, acks);
                    self.obey_orders(&reply.orders, hub);
                    if let Some(message) = message {
                        self.decoded(message, reply.answer.as_deref(), hub);
                    }
                    let answer = reply.answer.as_deref().unwrap_or("null");
                    self.answer(asker.as_ref(), answer);
                }
                ClerkEvent::Dropped(count) => log::warn!(
                    "clerk: the app's receivers of signals are slower than messages come: {count} calls of those of \
                     task_received, task_rejected and heartbeat_sent were left out"
                ),
                ClerkEvent::Failed { note, reason } => {
                    log::error!(
                        "clerk: {reason}; what it was at is given up: a hook, or a result that is not stored"
                    );
                    let asker = books.asking.remove(&note);
                    if let Some(message) = books.decoding.remove(&note) {
                        self.decoded(message, None, hub);
                    }
                    self.tasks.noted(note, None, &mut self.consumer.acks);
                    let answer = Exception::new("RuntimeError", reason).to_json();
                    self.answer(asker.as_ref(), &answer);
                }
            }
        }
        if any {
            self.unpark(hub);
        }
        if any && self.blueprint.state() == crate::boot::State::Closing {
            self.advance(hub);
        }
    }
}

fn watch(files: &mut Vec<Key>, hub: &mut Hub<Worker>, fd: SharedFd, interest: Interest) {
    match hub.add(fd, interest, Mode::Drain, |worker, hub, _| {
        worker.handle_clerk(hub)
    }) {
        Ok(key) => files.push(key),
        Err(error) => log::error!("clerk: cannot be watched: {error}"),
    }
}

fn unwatch(files: &mut Vec<Key>, hub: &mut Hub<Worker>) {
    for key in files.drain(..) {
        hub.remove(key);
    }
}
