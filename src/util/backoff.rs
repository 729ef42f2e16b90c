//! How long to wait before trying again.

use std::time::Duration;

/// Delays that grow by a fixed step up to a cap: Celery's 2, 4, 6 .. 32 seconds between attempts to
/// reach the broker.
///
/// ```
/// use std::time::Duration;
/// use celeriac::util::backoff::Backoff;
///
/// let seconds = Duration::from_secs;
/// let mut backoff = Backoff::new(seconds(2), seconds(2), seconds(5));
/// assert_eq!(backoff.next_delay(), seconds(2));
/// assert_eq!(backoff.next_delay(), seconds(4));
/// assert_eq!(backoff.next_delay(), seconds(5));
/// assert_eq!(backoff.next_delay(), seconds(5));
/// backoff.reset();
/// assert_eq!(backoff.next_delay(), seconds(2));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    step: Duration,
    cap: Duration,
    /// The next delay, never above `cap`.
    next: Duration,
}

impl Backoff {
    /// Delays of `first`, `first + step`, `first + 2 * step` and so on, none above `cap`.
    pub fn new(first: Duration, step: Duration, cap: Duration) -> Self {
        let next = first.min(cap);
        Self {
            first,
            step,
            cap,
            next,
        }
    }

    /// How long to wait now; the next answer will be longer.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_add(self.step).min(self.cap);
        delay
    }

    /// Starts over: what was tried has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn celery_waits_2_4_6_up_to_32_seconds() {
        let mut backoff = Backoff::new(2 * SECOND, 2 * SECOND, 32 * SECOND);
        let seconds: Vec<u64> = (0..18).map(|_| backoff.next_delay().as_secs()).collect();
        let expected: Vec<u64> = (2..=32).step_by(2).chain([32, 32]).collect();
        assert_eq!(seconds, expected);
    }

    #[test]
    fn a_cap_below_the_first_delay_wins_and_nothing_overflows() {
        let mut low = Backoff::new(5 * SECOND, SECOND, SECOND);
        assert_eq!(low.next_delay(), SECOND);
        low.reset();
        assert_eq!(low.next_delay(), SECOND);

        let mut endless = Backoff::new(SECOND, Duration::MAX, Duration::MAX);
        endless.next_delay();
        assert_eq!(
            [endless.next_delay(), endless.next_delay()],
            [Duration::MAX; 2]
        );
    }
}
