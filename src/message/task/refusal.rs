//! Messages that cannot be run.

use std::fmt;

use super::accept;
use crate::amqp::wire::DecodeError;
use crate::message::body::ShapeError;
use crate::message::json::JsonError;

/// What a message is when it is no task to run, and thereby what becomes of it.
///
/// | | the broker is told | log |
/// |---|---|---|
/// | `Foreign` | nothing yet | |
/// | `Invalid` | reject, not to be requeued | ERROR `Received invalid task message: ..` |
/// | `NotAccepted` | reject, not to be requeued | ERROR `Received invalid task message: ..` |
/// | `Undecodable` | acknowledge | CRITICAL `Can't decode message body: ..` |
/// | `Unknown` | reject, not to be requeued | WARNING `Received and deleted unknown message. ..` |
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no header `task`, and its body is compressed or in a format that only Python reads.
    /// Python is to say what it is; where there is none, it is undecodable.
    Foreign,
    /// A task, but not one that can be run.
    Invalid(InvalidTask),
    /// Its content type, named here, is not among those that are accepted.
    NotAccepted(String),
    /// Its body is no JSON.
    Undecodable(JsonError),
    /// It is no task message.
    Unknown,
}

impl Refusal {
    /// Whether the message is to be acknowledged rather than rejected. Celery throws away what it
    /// cannot decode; what it rejects can still reach a dead-letter exchange.
    pub fn acknowledges(&self) -> bool {
        matches!(self, Self::Foreign | Self::Undecodable(_))
    }
}

impl From<InvalidTask> for Refusal {
    fn from(error: InvalidTask) -> Self {
        Self::Invalid(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("the body is in a format that only Python reads"),
            Self::Invalid(error) => error.fmt(f),
            Self::NotAccepted(content_type) => {
                let name = accept::name_of(content_type);
                write!(
                    f,
                    "Refusing to deserialize untrusted content of type {name} ({content_type})"
                )
            }
            Self::Undecodable(error) => error.fmt(f),
            Self::Unknown => f.write_str("not a task message"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a task cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTask {
    /// The header table is malformed.
    Headers(DecodeError),
    /// A moment that is none.
    Moment {
        /// `ETA` or `expires`.
        field: &'static str,
        /// The value, as Python would show it.
        value: String,
    },
    /// The task has no such field, and needs one.
    Missing(&'static str),
    /// This field is no boolean.
    NotABoolean(&'static str),
    /// This field is no string.
    NotAString(&'static str),
    /// This field is no integer.
    NotAnInteger(&'static str),
    /// The body is of this type, which is never decoded.
    NotDecoded(String),
    /// The body has another shape.
    Shape(ShapeError),
    /// `timelimit` is no pair of seconds.
    TimeLimit,
}

impl fmt::Display for InvalidTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Headers(error) => write!(f, "malformed headers: {error}"),
            Self::Moment { field, value } => {
                write!(
                    f,
                    "invalid {field} value {value}: not a date and time of ISO 8601"
                )
            }
            Self::Missing(field) => write!(f, "the message has no {field}"),
            Self::NotABoolean(field) => write!(f, "{field} must be true, false or null"),
            Self::NotAString(field) => write!(f, "{field} must be a string"),
            Self::NotAnInteger(field) => write!(f, "{field} must be an integer"),
            Self::NotDecoded(content_type) => {
                write!(f, "a body of type {content_type} holds no task arguments")
            }
            Self::Shape(error) => error.fmt(f),
            Self::TimeLimit => {
                f.write_str("timelimit must be a list of two, each seconds or null (hard, soft)")
            }
        }
    }
}

impl std::error::Error for InvalidTask {}
