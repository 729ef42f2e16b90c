//! How a task ends when it does not return a value.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::message::json::{self, REPR_LENGTH, Raw};
use crate::message::result;

/// What a task function returns.
pub type TaskResult<T> = Result<T, TaskError>;

/// The ends of a task other than a value.
///
/// Any [`std::error::Error`] becomes a [`Failed`](Self::Failed) by `?`, under the last part of its type's name:
/// `"x".parse::<i64>()?` fails the task with `ParseIntError('invalid digit found in string')`.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// The task failed: state FAILURE with this exception.
    Failed(Exception),
    /// Run the same call again later: state RETRY. Made by [`Context::retry`](super::Context::retry).
    Retry(Box<Retry>),
    /// Acknowledge the message and store no state.
    Ignore,
    /// Reject the message at the broker; with `requeue` it is delivered again.
    Reject {
        /// Why, for the log.
        reason: String,
        /// Whether the broker shall deliver the message again.
        requeue: bool,
    },
}

impl TaskError {
    /// A failure as Python would raise it: `TaskError::new("ValueError", "boom")` reads `ValueError('boom')`.
    ///
    /// Clients raise the exception of that name if [`Exception::module`] names a module they have imported,
    /// and else make one up.
    #[track_caller]
    pub fn new(type_name: impl Into<String>, message: impl Into<Value>) -> Self {
        Self::Failed(Exception::new(type_name, message))
    }

    /// Rejects the message at the broker, saying why.
    pub fn reject(reason: impl Into<String>, requeue: bool) -> Self {
        Self::Reject {
            reason: reason.into(),
            requeue,
        }
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::Failed(Exception::from_error(&error))
    }
}

impl From<Retry> for TaskError {
    fn from(retry: Retry) -> Self {
        Self::Retry(Box::new(retry))
    }
}

impl From<Exception> for TaskError {
    fn from(exception: Exception) -> Self {
        Self::Failed(exception)
    }
}

/// An exception as it travels in results: a type name, its arguments and the module that defines it.
#[derive(Clone, Debug)]
pub struct Exception {
    pub(crate) type_name: String,
    pub(crate) module: Option<String>,
    pub(crate) args: Vec<Value>,
    /// Where it was made, for the traceback.
    pub(crate) location: Option<&'static Location<'static>>,
    /// What it was made from, the nearest first.
    pub(crate) causes: Vec<String>,
}

impl Exception {
    /// An exception with one argument, usually its text, and the module `rust`.
    #[track_caller]
    pub fn new(type_name: impl Into<String>, message: impl Into<Value>) -> Self {
        Self {
            type_name: type_name.into(),
            module: Some("rust".to_owned()),
            args: vec![message.into()],
            location: Some(Location::caller()),
            causes: Vec::new(),
        }
    }

    /// An exception made from an error of the Rust world: the last part of its type's name, its text, its sources.
    #[track_caller]
    pub fn from_error<E: std::error::Error>(error: &E) -> Self {
        let mut exception = Self::new(last_part(std::any::type_name::<E>()), error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            exception.causes.push(cause.to_string());
            source = cause.source();
        }
        exception
    }

    /// What a task fails with that panicked. The panic's text says where; the stack is the traceback.
    pub(crate) fn panic(text: String) -> Self {
        Self {
            type_name: "Panic".to_owned(),
            module: Some("rust".to_owned()),
            args: vec![text.into()],
            location: None,
            causes: Vec::new(),
        }
    }

    /// Names the Python module that defines the type, for example `builtins`.
    #[must_use]
    pub fn module(mut self, module: impl Into<String>) -> Self {
        self.module = Some(module.into());
        self
    }

    /// Replaces the arguments, which a client hands to the exception's constructor.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = Value>) -> Self {
        self.args = args.into_iter().collect();
        self
    }

    /// As Python's `repr` shows it: `ValueError('boom')`.
    pub fn repr(&self) -> String {
        let args = self.args.iter().map(|value| match value {
            Value::String(text) => python_repr(text),
            other => {
                let text = other.to_string();
                Raw::parse(&text).map_or_else(|_| text.clone(), |raw| json::repr(raw, REPR_LENGTH))
            }
        });
        format!(
            "{}({})",
            self.type_name,
            args.collect::<Vec<_>>().join(", ")
        )
    }

    /// The mapping that stands as the result of a failed task.
    pub(crate) fn to_json(&self) -> String {
        let args = json::to_string(&self.args).unwrap_or_else(|_| "[]".to_owned());
        let exception = result::Exception {
            type_name: self.type_name.as_str().into(),
            module: self.module.as_deref().map(Into::into),
            args: args.into(),
        };
        exception.to_json()
    }

    /// The traceback in Python's style, as clients and monitors show it; `task` stands for the function's name.
    pub fn traceback(&self, task: &str) -> String {
        let mut text = String::new();
        for cause in self.causes.iter().rev() {
            text.push_str(cause);
            text.push_str(
                "\n\nThe above exception was the direct cause of the following exception:\n\n",
            );
        }
        text.push_str("Traceback (most recent call last):\n");
        if let Some(at) = self.location {
            text.push_str(&frame(at, task));
        }
        text.push_str(&self.to_string());
        text.push('\n');
        text
    }
}

