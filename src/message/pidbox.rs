//! Remote control: requests to the mailboxes of nodes, and their replies.
//!
//! A client publishes a request to the fanout exchange that every node's mailbox is bound to; each node that is
//! meant answers to the client's own queue. Requests come from anybody who can reach the broker: what is odd in one
//! is refused or ignored, never fatal.

use std::borrow::Cow;
use std::fmt;

use super::json::{JsonError, Kind, Raw, Scanner, push_string, python_quoted};
use crate::util::glob;

/// The header by which a client of ours asks how many nodes there are, and in the reply the number that its sender
/// knows of, itself included: who reads it need not wait for nodes that do not exist. Celery knows no such header: its
/// nodes do not answer it, and its clients, which do not ask, get exactly the reply that Celery sends.
pub const NODES: &str = "nodes";

/// A request as a node receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// The command's name.
    pub method: Cow<'a, str>,
    /// Its arguments.
    pub arguments: Arguments<'a>,
    /// Which call it belongs to; the reply repeats it.
    pub ticket: Option<Cow<'a, str>>,
    /// Where the reply goes; without it nobody waits for one.
    pub reply_to: Option<ReplyTo<'a>>,
    destination: Option<Raw<'a>>,
    pattern: Option<Raw<'a>>,
    matcher: Option<Raw<'a>>,
}

/// Where a reply goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo<'a> {
    /// The exchange.
    pub exchange: Cow<'a, str>,
    /// The routing key.
    pub routing_key: Cow<'a, str>,
}

impl<'a> Request<'a> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// When it is no JSON, no mapping, or names no method.
    ///
    /// ```
    /// use celeriac::message::pidbox::Request;
    /// let body = br#"{"method": "ping", "arguments": {}, "destination": ["a@b"], "ticket": "t",
    ///     "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "k"}}"#;
    /// let request = Request::parse(body).unwrap();
    /// assert_eq!(request.method, "ping");
    /// assert!(request.is_for("a@b") && !request.is_for("c@d"));
    /// ```
    pub fn parse(body: &'a [u8]) -> Result<Self, RequestError> {
        let mut scanner = Scanner::from_bytes(body).map_err(RequestError::NotJson)?;
        let value = scanner.value().map_err(RequestError::NotJson)?;
        scanner.end().map_err(RequestError::NotJson)?;
        if value.kind() != Kind::Object {
            return Err(RequestError::NotAMapping(value.kind()));
        }
        let fields = Arguments::of(value);
        let method = fields
            .find("method")
            .and_then(Raw::as_str)
            .ok_or(RequestError::NoMethod)?;
        Ok(Self {
            method,
            arguments: fields
                .find("arguments")
                .map(Arguments::of)
                .unwrap_or_default(),
            ticket: fields.find("ticket").and_then(Raw::as_str),
            reply_to: fields.find("reply_to").and_then(ReplyTo::read),
            destination: fields.find("destination"),
            pattern: fields.find("pattern"),
            matcher: fields.find("matcher"),
        })
    }

    /// Whether a node is meant, by kombu's rules: a destination that is given names it (as an element of a list, or
    /// as a part of a text); otherwise a pattern with a matcher fits it; otherwise everybody is meant.
    ///
    /// Nobody is meant by a matcher that nobody knows.
    pub fn is_for(&self, node: &str) -> bool {
        if let Some(destination) = self.destination.filter(|value| is_true(*value)) {
            return match destination.kind() {
                Kind::String => destination.as_str().is_some_and(|text| text.contains(node)),
                Kind::Array => destination
                    .elements()
                    .any(|element| element.as_str().as_deref() == Some(node)),
                Kind::Object => Arguments::of(destination).find(node).is_some(),
                Kind::Null | Kind::Boolean | Kind::Number => false,
            };
        }
        let text = |value: Option<Raw<'a>>| value.filter(|value| is_true(*value))?.as_str();
        let (Some(pattern), Some(matcher)) = (text(self.pattern), text(self.matcher)) else {
            return true;
        };
        match &*matcher {
            "glob" => glob::matches(&pattern, node),
            "pcre" => regex_lite::Regex::new(&format!("^(?:{pattern})"))
                .is_ok_and(|pattern| pattern.is_match(node)),
            _ => false,
        }
    }
}

impl<'a> ReplyTo<'a> {
    fn read(value: Raw<'a>) -> Option<Self> {
        let fields = Arguments::of(value);
        Some(Self {
            exchange: fields.find("exchange")?.as_str()?,
            routing_key: fields.find("routing_key")?.as_str()?,
        })
    }
}

