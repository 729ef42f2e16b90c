//! Moments as Celery writes them: ISO 8601 text in headers and results.
//!
//! The reader takes what dateutil's `isoparse` takes of it, which is more than one standard form:
//! basic and extended dates and times, any separator between the two, `.` or `,` before a
//! fraction, offsets of every precision, or none. A moment without offset is in UTC, as every
//! Celery worker reads it. Week and ordinal dates are not read; nothing writes them.

use std::fmt;
use std::time::SystemTime;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

/// What the system's clock counts from.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Reads a moment.
///
/// # Errors
/// When the text is no date in one of the forms above, or no date at all (February 30).
///
/// ```
/// use celeriac::message::moment::{format, parse};
/// let half_past_five_in_delhi = parse("2030-01-02T05:30:00+05:30").unwrap();
/// assert_eq!(half_past_five_in_delhi, parse("20300102").unwrap());
/// assert_eq!(format(half_past_five_in_delhi), "2030-01-02T00:00:00+00:00");
/// ```
pub fn parse(text: &str) -> Result<SystemTime, MomentError> {
    let (local, offset) = civil_and_offset(text).ok_or(MomentError)?;
    let since_epoch = local.duration_since(EPOCH) - offset;
    let moment = if since_epoch.is_negative() {
        SystemTime::UNIX_EPOCH.checked_sub(since_epoch.unsigned_abs())
    } else {
        SystemTime::UNIX_EPOCH.checked_add(since_epoch.unsigned_abs())
    };
    moment.ok_or(MomentError)
}

/// Writes a moment as Python's `isoformat` does for UTC: microseconds only if there are any.
pub fn format(moment: SystemTime) -> String {
    let time = civil(moment);
    format!("{}+00:00", isoformat(time))
}

/// The same without offset: a `datetime` that does not know its zone.
pub(super) fn format_naive(moment: SystemTime) -> String {
    isoformat(civil(moment))
}

