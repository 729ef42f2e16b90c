//! The only readers of time.
//!
//! Pure code takes `now` as an argument, so that a test can be the clock; whoever owns the event
//! loop reads the time here once per turn and hands it down.

use std::time::{Instant, SystemTime};

/// The monotonic clock: for deadlines, intervals and run times. Never steps, never goes back.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock: for time stamps that others read, and for ETAs. May step in either direction.
#[allow(clippy::disallowed_methods)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
