//! The body of a task message: `[args, kwargs, embed]`.

use std::fmt;

use super::json::raw::{FirstThree, first_three};
use super::json::{JsonError, Kind, Oddity, Raw, Scanner};

/// The parts of a JSON body, found in one pass and not decoded.
///
/// ```
/// use celeriac::message::body::Arguments;
/// let body = br#"[[1, 2], {"z": NaN}, {"callbacks": null, "chain": []}]"#;
/// let arguments = Arguments::scan(body).unwrap();
/// assert_eq!(arguments.args.text(), "[1, 2]");
/// assert_eq!(arguments.embedded("chain").unwrap().text(), "[]");
/// assert!(arguments.embedded("callbacks").is_none());
/// // For a task that cannot take it:
/// assert_eq!(arguments.oddity.unwrap().to_string(), "NaN at octet 15 is not a finite number");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// The positional arguments, a list.
    pub args: Raw<'a>,
    /// The keyword arguments, a mapping.
    pub kwargs: Raw<'a>,
    /// What is to happen after the task, a mapping; see [`embedded`](Self::embedded).
    pub embed: Option<Raw<'a>>,
    /// The first token that only Python reads.
    pub oddity: Option<Oddity<'a>>,
}

impl<'a> Arguments<'a> {
    /// Finds the parts of `body`, checking all of it.
    ///
    /// # Errors
    /// [`BodyError::NotJson`] for what Python could not decode either, [`BodyError::Shape`] for
    /// JSON that holds no arguments.
    pub fn scan(body: &'a [u8]) -> Result<Self, BodyError> {
        if body.is_empty() {
            // Nothing is not decoded at all.
            return Err(BodyError::Shape(ShapeError::Empty));
        }
        let mut scanner = Scanner::from_bytes(body)?;
        let Some(list) = first_three(&mut scanner)? else {
            let other = scanner.value()?;
            scanner.end()?;
            return Err(BodyError::Shape(ShapeError::NotAList(other.kind())));
        };
        let FirstThree {
            elements: [Some(args), Some(kwargs), Some(embed)],
            count: 3,
        } = list
        else {
            return Err(BodyError::Shape(ShapeError::Count(list.count)));
        };
        if args.kind() != Kind::Array {
            return Err(BodyError::Shape(ShapeError::Args(args.kind())));
        }
        if kwargs.kind() != Kind::Object {
            return Err(BodyError::Shape(ShapeError::Kwargs(kwargs.kind())));
        }
        let embed = mapping_or_nothing(embed)?;
        Ok(Self {
            args,
            kwargs,
            embed,
            oddity: scanner.oddity(),
        })
    }

    /// What the body says about one of `callbacks`, `errbacks`, `chain` and `chord`. Absent and
    /// null mean the same.
    pub fn embedded(&self, key: &str) -> Option<Raw<'a>> {
        let found = self
            .embed?
            .members()
            .filter(|(name, _)| name.as_str().as_deref() == Some(key));
        found
            .last()
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }
}

/// Some languages write an empty mapping as an empty list, and Python does not mind.
fn mapping_or_nothing(embed: Raw<'_>) -> Result<Option<Raw<'_>>, BodyError> {
    match embed.kind() {
        Kind::Object => Ok(Some(embed)),
        Kind::Null => Ok(None),
        Kind::Array if embed.elements().next().is_none() => Ok(None),
        other => Err(BodyError::Shape(ShapeError::Embed(other))),
    }
}

/// Why a body holds no arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It cannot be decoded.
    NotJson(JsonError),
    /// It can, but has not the shape of a task's body.
    Shape(ShapeError),
}

impl From<JsonError> for BodyError {
    fn from(error: JsonError) -> Self {
        Self::NotJson(error)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(error) => error.fmt(f),
            Self::Shape(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

/// What is wrong with the shape of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// The positional arguments are no list.
    Args(Kind),
    /// A list, but not of three.
    Count(usize),
    /// The third element is neither a mapping nor null.
    Embed(Kind),
    /// There is no body.
    Empty,
    /// The keyword arguments are no mapping.
    Kwargs(Kind),
    /// No list, nor the mapping of an older protocol.
    NotAList(Kind),
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Args(kind) => write!(f, "task arguments must be a list, not {}", kind.noun()),
            Self::Count(count) => write!(
                f,
                "the message body must be a list of three (args, kwargs, embed), not of {count}"
            ),
            Self::Embed(kind) => {
                write!(
                    f,
                    "the third element of the body must be a mapping, not {}",
                    kind.noun()
                )
            }
            Self::Empty => f.write_str("the message body is empty"),
            Self::Kwargs(kind) => {
                write!(
                    f,
                    "task keyword arguments must be a mapping, not {}",
                    kind.noun()
                )
            }
            Self::NotAList(kind) => {
                write!(
                    f,
                    "the message body must be a list of three, not {}",
                    kind.noun()
                )
            }
        }
    }
}

impl std::error::Error for ShapeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(body: &str) -> Option<ShapeError> {
        match Arguments::scan(body.as_bytes()) {
            Err(BodyError::Shape(error)) => Some(error),
            _ => None,
        }
    }

    #[test]
    fn names_what_is_wrong_with_a_shape() {
        let table = [
            ("", ShapeError::Empty),
            ("null", ShapeError::NotAList(Kind::Null)),
            ("\"abc\"", ShapeError::NotAList(Kind::String)),
            ("{}", ShapeError::NotAList(Kind::Object)),
            ("[]", ShapeError::Count(0)),
            ("[[], {}]", ShapeError::Count(2)),
            ("[[], {}, {}, 1, 2]", ShapeError::Count(5)),
            ("[{}, {}, {}]", ShapeError::Args(Kind::Object)),
            ("[NaN, {}, {}]", ShapeError::Args(Kind::Number)),
            ("[[], [], {}]", ShapeError::Kwargs(Kind::Array)),
            ("[[], null, {}]", ShapeError::Kwargs(Kind::Null)),
            ("[[], {}, [1]]", ShapeError::Embed(Kind::Array)),
            ("[[], {}, true]", ShapeError::Embed(Kind::Boolean)),
        ];
        for (body, error) in table {
            assert_eq!(shape(body), Some(error), "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_no_matter_of_shape() {
        for body in ["[", "[[], {}, {}] x", "{\"args\"", "[[], {}, {}, ", " "] {
            let error = Arguments::scan(body.as_bytes()).unwrap_err();
            assert!(matches!(error, BodyError::NotJson(_)), "{body}: {error}");
        }
    }

    #[test]
    fn an_absent_embed_is_no_error() {
        for body in ["[[], {}, null]", "[[], {}, []]", "[[], {}, {}]"] {
            let arguments = Arguments::scan(body.as_bytes()).unwrap();
            assert_eq!(arguments.embedded("chain"), None, "{body}");
        }
    }
}
