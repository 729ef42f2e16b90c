//! Time limits, and everything else about a task that time alone decides.
//!
//! A request has at most one timer at a time, and the timer is data: what is due, and for whom. The clock of a limit
//! begins when a child is given the task.
//!
//! ```text
//! waiting: Expiry      running: Soft ---> Hard ---> Kill
//! ```

use std::time::{Duration, Instant};

use super::Worker;
use super::receive::after;
use super::request::{Cause, State};
use super::settings::ResultBackend;
use super::tasks::Tasks;
use crate::hub::Hub;
use crate::message::record::Verdict;
use crate::pool::JobKey;
use crate::sys::clock;
use crate::sys::signal::Signal;
use crate::util::slots::Key;

/// How long a child that ran into its hard limit has for its last words, as its end is asked for by TERM. Celery
/// gives it a tenth of a second.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(300);

/// How long a task may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// After this long the task is told to end.
    pub soft: Option<Duration>,
    /// After this long its child is killed.
    pub hard: Option<Duration>,
}

impl Limits {
    /// Whether the soft limit is not below the hard one, and so would never be reached.
    pub fn is_odd(&self) -> bool {
        matches!((self.soft, self.hard), (Some(soft), Some(hard)) if soft >= hard)
    }

    /// The limits of one run: each from the first of message, task and worker that has it, as in Celery. A soft limit
    /// that is not below the hard one would never be reached: there is none then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use celeriac::worker::Limits;
    ///
    /// let seconds = |soft, hard| Limits {
    ///     soft: Some(soft).filter(|soft| *soft > 0).map(Duration::from_secs),
    ///     hard: Some(hard).filter(|hard| *hard > 0).map(Duration::from_secs),
    /// };
    /// assert_eq!(Limits::of_run([seconds(0, 9), seconds(5, 7), seconds(1, 1)]), seconds(5, 9));
    /// assert_eq!(Limits::of_run([seconds(0, 3), seconds(5, 7), seconds(1, 1)]), seconds(0, 3));
    /// ```
    pub fn of_run(sources: [Self; 3]) -> Self {
        let first = |limit: fn(&Self) -> Option<Duration>| {
            let mut limits = sources.iter().filter_map(limit);
            limits.find(|limit| !limit.is_zero())
        };
        let hard = first(|limits| limits.hard);
        let soft = first(|limits| limits.soft);
        Self {
            soft: soft.filter(|soft| hard.is_none_or(|hard| *soft < hard)),
            hard,
        }
    }
}

/// What time brings for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) key: Key,
    pub(super) what: What,
}

/// See the [module page](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its time has passed before a child had it.
    Expiry,
    /// The soft limit.
    Soft,
    /// The hard limit.
    Hard,
    /// Its child was told to end, and has not.
    Kill,
    /// It is handed back.
    HandBack,
}

impl Tasks {
    /// Sets the timer of a request.
    pub(super) fn set_alarm(&mut self, key: Key, what: What, deadline: Instant) {
        if let Some(request) = self.requests.get_mut(key) {
            let before = request
                .alarm
                .replace(self.due.insert(deadline, 0, Due { key, what }));
            if let Some(before) = before {
                self.due.cancel(before);
            }
        }
    }

    /// Takes the timer of a request away.
    pub(super) fn clear_alarm(&mut self, key: Key) {
        let request = self.requests.get_mut(key);
        if let Some(alarm) = request.and_then(|request| request.alarm.take()) {
            self.due.cancel(alarm);
        }
    }

    /// A child has the task now: its limits begin.
    pub(super) fn begin_limits(&mut self, key: Key, now: Instant) {
        self.clear_alarm(key);
        let limits = self.requests.get(key).map(|request| request.limits);
        match limits.unwrap_or_default() {
            Limits {
                soft: Some(soft), ..
            } => self.set_alarm(key, What::Soft, after(now, soft)),
            Limits {
                hard: Some(hard), ..
            } => self.set_alarm(key, What::Hard, after(now, hard)),
            _ => {}
        }
    }

    /// A task that runs is being ended: what becomes of it is decided when its child is gone.
    pub(super) fn doom(&mut self, key: Key, cause: Cause) {
        if let Some(request) = self.requests.get_mut(key)
            && let State::Running { pid, .. } = request.state
        {
            request.state = State::Ending { pid, cause };
            self.clear_alarm(key);
        }
    }

    /// What is due by now.
    pub(super) fn pop_alarm(&mut self, now: Instant) -> Option<Due> {
        let due = self.due.pop_due(now)?;
        if let Some(request) = self.requests.get_mut(due.key) {
            request.alarm = None;
        }
        Some(due)
    }

    /// Sets the limits of a task from now on (`time_limit` by remote control); `None` is no limit of its own. False
    /// when there is no such task.
    pub fn set_limits(&mut self, task: &str, limits: Limits) -> bool {
        let Some(options) = self.registry.options_mut(task) else {
            return false;
        };
        options.soft_time_limit = limits.soft;
        options.time_limit = limits.hard;
        true
    }
}

