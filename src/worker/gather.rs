//! How long what is to be told to the broker is gathered.
//!
//! A broker spends more on a packet than on a frame: fifty acknowledgements in one packet cost it little more than
//! one. So after something has left, what follows within a short time leaves together, as with Nagle's algorithm; what
//! comes after a quiet time leaves at once. Pure: the time is passed in.

use std::time::{Duration, Instant};

/// Decides when what is gathered leaves.
#[derive(Debug)]
pub(super) struct Gather {
    longest: Duration,
    left: Option<Instant>,
    is_waiting: bool,
}

impl Gather {
    /// With its longest delay.
    pub(super) const fn new(longest: Duration) -> Self {
        Self {
            longest,
            left: None,
            is_waiting: false,
        }
    }

    /// Whether `pending` things leave now: `enough` of them always, fewer if nothing has left lately.
    pub(super) fn is_due(&mut self, pending: usize, enough: usize, now: Instant) -> bool {
        let is_lately = self.left.is_some_and(|left| now < left + self.longest);
        let due = pending > 0 && (pending >= enough || !is_lately);
        if due {
            self.left = Some(now);
        }
        self.is_waiting = pending > 0 && !due;
        due
    }

    /// When to ask again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.left
            .filter(|_| self.is_waiting)
            .map(|left| left + self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    const LIMIT: Duration = Duration::from_millis(1);

    #[test]
    fn after_a_quiet_time_it_leaves_at_once() {
        let (mut gather, now) = (Gather::new(LIMIT), clock::now());
        assert!(gather.is_due(1, 100, now));
        assert_eq!(gather.deadline(), None);
        assert!(gather.is_due(1, 100, now + LIMIT));
    }

    #[test]
    fn what_follows_waits_for_enough_or_for_the_limit() {
        let (mut gather, now) = (Gather::new(LIMIT), clock::now());
        assert!(gather.is_due(1, 3, now));
        assert!(!gather.is_due(1, 3, now));
        assert_eq!(gather.deadline(), Some(now + LIMIT));
        assert!(gather.is_due(3, 3, now), "enough");
        assert!(!gather.is_due(2, 3, now + LIMIT / 2));
        assert!(gather.is_due(2, 3, now + LIMIT), "long enough");
        assert!(!gather.is_due(1, 3, now + LIMIT));
        assert!(!gather.is_due(0, 3, now + LIMIT), "it was lost");
        assert_eq!(gather.deadline(), None);
    }
}
