//! Lengths of time as others write them: a number of seconds.

use std::time::Duration;

/// The longest wait there is. Nobody lives to see its end, and any clock can tell when that is: a moment plus a
/// [`Duration`] of any length may be none.
pub const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// So many seconds, at most a [`CENTURY`]; nothing for a number that is negative, infinite or none.
///
/// ```
/// use std::time::{Duration, Instant};
/// use celeriac::util::span::{CENTURY, seconds};
///
/// assert_eq!(seconds(1.5), Some(Duration::from_millis(1500)));
/// assert_eq!(seconds(1e300), Some(CENTURY)); // and so no moment plus it is an overflow
/// assert_eq!((seconds(-1.0), seconds(f64::NAN), seconds(f64::INFINITY)), (None, None, None));
/// ```
pub fn seconds(seconds: f64) -> Option<Duration> {
    let given = seconds.is_finite().then_some(seconds)?;
    Duration::try_from_secs_f64(given.min(CENTURY.as_secs_f64())).ok()
}