impl Worker {
    /// Does what time has brought.
    pub(super) fn enforce_limits(&mut self, hub: &mut Hub<Self>) {
        let now = hub.now();
        while let Some(Due { key, what }) = self.tasks.pop_alarm(now) {
            match what {
                What::Expiry => self.expire(key, hub),
                What::Soft => self.reach_soft_limit(key, now),
                What::Hard => self.reach_hard_limit(key, now),
                What::HandBack => {
                    let acks = &mut self.consumer.acks;
                    self.tasks.settle(key, 0, Verdict::Requeue, acks);
                }
                What::Kill => {
                    let job = JobKey(key.into());
                    if let Some(pool) = &mut self.pool.pool {
                        pool.kill_job(job, Signal::SIGKILL, now);
                    }
                }
            }
            self.handle_pool_events(hub);
        }
    }

    /// A task that no child was given in time is not run.
    fn expire(&mut self, key: Key, hub: &mut Hub<Self>) {
        let waits = |state| matches!(state, State::Waiting);
        let request = self.tasks.requests.get(key);
        if request.is_some_and(|request| waits(request.state) && request.is_expired(clock::wall()))
        {
            self.withdraw(key, Cause::Expired, hub);
        }
    }

    /// A Python task is told by a signal. A native one looks at the clock itself: it was told its limit.
    fn reach_soft_limit(&mut self, key: Key, now: Instant) {
        let Some(request) = self.tasks.requests.get(key) else {
            return;
        };
        let State::Running { since, .. } = request.state else {
            return;
        };
        let Limits { soft, hard } = request.limits;
        let line = format!(
            "Soft time limit ({}s) exceeded for {}[{}]",
            seconds(soft.unwrap_or_default()),
            request.name,
            request.id
        );
        let told = match (&mut self.pool.pool, self.settings.results) {
            (Some(pool), ResultBackend::App) => {
                pool.signal_job(JobKey(key.into()), Signal::SIGUSR1, now)
            }
            _ => true,
        };
        if told {
            request.warn(format_args!("{line}"));
        }
        if let Some(hard) = hard {
            self.tasks.set_alarm(key, What::Hard, after(since, hard));
        }
    }

    fn reach_hard_limit(&mut self, key: Key, now: Instant) {
        let Some(request) = self.tasks.requests.get(key) else {
            return;
        };
        let limit = request.limits.hard.unwrap_or_default();
        if !matches!(request.state, State::Running { .. }) {
            return;
        }
        let term = self.settings.pool_term();
        let pool = self.pool.pool.as_mut();
        if !pool.is_some_and(|pool| pool.kill_job(JobKey(key.into()), term, now)) {
            return; // it has just ended
        }
        if self.settings.results != ResultBackend::App {
            // The app's own Celery says so otherwise.
            let (name, id) = (&request.name, &request.id);
            let limit = seconds(limit);
            request.error(format_args!(
                "Hard time limit ({limit}s) exceeded for {name}[{id}]"
            ));
        }
        self.tasks.doom(key, Cause::TimedOut(limit));
        self.tasks.set_alarm(key, What::Kill, now + LAST_WORDS);
    }
}

/// Seconds as Celery shows a limit: `10`, or `0.5`.
fn seconds(limit: Duration) -> f64 {
    limit.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Timer;

    /// T12.1: whatever the soft limit is, the hard one comes at its time.
    #[test]
    fn the_hard_limit_comes_at_its_time_whatever_the_soft_one_is() {
        let seconds = |limit: Option<u64>| limit.map(Duration::from_secs);
        for (soft, hard, meant) in [
            (Some(3), Some(5), (Some(3), Some(5))),
            (Some(5), Some(5), (None, Some(5))),
            (Some(9), Some(5), (None, Some(5))),
            (None, Some(5), (None, Some(5))),
            (Some(3), None, (Some(3), None)),
            (None, None, (None, None)),
        ] {
            let given = Limits {
                soft: seconds(soft),
                hard: seconds(hard),
            };
            let expected = Limits {
                soft: seconds(meant.0),
                hard: seconds(meant.1),
            };
            let limits = Limits::of_run([Limits::default(), given, Limits::default()]);
            assert_eq!(limits, expected);
            assert_eq!(
                given.is_odd(),
                soft.is_some() && hard.is_some() && soft >= hard
            );
        }
        let begun = clock::now();
        let mut timer = Timer::new(begun);
        timer.insert(after(begun, Duration::from_secs(5)), 0, What::Hard);
        assert_eq!(
            timer.pop_due(begun + Duration::from_millis(4990)),
            None,
            "never early"
        );
        assert_eq!(
            timer.pop_due(begun + Duration::from_millis(5010)),
            Some(What::Hard)
        );
    }
}
