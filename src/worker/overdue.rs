//! Messages that are handed back before the broker loses patience.
//!
//! RabbitMQ closes a channel on which a message waits for its acknowledgement longer than `consumer_timeout`, and with
//! it go all others of that channel. A task that runs cannot be handed back, but one that waits here can: for a child,
//! for its time, for its rate. It comes again at once, as new; so this costs one more delivery every twenty minutes, and
//! lets other workers have it.
//!
//! Looked after in sweeps, so that it costs nothing per message: eight in the time that is left, none for an idle worker.

use std::time::{Duration, Instant};

use super::acks::Acks;
use super::options::TaskOptions;
use super::request::State;
use super::settings::{Queue, Settings};
use super::tasks::Tasks;
use crate::message::record::Verdict;
use crate::pool::JobKey;
use crate::util::slots::Key;

/// The part of the broker's patience that is made use of.
const PART: f64 = 0.8;

/// Sweeps in that time.
const SWEEPS: u32 = 8;

/// When to look for messages that have waited too long.
#[derive(Debug)]
pub(super) struct Overdue {
    /// The age that no message that waits here may reach.
    deadline: Option<Duration>,
    sweep: Option<Instant>,
}

impl Overdue {
    /// The broker's patience is what the settings say, or a queue's own if that is less.
    pub(super) fn new(settings: &Settings) -> Self {
        let general = settings.broker.consumer_timeout;
        let patience = settings.queues.iter().filter_map(own_timeout);
        Self {
            deadline: patience.chain(general).min().map(|it| it.mul_f64(PART)),
            sweep: None,
        }
    }

    /// A message has come.
    pub(super) fn expect(&mut self, now: Instant) {
        if let Some(deadline) = self.deadline {
            self.sweep.get_or_insert(now + deadline - deadline / SWEEPS);
        }
    }

    /// When to look.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.sweep
    }
}

/// `x-consumer-timeout`, in milliseconds.
fn own_timeout(queue: &Queue) -> Option<Duration> {
    let arguments = queue.arguments.as_table();
    let timeout = arguments.find("x-consumer-timeout").ok().flatten()?;
    let milliseconds = u64::try_from(timeout.as_i64()?).ok()?;
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

impl Tasks {
    /// Hands back what has waited too long; gives the jobs to take back from the pool, which settles them by that.
    pub(super) fn hand_back_overdue(&mut self, now: Instant, acks: &mut Acks) -> Vec<JobKey> {
        let Some(deadline) = self.overdue.deadline else {
            return vec![];
        };
        if self.overdue.sweep.is_none_or(|sweep| now < sweep) {
            return vec![];
        }
        let pause = deadline / SWEEPS;
        let oldest = now.checked_sub(deadline - pause);
        let old = self.keys(|request| {
            let waits = matches!(request.state, State::Held | State::Limited | State::Waiting);
            waits && oldest.is_some_and(|oldest| request.delivered <= oldest)
        });
        if !old.is_empty() {
            log::info!(
                "{} messages that no child has begun are handed back before the broker closes the channel",
                old.len()
            );
        }
        let mut in_pool = vec![];
        for key in old {
            if !self.take_out(key) {
                in_pool.push(JobKey(key.into()));
                continue;
            }
            self.clear_alarm(key);
            self.settle(key, 0, Verdict::Requeue, acks);
        }
        let busy = self.requests.len() > in_pool.len();
        self.overdue.sweep = busy.then(|| now + pause);
        in_pool
    }

    /// Takes a request from where it waits, unless that is the pool.
    fn take_out(&mut self, key: Key) -> bool {
        let job = JobKey(key.into());
        let Some(request) = self.requests.get_mut(key) else {
            return false;
        };
        match request.state {
            State::Held => {
                let alarm = request.alarm.take();
                alarm.is_some_and(|alarm| self.held.cancel(alarm).is_some())
            }
            State::Limited => self.rates.remove(&request.task, job).is_some(),
            _ => {
                let before = self.parked.len();
                self.parked.retain(|parked| parked.key != job);
                self.parked.len() < before
            }
        }
    }

    /// Says which late tasks may run longer than the broker waits for their acknowledgement.
    pub(super) fn warn_of_overdue(&self) {
        let Some(deadline) = self.overdue.deadline else {
            return;
        };
        let may_be_late = |(_, options): &(&str, &TaskOptions)| {
            let limit = options.time_limit.or(self.life.limits.hard);
            options.acks_late && limit.is_none_or(|limit| limit > deadline)
        };
        let named = self.registry.iter().filter(may_be_late);
        let names: Vec<&str> = named.map(|(name, _)| name).collect();
        let Some(shown) = names.get(..names.len().min(5)).filter(|it| !it.is_empty()) else {
            return;
        };
        log::warn!(
            "{} tasks are acknowledged late and may run longer than the {} s after which the broker delivers them to \
             somebody else: {}{}. Give them a time limit, or the broker a longer consumer_timeout (and tell the worker: \
             --consumer-timeout).",
            names.len(),
            deadline.div_f64(PART).as_secs(),
            shown.join(", "),
            if names.len() > shown.len() {
                ", ..."
            } else {
                ""
            },
        );
    }
}
