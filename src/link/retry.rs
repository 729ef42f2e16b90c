//! When to try again: the policy, and the schedule that follows it. Pure.
//!
//! Two situations, two paces. **At the start** the pauses are Celery's: 2, 4, 6 .. 32 seconds,
//! without jitter, because its users know the lines `Trying again in 2.00 seconds... (1/100)`.
//! **After the loss of a working connection**, where Celery may sit out up to 32 seconds of a
//! broker that is long back, the first try comes at once (within [`SPREAD`]: a thousand workers
//! have lost the same broker in the same millisecond), and then about two a second for
//! [`quick_tries`](RetryPolicy::quick_tries) tries, a minute: the time a broker takes to restart. Only then
//! do pauses grow as at the start. All pauses after a loss are shortened by a random part of up to
//! [`JITTER`]; what is reported is what is waited.
//!
//! The count of tries is honest too: the quick ones come on top of Celery's hundred, so the line
//! after a loss reads `(1/220)`, and the link is never less patient than Celery. It starts over
//! with every loss of a connection. One that is lost before it has lasted is not tried again at once,
//! and each in a row is followed by a longer pause, up to four quick ones, so a broker that ends
//! every connection right after the login cannot make us spin. A refusal that will not go away by
//! itself (a wrong password) skips the quick tries.

use std::fmt;
use std::time::Duration;

use crate::util::backoff::Backoff;
use crate::util::random::Random;

/// The first try after a loss comes within this time.
const SPREAD: Duration = Duration::from_millis(100);

/// A connection that lasted so long has proved itself: its loss starts the schedule over.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// The pause after connections that did not last grows to so many quick ones.
const LONGEST_UNSETTLED: u32 = 4;

/// The largest part of a pause that is left out after a loss.
const JITTER: f64 = 0.25;

/// How often and how patiently to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first pause: 2 s in Celery.
    pub first: Duration,
    /// By how much each pause is longer than the one before it: 2 s in Celery.
    pub step: Duration,
    /// No pause is longer: 32 s in Celery.
    pub cap: Duration,
    /// How many tries may follow the first before the link gives up
    /// (`broker_connection_max_retries`, 100). `None` is for ever, `Some(0)` is one try.
    pub limit: Option<u32>,
    /// The pause between quick tries after a loss: half a second.
    pub quick_pause: Duration,
    /// How many quick tries there are after a loss: 120. None of them when `limit` is `Some(0)`.
    pub quick_tries: u32,
    /// Whether to try again at all before there was a connection (`broker_connection_retry_on_startup`).
    pub at_start: bool,
    /// Whether to try again after the loss of a connection (`broker_connection_retry`).
    pub after_loss: bool,
    /// Which broker is next.
    pub failover: Failover,
}

/// In which order the brokers of a list are tried (`broker_failover_strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    /// One after the other, and after a loss the one behind the one that was lost.
    #[default]
    RoundRobin,
    /// Any other, by chance.
    Shuffle,
    /// One after the other, and after a loss the first: it is where one belongs. Celery has not got this.
    Priority,
}

impl Failover {
    /// The order of this name, as Celery spells it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "round-robin" => Some(Self::RoundRobin),
            "shuffle" => Some(Self::Shuffle),
            "priority" => Some(Self::Priority),
            _ => None,
        }
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "round-robin",
            Self::Shuffle => "shuffle",
            Self::Priority => "priority",
        })
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            step: Duration::from_secs(2),
            cap: Duration::from_secs(32),
            limit: Some(100),
            quick_pause: Duration::from_millis(500),
            quick_tries: 120,
            at_start: true,
            after_loss: true,
            failover: Failover::RoundRobin,
        }
    }
}

/// What happens after a failure. `Display` is Celery's sentence for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A connection that had lasted was lost: the same list of URLs is tried again at once, from
    /// the next one on.
    AtOnce,
    /// The next URL is tried at once.
    NextUrl,
    /// All URLs were tried in vain; the next is tried after a pause.
    Later {
        /// How long the pause is.
        pause: Duration,
        /// The number of the try that follows it, from 1; tries that take no pause are not counted.
        attempt: u32,
        /// The number of the last try, if there is one.
        limit: Option<u32>,
    },
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pause, attempt, limit) = match self {
            Self::AtOnce => return f.write_str("Trying to reconnect..."),
            Self::NextUrl => return f.write_str("Will retry using next failover."),
            Self::Later {
                pause,
                attempt,
                limit,
            } => (pause.as_secs_f64(), attempt, limit),
        };
        match limit {
            Some(limit) => write!(
                f,
                "Trying again in {pause:.2} seconds... ({attempt}/{limit})"
            ),
            None => write!(f, "Trying again in {pause:.2} seconds... ({attempt})"),
        }
    }
}

