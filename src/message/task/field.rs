//! One field of a task: a value of the header table, or of an older message's body.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::{InvalidTask, Moment};
use crate::amqp::table::Value;
use crate::message::headers::write_value;
use crate::message::json::{self, Raw};
use crate::message::moment;
use crate::util::span;

#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Amqp(Value<'a>),
    Json(Raw<'a>),
}

impl<'a> Field<'a> {
    pub(super) fn is_null(self) -> bool {
        match self {
            Self::Amqp(value) => value == Value::Void,
            Self::Json(raw) => raw.is_null(),
        }
    }

    /// The string it is.
    fn as_str(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Amqp(value) => value.as_str().map(Cow::Borrowed),
            Self::Json(raw) => raw.as_str(),
        }
    }

    /// For fields that only people read: a string, with U+FFFD where it is not UTF-8, or nothing.
    pub(super) fn shown(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Amqp(Value::LongStr(octets) | Value::Bytes(octets)) => {
                Some(String::from_utf8_lossy(octets))
            }
            other => other.as_str(),
        }
    }

    pub(super) fn required_str(self, name: &'static str) -> Result<Cow<'a, str>, InvalidTask> {
        self.as_str().ok_or(InvalidTask::NotAString(name))
    }

    /// A string, or nothing for null and the empty string: Celery tells them not apart.
    pub(super) fn optional_str(
        self,
        name: &'static str,
    ) -> Result<Option<Cow<'a, str>>, InvalidTask> {
        if self.is_null() {
            return Ok(None);
        }
        self.required_str(name)
            .map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    pub(super) fn optional_integer(self, name: &'static str) -> Result<Option<i64>, InvalidTask> {
        match self {
            null if null.is_null() => Ok(None),
            Self::Amqp(value) => value
                .as_i64()
                .map(Some)
                .ok_or(InvalidTask::NotAnInteger(name)),
            Self::Json(raw) => raw
                .as_i64()
                .map(Some)
                .ok_or(InvalidTask::NotAnInteger(name)),
        }
    }

    /// A boolean; a number counts as Python counts it.
    pub(super) fn optional_bool(self, name: &'static str) -> Result<Option<bool>, InvalidTask> {
        let truth = match self {
            null if null.is_null() => return Ok(None),
            Self::Amqp(value) => value.as_bool().or_else(|| Some(value.as_i64()? != 0)),
            Self::Json(raw) => raw.as_bool().or_else(|| Some(raw.as_i64()? != 0)),
        };
        truth.map(Some).ok_or(InvalidTask::NotABoolean(name))
    }

    /// ISO 8601 text, or AMQP's own timestamp.
    pub(super) fn optional_moment(
        self,
        field: &'static str,
    ) -> Result<Option<Moment<'a>>, InvalidTask> {
        let found = match self {
            null if null.is_null() => return Ok(None),
            Self::Amqp(Value::Timestamp(seconds)) => SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(seconds))
                .map(|at| Moment {
                    at,
                    text: moment::format(at).into(),
                }),
            other => match other.as_str() {
                Some(text) if text.is_empty() => return Ok(None),
                Some(text) => moment::parse(&text).ok().map(|at| Moment { at, text }),
                None => None,
            },
        };
        found.map(Some).ok_or_else(|| InvalidTask::Moment {
            field,
            value: self.repr(),
        })
    }

    /// `[hard, soft]`, each seconds or null. Zero is no limit.
    pub(super) fn limits(self) -> Result<[Option<Duration>; 2], InvalidTask> {
        let mut limits = [None; 2];
        let mut count = 0;
        let mut place = |limit: Self| {
            *limits.get_mut(count).ok_or(InvalidTask::TimeLimit)? = limit.seconds()?;
            count += 1;
            Ok(())
        };
        match self {
            null if null.is_null() => return Ok(limits),
            Self::Amqp(Value::Array(array)) => {
                for limit in array {
                    place(Self::Amqp(limit.map_err(InvalidTask::Headers)?))?;
                }
            }
            Self::Json(raw) if raw.text().starts_with('[') => {
                raw.elements()
                    .try_for_each(|limit| place(Self::Json(limit)))?;
            }
            _ => return Err(InvalidTask::TimeLimit),
        }
        if count == 1 {
            Err(InvalidTask::TimeLimit)
        } else {
            Ok(limits)
        }
    }

    fn seconds(self) -> Result<Option<Duration>, InvalidTask> {
        let seconds = match self {
            null if null.is_null() => return Ok(None),
            Self::Amqp(value) => value.as_f64(),
            Self::Json(raw) => raw.as_f64(),
        };
        let limit = seconds.and_then(span::seconds);
        let limit = limit.ok_or(InvalidTask::TimeLimit)?;
        Ok(Some(limit).filter(|limit| !limit.is_zero()))
    }

    /// As Python would show it in a message.
    fn repr(self) -> String {
        const LENGTH: usize = 100;
        let mut text = Vec::new();
        let shown = match self {
            Self::Amqp(value) => match write_value(value, &mut text) {
                Ok(()) => std::str::from_utf8(&text)
                    .ok()
                    .and_then(|text| Raw::parse(text).ok()),
                Err(_) => None,
            },
            Self::Json(raw) => Some(raw),
        };
        shown.map_or_else(|| "?".into(), |raw| json::repr(raw, LENGTH))
    }
}
