//! Strings as they stand on the wire, and the errors of reading and writing values.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::str::Utf8Error;

/// The longest short string, in octets: its length is one octet on the wire.
pub const SHORT_STR_MAX: usize = 255;

/// A short string as it stands on the wire: at most 255 octets, UTF-8 by convention only.
///
/// Names of exchanges, queues and routing keys are octets to a broker. A name that is not UTF-8 must
/// not cost a connection, so nothing is checked until somebody asks for text.
///
/// ```
/// use celeriac::amqp::ShortStr;
///
/// let queue = ShortStr::from("celery");
/// assert_eq!(queue, "celery");
/// assert_eq!(queue.to_str(), Ok("celery"));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortStr<'a>(&'a [u8]);

impl<'a> ShortStr<'a> {
    /// The octets.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text.
    ///
    /// # Errors
    /// When the octets are not UTF-8.
    pub const fn to_str(self) -> Result<&'a str, Utf8Error> {
        std::str::from_utf8(self.0)
    }

    /// The text, with U+FFFD in place of what is not UTF-8.
    pub fn to_string_lossy(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }

    /// As much of it as fits on the wire.
    pub(crate) fn cut(self) -> Self {
        Self(self.0.get(..SHORT_STR_MAX).unwrap_or(self.0))
    }

    /// Whether this is the empty string, which names the default exchange or "you choose".
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Text of any length may be named; one longer than 255 octets is refused when it is written.
impl<'a> From<&'a str> for ShortStr<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a String> for ShortStr<'a> {
    fn from(text: &'a String) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for ShortStr<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl PartialEq<str> for ShortStr<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortStr<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for ShortStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}

impl fmt::Debug for ShortStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

/// Why octets cannot be read as the AMQP value that should stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The value says it is longer than what is left.
    Truncated,
    /// All arguments were read and octets are left.
    TrailingBytes {
        /// How many are left.
        count: usize,
    },
    /// A field table holds a value of a type nobody has defined.
    UnknownTag(u8),
    /// Tables and arrays are nested deeper than [`MAX_DEPTH`](super::table::MAX_DEPTH).
    TooDeep,
    /// The grammar has no such method.
    UnknownMethod {
        /// Class of the method.
        class_id: u16,
        /// Number of the method within its class.
        method_id: u16,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("value is cut short"),
            Self::TrailingBytes { count } => write!(f, "{count} octets follow the last argument"),
            Self::UnknownTag(tag) => {
                write!(f, "unknown field value type {:?}", char::from(*tag))
            }
            Self::TooDeep => f.write_str("tables are nested too deeply"),
            Self::UnknownMethod {
                class_id,
                method_id,
            } => {
                write!(f, "unknown method ({class_id}, {method_id})")
            }
        }
    }
}

impl Error for DecodeError {}

/// Why a value cannot be put on the wire. Nothing is written when this is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A name, key or property is longer than 255 octets.
    ShortStrTooLong {
        /// Its first characters.
        start: String,
        /// Its length in octets.
        length: usize,
    },
    /// A long string, table or array is longer than 4 GiB.
    TooLong {
        /// Its length in octets.
        length: usize,
    },
    /// A method or content header does not fit in one frame, and the protocol cannot split it.
    FrameTooLarge {
        /// What should have been sent: `basic.publish header`, `queue.declare`.
        what: &'static str,
        /// Size of the whole frame in octets.
        size: usize,
        /// The negotiated limit in octets.
        frame_max: u32,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortStrTooLong { start, length } => {
                write!(
                    f,
                    "{start:?}... has {length} octets, a short string at most 255"
                )
            }
            Self::TooLong { length } => write!(f, "a value of {length} octets has no encoding"),
            Self::FrameTooLarge {
                what,
                size,
                frame_max,
            } => {
                write!(
                    f,
                    "{what} needs a frame of {size} octets, frame_max is {frame_max}"
                )
            }
        }
    }
}

impl Error for EncodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_utf_8_still_shows() {
        let name = ShortStr::from(&b"caf\xe9"[..]);
        assert!(name.to_str().is_err());
        assert_eq!(name.to_string(), "caf\u{fffd}");
    }
}