/// What Python counts as true.
pub fn is_true(value: Raw<'_>) -> bool {
    match value.kind() {
        Kind::Null => false,
        Kind::Boolean => value.as_bool() == Some(true),
        Kind::Number => value.as_f64() != Some(0.0),
        Kind::String => value.text() != "\"\"",
        Kind::Array => value.elements().next().is_some(),
        Kind::Object => value.members().next().is_some(),
    }
}

/// Values by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments<'a> {
    values: Vec<(Cow<'a, str>, Raw<'a>)>,
}

impl<'a> Arguments<'a> {
    /// The members of a mapping; none for any other value.
    pub fn of(value: Raw<'a>) -> Self {
        let members = value.members();
        Self {
            values: members
                .filter_map(|(key, value)| Some((key.as_str()?, value)))
                .collect(),
        }
    }

    /// The value of a name; the last, if there are several.
    pub fn find(&self, name: &str) -> Option<Raw<'a>> {
        let mut found = self.values.iter().rev().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| *value)
    }

    /// The value of a name, unless it is null.
    pub fn given(&self, name: &str) -> Option<Raw<'a>> {
        self.find(name).filter(|value| !value.is_null())
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| &**name)
    }

    /// A list of texts, or one text for a list of one; what is no text is left out.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let Some(value) = self.find(name) else {
            return Vec::new();
        };
        match value.as_str() {
            Some(text) => vec![text.into_owned()],
            None => {
                let texts = value.elements().filter_map(|element| element.as_str());
                texts.map(Cow::into_owned).collect()
            }
        }
    }
}

/// Where the replies to a request go.
#[derive(Clone, Copy, Debug)]
pub struct ReplyAddress<'a> {
    /// The exchange.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// What tells the replies to this request from those to others.
    pub ticket: &'a str,
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The command's name.
    pub method: &'a str,
    /// Its arguments: the text of a JSON object.
    pub arguments: &'a str,
    /// The nodes that are meant; nobody in particular means all.
    pub destination: Option<&'a [String]>,
    /// The nodes that are meant by their names' form: the pattern, and what it is (`glob` or `pcre`).
    pub pattern: Option<(&'a str, &'a str)>,
    /// Where replies go; without it nobody answers.
    pub reply: Option<ReplyAddress<'a>>,
}

impl Call<'_> {
    /// The body of the request, with Celery's keys in Celery's order.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"method\": ");
        push_string(&mut out, self.method);
        out.extend_from_slice(b", \"arguments\": ");
        out.extend_from_slice(self.arguments.as_bytes());
        out.extend_from_slice(b", \"destination\": ");
        match self.destination {
            None => out.extend_from_slice(b"null"),
            Some(nodes) => {
                out.push(b'[');
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b", ");
                    }
                    push_string(&mut out, node);
                }
                out.push(b']');
            }
        }
        match self.pattern {
            None => out.extend_from_slice(b", \"pattern\": null, \"matcher\": null"),
            Some((pattern, matcher)) => {
                out.extend_from_slice(b", \"pattern\": ");
                push_string(&mut out, pattern);
                out.extend_from_slice(b", \"matcher\": ");
                push_string(&mut out, matcher);
            }
        }
        if let Some(reply) = &self.reply {
            out.extend_from_slice(b", \"ticket\": ");
            push_string(&mut out, reply.ticket);
            out.extend_from_slice(b", \"reply_to\": {\"exchange\": ");
            push_string(&mut out, reply.exchange);
            out.extend_from_slice(b", \"routing_key\": ");
            push_string(&mut out, reply.routing_key);
            out.push(b'}');
        }
        out.push(b'}');
        out
    }
}

/// The body of a node's reply: `{node: answer}`; `answer` is JSON.
pub fn reply_body(node: &str, answer: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(node.len() + answer.len() + 8);
    out.push(b'{');
    push_string(&mut out, node);
    out.extend_from_slice(b": ");
    out.extend_from_slice(answer.as_bytes());
    out.push(b'}');
    out
}

/// An exception of a command, which reads as Python's repr of it: `KeyError('nosuch')`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    type_name: &'static str,
    message: String,
}

impl Exception {
    /// An exception of one text.
    pub fn new(type_name: &'static str, message: impl Into<String>) -> Self {
        Self {
            type_name,
            message: message.into(),
        }
    }

    /// The reply that tells of it: `{"error": repr}`.
    pub fn to_json(&self) -> String {
        let mut out = b"{\"error\": ".to_vec();
        push_string(&mut out, &self.to_string());
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default() // only ASCII was written
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.type_name, python_quoted(&self.message))
    }
}