fn isoformat(time: DateTime) -> String {
    let micros = time.subsec_nanosecond() / 1000;
    let fraction = if micros == 0 {
        String::new()
    } else {
        format!(".{micros:06}")
    };
    format!("{}{fraction}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// Moments outside the calendar are written as its first or last.
fn civil(moment: SystemTime) -> DateTime {
    let since_epoch = match moment.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => SignedDuration::try_from(after),
        Err(before) => SignedDuration::try_from(before.duration()).map(|before| -before),
    };
    EPOCH.saturating_add(since_epoch.unwrap_or(SignedDuration::MAX))
}

/// The civil time as written, and by how much it is ahead of UTC. jiff's own timestamps end two
/// days before the year 9999 does, and "for ever" is often written as its last day.
fn civil_and_offset(text: &str) -> Option<(DateTime, SignedDuration)> {
    let mut cursor = Cursor(text.as_bytes());
    let date = cursor.date()?;
    if cursor.0.is_empty() {
        return Some((date.to_datetime(Time::midnight()), SignedDuration::ZERO));
    }
    cursor.separator()?;
    let (time, next_day) = cursor.time()?;
    let offset = cursor.offset()?;
    let date = if next_day {
        date.tomorrow().ok()?
    } else {
        date
    };
    Some((date.to_datetime(time), offset))
}

/// What is left of the text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or `YYYYMMDD`.
    fn date(&mut self) -> Option<Date> {
        let year = self.number(4)?.try_into().ok()?;
        let extended = self.take(b"-");
        let (month, day) = match self.number(2) {
            None if !extended => (1, 1),
            None => return None,
            Some(month) if !extended || self.take(b"-") => (month, self.number(2)?),
            Some(month) => (month, 1),
        };
        Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
    }

    /// Anything but a digit; `T` and a blank are the usual ones.
    fn separator(&mut self) -> Option<()> {
        let text = std::str::from_utf8(self.0).ok()?;
        let first = text.chars().next().filter(|c| !c.is_ascii_digit())?;
        self.0 = self.0.get(first.len_utf8()..)?;
        Some(())
    }

    /// `hh`, `hh:mm`, `hhmm`, `hh:mm:ss[.f]`, `hhmmss[.f]`; `24:00` is midnight of the next day.
    fn time(&mut self) -> Option<(Time, bool)> {
        let hour = self.number(2)?;
        let (mut minute, mut second, mut nanosecond) = (0, 0, 0);
        let extended = self.take(b":");
        if extended || self.0.first().is_some_and(u8::is_ascii_digit) {
            minute = self.number(2)?;
            let more = if extended {
                self.take(b":")
            } else {
                self.number_follows()
            };
            if more {
                second = self.number(2)?;
                if self.take(b".") || self.take(b",") {
                    nanosecond = self.fraction()?;
                }
            }
        }
        let next_day = hour == 24 && minute == 0 && second == 0 && nanosecond == 0;
        let hour = if next_day { 0 } else { hour };
        let small = |value: u32| i8::try_from(value).ok();
        let time = Time::new(small(hour)?, small(minute)?, small(second)?, nanosecond);
        Some((time.ok()?, next_day))
    }

    /// Nothing, `Z`, or `±hh`, `±hhmm`, `±hh:mm`; then the text must end.
    fn offset(&mut self) -> Option<SignedDuration> {
        let sign = match self.0.first() {
            None => return Some(SignedDuration::ZERO),
            Some(b'Z' | b'z') => return (self.0.len() == 1).then_some(SignedDuration::ZERO),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        self.0 = &self.0[1..];
        let hours = self.number(2)?;
        let minutes = if self.take(b":") || !self.0.is_empty() {
            self.number(2)?
        } else {
            0
        };
        if hours > 23 || minutes > 59 || !self.0.is_empty() {
            return None;
        }
        Some(SignedDuration::from_secs(
            sign * i64::from(hours * 3600 + minutes * 60),
        ))
    }

    /// Digits after the point; beyond nanoseconds they are dropped.
    fn fraction(&mut self) -> Option<i32> {
        let count = self
            .0
            .iter()
            .take_while(|octet| octet.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let digits = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
        let value = digits.fold(0, |value, digit| value * 10 + i32::from(digit - b'0'));
        (count > 0).then_some(value)
    }

    fn number_follows(&self) -> bool {
        self.0.first().is_some_and(u8::is_ascii_digit)
    }

    fn number(&mut self, digits: usize) -> Option<u32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        let value = number.iter().try_fold(0, |value, octet| {
            octet
                .is_ascii_digit()
                .then(|| value * 10 + u32::from(octet - b'0'))
        })?;
        self.0 = rest;
        Some(value)
    }

    fn take(&mut self, prefix: &[u8]) -> bool {
        let rest = self.0.strip_prefix(prefix);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

/// A text that is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MomentError;

impl fmt::Display for MomentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a date and time of ISO 8601")
    }
}

impl std::error::Error for MomentError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    /// Text, and the same moment in the one form that is written.
    const READ: &[(&str, &str)] = &[
        (
            "2026-11-20T12:02:12.661756+00:00",
            "2026-11-20T12:02:12.661756+00:00",
        ),
        ("2030-01-02T03:04:05+05:30", "2030-01-01T21:34:05+00:00"),
        ("2030-01-02T03:04:05", "2030-01-02T03:04:05+00:00"),
        ("2030-01-02 03:04:05", "2030-01-02T03:04:05+00:00"),
        ("2030-01-02T03:04:05Z", "2030-01-02T03:04:05+00:00"),
        ("20300102T030405Z", "2030-01-02T03:04:05+00:00"),
        ("20300102T030405.5-08", "2030-01-02T11:04:05.500000+00:00"),
        ("20300102T0304+0100", "2030-01-02T02:04:00+00:00"),
        ("20300102T03", "2030-01-02T03:00:00+00:00"),
        ("2030-01-02T03:04", "2030-01-02T03:04:00+00:00"),
        ("2030-01-02T03:04:05,25", "2030-01-02T03:04:05.250000+00:00"),
        (
            "2030-01-02T03:04:05.1234567890123",
            "2030-01-02T03:04:05.123456+00:00",
        ),
        ("2030-01-02", "2030-01-02T00:00:00+00:00"),
        ("20300102", "2030-01-02T00:00:00+00:00"),
        ("2030-01", "2030-01-01T00:00:00+00:00"),
        ("2030", "2030-01-01T00:00:00+00:00"),
        ("2030-01-02T24:00", "2030-01-03T00:00:00+00:00"),
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59+00:00"),
        ("0001-01-01T00:00:00", "0001-01-01T00:00:00+00:00"),
        (
            "9999-12-31T23:59:59.999999",
            "9999-12-31T23:59:59.999999+00:00",
        ),
        (
            "9999-12-31T23:59:59-01:00",
            "9999-12-31T23:59:59.999999+00:00",
        ),
    ];

    const REFUSED: &[&str] = &[
        "",
        "soon",
        "10",
        "203",
        "2030-",
        "2030-1-2",
        "2030-13-01",
        "2030-02-30",
        "203001",
        "2030-01-02T",
        "2030-01-02T3:04",
        "2030-01-02T25:00",
        "2030-01-02T24:01",
        "2030-01-02T03:60",
        "2030-01-02T03:04:05.",
        "2030-01-02T03:04:05+",
        "2030-01-02T03:04:05+5",
        "2030-01-02T03:04:05+24:00",
        "2030-01-02T03:04:05+05:3",
        "2030-01-02T03:04:05Zulu",
        "2030-01-02T03:04:05 UTC",
        "2030-01-02030405",
        "-2030-01-02",
    ];

    #[test]
    fn reads_every_form_that_publishers_write() {
        for (text, moment) in READ {
            assert_eq!(parse(text).map(format).as_deref(), Ok(*moment), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_moment() {
        for text in REFUSED {
            assert_eq!(parse(text), Err(MomentError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(micros in -62_000_000_000_000_000i64..250_000_000_000_000_000) {
            let micros_since = Duration::from_micros(micros.unsigned_abs());
            let moment = if micros < 0 {
                SystemTime::UNIX_EPOCH - micros_since
            } else {
                SystemTime::UNIX_EPOCH + micros_since
            };
            prop_assert_eq!(parse(&format(moment)), Ok(moment));
        }

        #[test]
        fn no_text_panics(text in "[0-9T:.,Z+ -]{0,40}|\\PC{0,12}") {
            let _ = parse(&text);
        }
    }
}