/// A text as Python's `repr` shows it.
fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut shown = String::from(quote);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            _ if character == quote => shown.extend(['\\', quote]),
            _ if character.is_control() => {
                shown.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            _ => shown.push(character),
        }
    }
    shown.push(quote);
    shown
}

/// One frame of a traceback.
pub(crate) fn frame(at: &Location<'_>, task: &str) -> String {
    format!("  File \"{}\", line {}, in {task}\n", at.file(), at.line())
}

impl fmt::Display for Exception {
    /// The last line of a traceback: `ValueError: boom`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_name)?;
        match self.args.as_slice() {
            [] => Ok(()),
            [Value::String(text)] => write!(f, ": {text}"),
            [value] => write!(f, ": {value}"),
            values => write!(f, ": {}", Value::from(values.to_vec())),
        }
    }
}

/// `core::num::error::ParseIntError` to `ParseIntError`; type parameters are dropped.
fn last_part(type_name: &str) -> &str {
    let plain = type_name.split('<').next().unwrap_or(type_name);
    plain.rsplit("::").next().unwrap_or(plain)
}

/// A wish to run the same call again: made by [`Context::retry`](super::Context::retry), returned as an error.
///
/// ```
/// # use celeriac::app::{Context, TaskResult};
/// # use std::time::Duration;
/// fn fetch(context: &Context, url: String) -> TaskResult<String> {
///     match std::fs::read_to_string(&url) {
///         Ok(text) => Ok(text),
///         Err(error) => Err(context.retry().countdown(Duration::from_secs(5)).because(&error).into()),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    pub(crate) when: When,
    pub(crate) max_retries: Option<Option<u32>>,
    pub(crate) cause: Option<Exception>,
    pub(crate) location: &'static Location<'static>,
}

/// When a retry shall run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    /// After the task's `default_retry_delay`.
    Default,
    /// After this long.
    Countdown(Duration),
    /// Not before this moment.
    At(SystemTime),
}

impl Retry {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self {
            when: When::Default,
            max_retries: None,
            cause: None,
            location: Location::caller(),
        }
    }

    /// Runs it again after this long, instead of the task's `default_retry_delay`.
    #[must_use]
    pub fn countdown(mut self, delay: Duration) -> Self {
        self.when = When::Countdown(delay);
        self
    }

    /// Runs it again not before this moment.
    #[must_use]
    pub fn eta(mut self, at: SystemTime) -> Self {
        self.when = When::At(at);
        self
    }

    /// Replaces the task's limit for this call; `None` is for ever.
    #[must_use]
    pub fn max_retries(mut self, limit: Option<u32>) -> Self {
        self.max_retries = Some(limit);
        self
    }

    /// Names the error that made the retry needed. It is what the task fails with once the retries are used up.
    #[track_caller]
    #[must_use]
    pub fn because<E: std::error::Error>(mut self, error: &E) -> Self {
        self.cause = Some(Exception::from_error(error));
        self
    }

    /// As [`because`](Self::because), with an exception of the task's own making.
    #[must_use]
    pub fn exception(mut self, exception: Exception) -> Self {
        self.cause = Some(exception);
        self
    }
}

impl Retry {
    /// The traceback of a retry, whose cause is shown when it has one.
    pub fn traceback(&self, task: &str) -> String {
        match &self.cause {
            Some(cause) => cause.traceback(task),
            None => format!(
                "Traceback (most recent call last):\n{}Retry\n",
                frame(self.location, task)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(std::num::ParseIntError);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no number")
        }
    }

    impl std::error::Error for Wrapped {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    fn parse(text: &str) -> TaskResult<i64> {
        Ok(text.parse::<i64>()?)
    }

    #[test]
    fn an_error_becomes_an_exception_of_its_types_name() {
        let Err(TaskError::Failed(exception)) = parse("x") else {
            panic!("parsed")
        };
        assert_eq!(
            exception.repr(),
            "ParseIntError('invalid digit found in string')"
        );
        assert_eq!(exception.module.as_deref(), Some("rust"));
        let line = exception.location.expect("the place of the ?").line();
        let text = exception.traceback("tasks.parse");
        let expected = format!(
            "Traceback (most recent call last):\n  File \"{}\", line {line}, in tasks.parse\n\
             ParseIntError: invalid digit found in string\n",
            file!()
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn causes_are_told_as_python_tells_them() {
        let exception = Exception::from_error(&Wrapped("x".parse::<i64>().unwrap_err()));
        let text = exception.traceback("t");
        assert!(text.starts_with(
            "invalid digit found in string\n\nThe above exception was the direct cause of the \
             following exception:\n\nTraceback (most recent call last):\n"
        ));
        assert!(text.ends_with("Wrapped: no number\n"));
    }

    #[test]
    fn reprs_are_pythons() {
        for (message, repr) in [
            ("boom", "E('boom')"),
            ("it's", "E(\"it's\")"),
            ("'\"", "E('\\'\"')"),
            ("a\nb\\\u{1}", "E('a\\nb\\\\\\x01')"),
        ] {
            assert_eq!(Exception::new("E", message).repr(), repr);
        }
        let several = Exception::new("E", "").args([Value::from(1), Value::Null, Value::from("x")]);
        assert_eq!(several.repr(), "E(1, None, 'x')");
        assert_eq!(Exception::new("E", "").args([]).repr(), "E()");
        assert_eq!(last_part("a::b<c::D>"), "b");
    }
}
