//! A request to all nodes or some of them, and their replies.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::{Client, ClientError, Message};
use super::inspect::Inspect;
use crate::amqp::Properties;
use crate::amqp::connection::CommandError;
use crate::amqp::table::TableBuf;
use crate::link::BrokerUrl;
use crate::message::channels::Channels;
use crate::message::json::Raw;
use crate::message::pidbox::ReplyAddress;
use crate::message::pidbox::{self, Arguments, Call};
use crate::message::{json, signature};
use crate::sys::clock;
use crate::util::lamport::Lamport;
use crate::util::span::CENTURY;

/// How long is waited for nodes that nobody has named, once all that are known of have answered.
const GRACE: Duration = Duration::from_millis(50);

/// How long is waited for the next reply: Celery's default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Sends commands to nodes and collects their replies; see the [module page](super).
pub struct Control {
    client: Client,
    /// The routing key of our reply queue.
    id: String,
    /// The exchange of requests.
    requests: String,
    /// The exchange of replies.
    replies: String,
    clock: Lamport,
    destination: Option<Vec<String>>,
    pattern: Option<(String, &'static str)>,
    timeout: Duration,
    limit: Option<usize>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("id", &self.id)
            .field("destination", &self.destination)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a node has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReply {
    /// The node's name.
    pub node: String,
    /// Its answer: JSON, as it came.
    pub answer: String,
}

/// Why a node's answer is not the value that was asked for: its own words, or what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl NodeReply {
    /// The answer as a value.
    ///
    /// # Errors
    /// When the node has refused (`{"error": text}`), or has answered something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        if let Some(text) = self.text("error") {
            return Err(Refused(text));
        }
        serde_json::from_str(&self.answer).map_err(|error| Refused(format!("odd answer: {error}")))
    }

    /// The text of `{"ok": text}`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn ok(&self) -> Result<String, Refused> {
        match (self.text("ok"), self.text("error")) {
            (Some(text), _) => Ok(text),
            (None, Some(text)) => Err(Refused(text)),
            (None, None) => Err(Refused(format!("odd answer: {}", self.answer))),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let answer = Raw::parse(&self.answer).ok()?;
        let text = Arguments::of(answer).find(name)?.as_str()?;
        Some(text.into_owned())
    }
}

impl Control {
    /// Connects to a broker (kombu's form of a URL, or several joined by `;`), and opens a queue for replies, which
    /// goes with the connection, however that ends.
    ///
    /// # Errors
    /// When no broker can be reached, or it refuses.
    pub fn connect(url: &str) -> Result<Self, ClientError> {
        Self::connect_by(url, &Channels::default())
    }