/// A failure, as far as the schedule cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection came about.
    Attempt,
    /// None came about, and none will until somebody changes something.
    Permanent,
    /// A connection was lost soon after it came about.
    Unsettled,
    /// A connection was lost that had lasted.
    Settled,
}

/// Where a link stands in its policy.
#[derive(Debug)]
pub(super) struct Schedule {
    policy: RetryPolicy,
    urls: usize,
    /// URLs tried in vain since the last pause, always less than `urls`.
    tried: usize,
    /// A connection was lost and none has lasted since.
    recovering: bool,
    /// Connections in a row that were lost before they had lasted.
    unsettled: u32,
    quick_used: u32,
    quick_left: u32,
    slow_used: u32,
    slow: Backoff,
    random: Random,
}

impl Schedule {
    pub(super) fn new(policy: RetryPolicy, urls: usize, seed: u64) -> Self {
        Self {
            slow: Backoff::new(policy.first, policy.step, policy.cap),
            random: Random::new(seed),
            policy,
            urls,
            tried: 0,
            recovering: false,
            unsettled: 0,
            quick_used: 0,
            quick_left: 0,
            slow_used: 0,
        }
    }

    /// What to do about a failure, and after how long; `None` is to give up.
    pub(super) fn next(&mut self, failure: Failure) -> Option<(Retry, Duration)> {
        let first_loss = failure == Failure::Unsettled && !self.recovering;
        if failure == Failure::Settled || first_loss {
            self.tried = 0;
            self.unsettled = 0;
            self.recover();
            if !self.policy.after_loss {
                return None;
            }
            return Some((Retry::AtOnce, SPREAD.mul_f64(self.random.fraction())));
        }
        match failure {
            Failure::Unsettled => {
                self.unsettled = LONGEST_UNSETTLED.min(self.unsettled + 1);
                self.recover();
            }
            Failure::Permanent => self.quick_left = 0,
            Failure::Attempt | Failure::Settled => {}
        }
        self.tried += 1;
        if self.tried < self.urls {
            return Some((Retry::NextUrl, Duration::ZERO));
        }
        self.tried = 0;
        let again = match self.recovering {
            true => self.policy.after_loss,
            false => self.policy.at_start,
        };
        if !again {
            return None;
        }
        let mut pause = self.next_pause()?;
        if failure == Failure::Unsettled {
            pause *= self.unsettled;
        }
        if self.recovering {
            pause = pause.mul_f64(1.0 - JITTER * self.random.fraction());
        }
        let attempt = self.attempts();
        let limit = self
            .policy
            .limit
            .map(|limit| self.quick_used + self.quick_left + limit);
        Some((
            Retry::Later {
                pause,
                attempt,
                limit,
            },
            pause,
        ))
    }

    /// Which URL is next after this one; `stays` is to ask the same again.
    pub(super) fn after(&mut self, url: usize, failure: Failure, stays: bool) -> usize {
        let lost = failure == Failure::Settled;
        match self.policy.failover {
            _ if stays && lost => url,
            Failover::Priority if lost && url > 0 => 0,
            Failover::Shuffle if self.urls > 1 => {
                let others = self.urls as u64 - 1;
                (url + 1 + self.random.below(others) as usize) % self.urls
            }
            _ => (url + 1) % self.urls,
        }
    }

    /// Forgets everything, as if just made.
    pub(super) fn restart(&mut self) {
        self.recover();
        self.tried = 0;
        self.recovering = false;
        self.quick_left = 0;
    }

    /// Tries so far that came after a pause.
    pub(super) fn attempts(&self) -> u32 {
        self.quick_used + self.slow_used
    }

    /// Forgets everything that failed before the loss of a connection.
    fn recover(&mut self) {
        self.recovering = true;
        self.quick_used = 0;
        self.quick_left = if self.policy.limit == Some(0) {
            0
        } else {
            self.policy.quick_tries
        };
        self.slow_used = 0;
        self.slow.reset();
    }

    /// Counts one more try and says how long to wait for it, `None` when there are none left.
    fn next_pause(&mut self) -> Option<Duration> {
        if self.quick_left > 0 {
            self.quick_left -= 1;
            self.quick_used += 1;
            return Some(self.policy.quick_pause);
        }
        if self
            .policy
            .limit
            .is_some_and(|limit| self.slow_used >= limit)
        {
            return None;
        }
        self.slow_used = self.slow_used.saturating_add(1);
        Some(self.slow.next_delay())
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
