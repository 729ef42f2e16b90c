//! How long an answer of the broker is waited for.
//!
//! AMQP's heartbeats tell that a broker lives, not that it answers: a worker whose `basic.consume` was lost inside the
//! broker would wait on a healthy connection for ever. Pure: the time is passed in.

use std::time::{Duration, Instant};

/// What a connection that does not answer is told, so to speak.
pub(super) const UNANSWERED: &str = "the broker does not answer";

/// See the [module page](self).
#[derive(Debug)]
pub(super) struct Patience {
    limit: Option<Duration>,
    since: Option<Instant>,
}

impl Patience {
    /// None is endless.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, since: None }
    }

    /// Whether an answer is awaited, as of now.
    pub(super) fn watch(&mut self, awaited: bool, now: Instant) {
        self.since = awaited.then(|| self.since.unwrap_or(now));
    }

    /// When it is at its end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.since? + self.limit?)
    }

    /// Whether it is; it begins anew then.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let over = self.deadline().is_some_and(|deadline| deadline <= now);
        if over {
            self.since = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    /// T1.1: answers may take their time, and one that never comes is not waited for for ever.
    #[test]
    fn t1_1_patience_ends_once_for_each_answer() {
        let limit = Duration::from_secs(60);
        let (mut patience, now) = (Patience::new(Some(limit)), clock::now());
        assert_eq!(patience.deadline(), None);
        patience.watch(true, now);
        patience.watch(true, now + limit / 2);
        assert_eq!(patience.deadline(), Some(now + limit));
        assert!(!patience.is_over(now + limit / 2));
        assert!(patience.is_over(now + limit));
        assert_eq!(patience.deadline(), None);
        patience.watch(true, now + limit);
        patience.watch(false, now + limit);
        assert!(!patience.is_over(now + 9 * limit), "it was answered");
        let mut endless = Patience::new(None);
        endless.watch(true, now);
        assert_eq!(endless.deadline(), None);
    }
}
