//! Heartbeats as two deadlines: when to speak, and when to give the peer up.

use std::time::{Duration, Instant};

/// The sign of life in both directions. Any octet counts as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heartbeat {
    /// As negotiated; nothing while or when there are no heartbeats.
    interval: Option<Duration>,
    last_received: Instant,
    /// Half an interval after something was last sent or was found waiting to be sent.
    next_send: Instant,
}

impl Heartbeat {
    /// No heartbeats yet.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            interval: None,
            last_received: now,
            next_send: now,
        }
    }

    /// Begins, with the interval that was negotiated; zero seconds is never.
    pub(super) fn start(&mut self, seconds: u16) {
        self.interval = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
        self.next_send = self.last_received;
        self.sent(self.last_received);
    }

    pub(super) const fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// Something was sent, or waits to be sent so that a heartbeat would only make it longer.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            self.next_send = now + interval / 2;
        }
    }

    pub(super) fn is_send_due(&self, now: Instant) -> bool {
        self.interval.is_some() && self.next_send <= now
    }

    /// How long nothing came, once that is two intervals.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        let silence = now.saturating_duration_since(self.last_received);
        self.interval
            .filter(|interval| silence >= *interval * 2)
            .map(|_| silence)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let interval = self.interval?;
        Some(self.next_send.min(self.last_received + interval * 2))
    }
}

#[allow(clippy::disallowed_methods)]
#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn speaks_after_half_an_interval_and_gives_up_after_two() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.deadline(), None);
        heartbeat.start(10);
        assert_eq!(heartbeat.deadline(), Some(start + 5 * SECOND));
        heartbeat.sent(start + 5 * SECOND);
        heartbeat.sent(start + 17 * SECOND);
        assert_eq!(heartbeat.deadline(), Some(start + 20 * SECOND));
        assert_eq!(heartbeat.silence(start + 19 * SECOND), None);
        assert_eq!(heartbeat.silence(start + 20 * SECOND), Some(20 * SECOND));
        heartbeat.received(start + 20 * SECOND);
        assert_eq!(heartbeat.silence(start + 39 * SECOND), None);
    }

    #[test]
    fn zero_seconds_is_never() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.start(0);
        assert_eq!(heartbeat.deadline(), None);
        assert!(!heartbeat.is_send_due(start + 1000 * SECOND));
        assert_eq!(heartbeat.silence(start + 1000 * SECOND), None);
    }
}
