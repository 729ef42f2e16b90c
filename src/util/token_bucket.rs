//! A token bucket of one token: how often something may happen, without bursts.

use std::time::{Duration, Instant};

use super::span::{self, CENTURY};

/// Fills at a rate, holds one token, and starts full. Times are passed in.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Tokens a second.
    rate: f64,
    /// When there is a token; one that is there waits, and does not add up.
    full_at: Instant,
}

impl TokenBucket {
    /// A full bucket that gets `rate` tokens a second; the rate is more than 0.
    pub fn new(rate: f64, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Takes the token, if it is there.
    pub fn take(&mut self, now: Instant) -> bool {
        if now < self.full_at {
            return false;
        }
        self.full_at = now + self.period();
        true
    }

    /// How long until there is a token.
    pub fn wait(&self, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now)
    }

    /// Fills at another rate from now on. The wait that has begun is no longer than one of the new rate.
    pub fn set_rate(&mut self, rate: f64, now: Instant) {
        self.rate = rate;
        self.full_at = self.full_at.min(now + self.period());
    }

    fn period(&self) -> Duration {
        // A bucket may fill slower than time can tell.
        span::seconds(1.0 / self.rate).unwrap_or(CENTURY)
    }
}