impl std::error::Error for Exception {}

/// Why a body is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// It is no JSON.
    NotJson(JsonError),
    /// It is something else than a mapping.
    NotAMapping(Kind),
    /// It names no method.
    NoMethod,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(error) => error.fmt(f),
            Self::NotAMapping(kind) => write!(f, "{} is no request", kind.noun()),
            Self::NoMethod => f.write_str("the request names no method"),
        }
    }
}

impl std::error::Error for RequestError {}

#[doc(hidden)]
pub fn fuzz_pidbox(data: &[u8]) {
    let Ok(request) = Request::parse(data) else {
        return;
    };
    request.is_for("celery@host");
    assert!(
        request
            .arguments
            .names()
            .all(|name| request.arguments.find(name).is_some())
    );
    let reply = reply_body(
        &request.method,
        &Exception::new("KeyError", &*request.method).to_json(),
    );
    let text = String::from_utf8(reply).expect("replies are ASCII");
    assert!(Raw::parse(&text).is_ok(), "a reply is JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_for(fields: &str, node: &str) -> bool {
        let body = format!("{{\"method\": \"ping\", {fields}}}");
        Request::parse(body.as_bytes()).unwrap().is_for(node)
    }

    /// The rules of the captures `ping_*`.
    #[test]
    fn a_destination_beats_a_pattern_and_nothing_means_all() {
        for (fields, expected) in [
            (r#""destination": null"#, true),
            (r#""destination": []"#, true),
            (r#""destination": ["other@lab"]"#, false),
            (r#""destination": ["other@lab", "ref@lab"]"#, true),
            (r#""destination": "xxref@labyy""#, true),
            (r#""destination": 5"#, false),
            (r#""pattern": "ref@*", "matcher": "glob""#, true),
            (r#""pattern": "nomatch*", "matcher": "glob""#, false),
            (r#""pattern": "nomatch*""#, true),
            (r#""pattern": "r.f@l", "matcher": "pcre""#, true),
            (r#""pattern": "ef@lab", "matcher": "pcre""#, false),
            (r#""pattern": "(", "matcher": "pcre""#, false),
            (r#""pattern": "*", "matcher": "nosuch""#, false),
            (
                r#""destination": ["ref@lab"], "pattern": "x", "matcher": "glob""#,
                true,
            ),
        ] {
            assert_eq!(is_for(fields, "ref@lab"), expected, "{fields}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(
            Request::parse(b"[]"),
            Err(RequestError::NotAMapping(Kind::Array))
        );
        assert_eq!(Request::parse(b"{}"), Err(RequestError::NoMethod));
        assert_eq!(
            Request::parse(br#"{"method": 5}"#),
            Err(RequestError::NoMethod)
        );
        assert!(matches!(
            Request::parse(b"{"),
            Err(RequestError::NotJson(_))
        ));
        let odd = br#"{"method": "m", "arguments": null, "reply_to": 3, "ticket": {}}"#;
        let request = Request::parse(odd).unwrap();
        assert_eq!((request.reply_to, request.ticket), (None, None));
    }

    #[test]
    fn a_call_is_read_as_it_was_meant() {
        let nodes = ["a@b".to_owned(), "ü@c".to_owned()];
        let call = Call {
            method: "revoke",
            arguments: r#"{"task_id": ["x"]}"#,
            destination: Some(&nodes),
            pattern: Some(("n*", "glob")),
            reply: Some(ReplyAddress {
                exchange: "reply.celery.pidbox",
                routing_key: "key",
                ticket: "ticket",
            }),
        };
        let body = call.body();
        let request = Request::parse(&body).unwrap();
        assert_eq!(request.arguments.texts("task_id"), ["x"]);
        assert!(request.is_for("ü@c"));
        assert_eq!(request.ticket.as_deref(), Some("ticket"));
        assert_eq!(request.reply_to.unwrap().routing_key, "key");
    }

    #[test]
    fn a_call_has_celerys_octets() {
        let call = Call {
            method: "ping",
            arguments: "{}",
            destination: None,
            pattern: None,
            reply: Some(ReplyAddress {
                exchange: "reply.celery.pidbox",
                routing_key: "2786",
                ticket: "8a41",
            }),
        };
        let expected = r#"{"method": "ping", "arguments": {}, "destination": null, "pattern": null, "matcher": null, "ticket": "8a41", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "2786"}}"#;
        assert_eq!(String::from_utf8(call.body()).unwrap(), expected);
    }
}