    /// The same to workers that have other exchanges than Celery's, or with a queue of other flags.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_by(url: &str, channels: &Channels) -> Result<Self, ClientError> {
        Self::connect_to(&BrokerUrl::parse_list(url)?, channels)
    }

    pub(crate) fn connect_to(urls: &[BrokerUrl], channels: &Channels) -> Result<Self, ClientError> {
        let mut client = Client::connect(urls)?;
        let id = signature::new_id();
        let (requests, replies) = (channels.requests(), channels.replies());
        client.declare_exchange(&requests, "fanout", false)?;
        client.declare_exchange(&replies, "direct", false)?;
        let queue = channels.reply_queue(&id);
        client.consume_own(&queue, &replies, &id, &channels.control_queue)?;
        Ok(Self {
            client,
            id,
            requests,
            replies,
            clock: Lamport::default(),
            destination: None,
            pattern: None,
            timeout: TIMEOUT,
            limit: None,
        })
    }

    /// From now on only these nodes are meant, and a call returns as soon as they have answered.
    #[must_use]
    pub fn destination<S: Into<String>>(mut self, nodes: impl IntoIterator<Item = S>) -> Self {
        self.destination = Some(nodes.into_iter().map(Into::into).collect());
        self
    }

    /// From now on only nodes are meant whose names fit this shell pattern.
    #[must_use]
    pub fn glob(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some((pattern.into(), "glob"));
        self
    }

    /// From now on only nodes are meant whose names begin with what fits this regular expression.
    #[must_use]
    pub fn regex(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some((pattern.into(), "pcre"));
        self
    }

    /// How long is waited for the next reply; one second by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A call returns when so many nodes have answered.
    #[must_use]
    pub fn limit(mut self, replies: usize) -> Self {
        self.limit = Some(replies);
        self
    }

    /// Questions, with answers that have types.
    pub fn inspect(&mut self) -> Inspect<'_> {
        Inspect::new(self)
    }

    /// Sends a command that nobody is to answer.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub fn cast(
        &mut self,
        method: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<(), ClientError> {
        let arguments = text(arguments)?;
        self.send(method, &arguments, None)
    }

    /// Sends a command, and waits for the replies: until all nodes have answered that are meant by name, or that the
    /// nodes themselves know of (celeriac's do); otherwise until none comes for as long as the timeout.
    ///
    /// # Errors
    /// When the connection fails. That nobody answers is no error.
    pub fn call(
        &mut self,
        method: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<Vec<NodeReply>, ClientError> {
        let arguments = text(arguments)?;
        self.ask(method, &arguments, |_| ())
    }

    /// The same with arguments that are JSON already; gives each reply to `heard` as it comes.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        arguments: &str,
        mut heard: impl FnMut(&NodeReply),
    ) -> Result<Vec<NodeReply>, ClientError> {
        let ticket = signature::new_id();
        self.send(method, arguments, Some(&ticket))?;
        let named = self.destination.as_ref().map(|nodes| {
            let nodes: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
            nodes.len()
        });
        let enough = self.limit.or(named);
        let mut replies: Vec<NodeReply> = Vec::new();
        let mut known = 0;
        let mut deadline = clock::now() + self.timeout.min(CENTURY);
        while enough.is_none_or(|enough| replies.len() < enough) {
            let read = |message: &Message| read(message, &ticket);
            let (reply, nodes, clock) = match self.client.receive(Some(deadline), read) {
                Ok(found) => found,
                Err(ClientError::TimedOut) => break,
                Err(error) => return Err(error),
            };
            self.clock.adjust(clock);
            heard(&reply);
            replies.push(reply);
            known = known.max(nodes);
            // Of nodes that a pattern leaves out nobody hears.
            let complete = known > 0 && replies.len() >= known && self.pattern.is_none();
            deadline = self.next_deadline(complete);
        }
        Ok(replies)
    }

    fn next_deadline(&self, complete: bool) -> Instant {
        let wait = match complete {
            true => GRACE.min(self.timeout),
            false => self.timeout.min(CENTURY),
        };
        clock::now() + wait
    }

    fn send(
        &mut self,
        method: &str,
        arguments: &str,
        ticket: Option<&str>,
    ) -> Result<(), ClientError> {
        let pattern = self.pattern.as_ref();
        let call = Call {
            method,
            arguments,
            destination: self.destination.as_deref(),
            pattern: pattern.map(|(pattern, matcher)| (pattern.as_str(), *matcher)),
            reply: ticket.map(|ticket| ReplyAddress {
                exchange: &self.replies,
                routing_key: &self.id,
                ticket,
            }),
        };
        let since = clock::wall().duration_since(std::time::UNIX_EPOCH);
        let expires = match ticket {
            Some(_) => (since.unwrap_or_default() + self.timeout).as_secs_f64(),
            None => 0.0,
        };
        let clock = i64::try_from(self.clock.forward()).unwrap_or(i64::MAX);
        let mut headers = TableBuf::new();
        headers
            .insert("clock", clock)
            .and_then(|()| headers.insert("expires", expires))
            .map_err(CommandError::from)?;
        if self.destination.is_none() && ticket.is_some() {
            headers
                .insert(pidbox::NODES, true)
                .map_err(CommandError::from)?;
        }
        let properties = Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            headers: Some(headers.as_table()),
            delivery_mode: Some(2),
            priority: Some(0),
            ..Properties::default()
        };
        self.client
            .publish_to(&self.requests, "", &properties, &call.body())
    }

    /// Says goodbye to the broker. Without it the broker notes a lost connection, and nothing else is lost.
    pub fn close(self) {
        self.client.close();
    }
}

/// Arguments as the JSON of a request.
fn text(arguments: &(impl Serialize + ?Sized)) -> Result<String, ClientError> {
    json::to_string(arguments).map_err(|error| ClientError::Unsendable(error.to_string()))
}

/// Reads `{node: answer}`, how many nodes the sender knows of, and its clock. What belongs to an earlier call is no
/// answer to this one.
fn read(message: &Message, ticket: &str) -> Option<(NodeReply, usize, u64)> {
    let headers = message.headers.as_table();
    let header = |name| headers.find(name).ok().flatten();
    let number = |name| header(name).and_then(|value| u64::try_from(value.as_i64()?).ok());
    if header("ticket").and_then(|value| value.as_str()) != Some(ticket) {
        return None;
    }
    let text = std::str::from_utf8(&message.body).ok()?;
    let (node, answer) = Raw::parse(text).ok()?.members().next()?;
    let reply = NodeReply {
        node: node.as_str()?.into_owned(),
        answer: answer.text().to_owned(),
    };
    let nodes = usize::try_from(number(pidbox::NODES).unwrap_or(0)).unwrap_or(0);
    Some((reply, nodes, number("clock").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(answer: &str) -> NodeReply {
        NodeReply {
            node: "a@b".to_owned(),
            answer: answer.to_owned(),
        }
    }

    #[test]
    fn an_answer_is_read_or_told_why_not() {
        assert_eq!(reply(r#"{"ok": "pong"}"#).ok(), Ok("pong".to_owned()));
        let refused = Refused("unknown task".to_owned());
        let error = reply(r#"{"error": "unknown task"}"#);
        assert_eq!(error.ok(), Err(refused.clone()));
        assert_eq!(error.read::<Vec<String>>(), Err(refused));
        assert_eq!(
            reply(r#"["x"]"#).read::<Vec<String>>().unwrap(),
            ["x".to_owned()]
        );
        assert!(reply("null").ok().is_err() && reply("5").read::<Vec<String>>().is_err());
    }

    #[test]
    fn a_reply_belongs_to_its_call() {
        let mut headers = TableBuf::new();
        headers.insert("ticket", "t").unwrap();
        headers.insert("clock", 7_i64).unwrap();
        headers.insert(pidbox::NODES, 3_i64).unwrap();
        let message = Message {
            body: br#"{"a@b": {"ok": "pong"}}"#.to_vec(),
            headers,
        };
        let expected = (reply(r#"{"ok": "pong"}"#), 3, 7);
        assert_eq!(read(&message, "t"), Some(expected));
        assert_eq!(read(&message, "another"), None);
    }
}
