//! How long a busy worker may gather what it has to tell the broker.
//!
//! A broker spends more on a packet than on a frame: fifty acknowledgements in one packet cost it little more than
//! one. While jobs wait for a child there is something to do in any case, and a short delay costs nobody anything;
//! an idle worker tells everything at once. Pure: the time is passed in.

use std::time::{Duration, Instant};

/// Decides when what is gathered leaves.
#[derive(Debug)]
pub(super) struct Gather {
    longest: Duration,
    since: Option<Instant>,
}

impl Gather {
    /// With its longest delay.
    pub(super) const fn new(longest: Duration) -> Self {
        Self {
            longest,
            since: None,
        }
    }

    /// Whether `pending` things leave now. A busy worker waits for `enough` of them, but not long.
    pub(super) fn is_due(
        &mut self,
        pending: usize,
        enough: usize,
        busy: bool,
        now: Instant,
    ) -> bool {
        if pending == 0 {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let due = !busy || pending >= enough || now >= since + self.longest;
        if due {
            self.since = None;
        }
        due
    }

    /// When to ask again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    const LIMIT: Duration = Duration::from_millis(1);

    #[test]
    fn an_idle_worker_tells_at_once() {
        let mut gather = Gather::new(LIMIT);
        assert!(gather.is_due(1, 100, false, clock::now()));
        assert_eq!(gather.deadline(), None);
    }

    #[test]
    fn a_busy_worker_waits_for_enough_or_for_the_limit() {
        let (mut gather, now) = (Gather::new(LIMIT), clock::now());
        assert!(!gather.is_due(1, 3, true, now));
        assert_eq!(gather.deadline(), Some(now + LIMIT));
        assert!(gather.is_due(3, 3, true, now), "enough");
        assert!(!gather.is_due(1, 3, true, now));
        assert!(!gather.is_due(2, 3, true, now + LIMIT / 2));
        assert!(
            gather.is_due(2, 3, true, now + LIMIT),
            "long enough since the first"
        );
        assert!(!gather.is_due(0, 3, true, now + LIMIT));
        assert_eq!(gather.deadline(), None);
    }
}
