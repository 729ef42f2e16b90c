//! Results read back.

use std::borrow::Cow;

use super::Exception;
use crate::message::json::{JsonError, Raw, Scanner};

/// A result read back, as a client that waits for one does.
///
/// ```
/// use celeriac::message::result::ReceivedMeta;
/// let text = r#"{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["boom"]}, "task_id": "x"}"#;
/// let meta = ReceivedMeta::parse(text.as_bytes()).unwrap();
/// assert!(meta.is_ready());
/// assert_eq!(meta.exception().unwrap().repr(), "ValueError('boom')");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMeta<'a> {
    /// The state's name; there are more than [`State`](super::State) has, and tasks invent their own.
    pub status: Cow<'a, str>,
    /// The result; null when there is none.
    pub result: Option<Raw<'a>>,
    /// The traceback's text.
    pub traceback: Option<Cow<'a, str>>,
    /// The task it belongs to.
    pub task_id: Option<Cow<'a, str>>,
}

impl<'a> ReceivedMeta<'a> {
    /// Finds what matters in a result's text. What is missing reads as absent.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let mut scanner = Scanner::from_bytes(text)?;
        let mapping = scanner.value()?;
        scanner.end()?;
        let mut meta = Self {
            status: "PENDING".into(),
            result: None,
            traceback: None,
            task_id: None,
        };
        for (key, value) in mapping.members() {
            match key.text() {
                "\"status\"" => meta.status = value.as_str().unwrap_or(meta.status),
                "\"result\"" => meta.result = Some(value),
                "\"traceback\"" => meta.traceback = value.as_str(),
                "\"task_id\"" => meta.task_id = value.as_str(),
                _ => {}
            }
        }
        Ok(meta)
    }

    /// Whether the state is final.
    pub fn is_ready(&self) -> bool {
        matches!(&*self.status, "SUCCESS" | "FAILURE" | "REVOKED")
    }

    /// The exception, if the result is one.
    pub fn exception(&self) -> Option<Exception<'a>> {
        let members = || self.result.into_iter().flat_map(Raw::members);
        let find = |name| {
            members()
                .find(|(key, _)| key.text() == name)
                .map(|(_, value)| value)
        };
        let type_name = find("\"exc_type\"")?.as_str()?;
        let module = find("\"exc_module\"").and_then(Raw::as_str);
        let args = find("\"exc_message\"").map_or("[]", Raw::text);
        Some(Exception {
            type_name,
            module,
            args: args.into(),
        })
    }
}
