//! Remote control from the outside: a request to all nodes or some of them, and their replies.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::client::{Client, ClientError, Message};
use crate::amqp::Properties;
use crate::amqp::connection::CommandError;
use crate::amqp::table::TableBuf;
use crate::link::BrokerUrl;
use crate::message::json::Raw;
use crate::message::pidbox::{self, Call};
use crate::message::signature;
use crate::sys::clock;

/// How long is waited for nodes that nobody has named, once all that are known of have answered.
const GRACE: Duration = Duration::from_millis(50);

/// Sends commands to nodes.
pub(crate) struct Control {
    client: Client,
    /// The routing key of our reply queue.
    id: String,
    /// Nodes that are meant; all by default.
    destination: Option<Vec<String>>,
    /// How long is waited for the next reply.
    timeout: Duration,
}

/// What a node has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeReply {
    /// The node's name.
    pub(crate) node: String,
    /// Its answer: JSON.
    pub(crate) answer: String,
}

impl Control {
    /// Connects, and opens a queue for replies, which goes with the connection.
    pub(crate) fn connect(
        urls: &[BrokerUrl],
        destination: Option<Vec<String>>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let mut client = Client::connect(urls)?;
        let id = signature::new_id();
        client.declare_exchange(pidbox::REQUESTS, "fanout", false)?;
        client.declare_exchange(pidbox::REPLIES, "direct", false)?;
        let (ttl, expires) = (pidbox::MESSAGE_TTL, pidbox::QUEUE_EXPIRES);
        client.consume_own(
            &pidbox::reply_queue(&id),
            pidbox::REPLIES,
            &id,
            ttl,
            expires,
        )?;
        Ok(Self {
            client,
            id,
            destination,
            timeout,
        })
    }

    /// Sends a command with these arguments, a JSON object, and gives each reply to `heard` as it comes.
    ///
    /// It ends when all nodes have answered that are meant by name, or that the nodes themselves know of; otherwise
    /// when none answers for as long as the timeout.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        arguments: &str,
        mut heard: impl FnMut(&NodeReply),
    ) -> Result<Vec<NodeReply>, ClientError> {
        self.send(method, arguments)?;
        let named = self.destination.as_ref().map(|nodes| {
            let nodes: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
            nodes.len()
        });
        let mut replies: Vec<NodeReply> = Vec::new();
        let mut known = 0;
        let mut deadline = clock::now() + self.timeout;
        loop {
            let complete = named.unwrap_or(known);
            if named.is_some() && replies.len() >= complete {
                return Ok(replies);
            }
            let message = match self.client.receive(Some(deadline), read) {
                Ok(message) => message,
                Err(ClientError::TimedOut) => return Ok(replies),
                Err(error) => return Err(error),
            };
            let (reply, nodes) = message;
            heard(&reply);
            replies.push(reply);
            known = known.max(nodes);
            deadline = self.next_deadline(known > 0 && replies.len() >= known);
        }
    }

    fn next_deadline(&self, complete: bool) -> Instant {
        let wait = match complete {
            true => GRACE.min(self.timeout),
            false => self.timeout,
        };
        clock::now() + wait
    }

    fn send(&mut self, method: &str, arguments: &str) -> Result<(), ClientError> {
        let ticket = signature::new_id();
        let call = Call {
            method,
            arguments,
            destination: self.destination.as_deref(),
            reply: Some((&ticket, &self.id)),
        };
        let since = clock::wall().duration_since(std::time::UNIX_EPOCH);
        let expires = since.unwrap_or_default() + self.timeout;
        let mut headers = TableBuf::new();
        headers
            .insert("clock", 1_i64)
            .and_then(|()| headers.insert("expires", expires.as_secs_f64()))
            .map_err(CommandError::from)?;
        let properties = Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            headers: Some(headers.as_table()),
            delivery_mode: Some(2),
            priority: Some(0),
            ..Properties::default()
        };
        self.client
            .publish_to(pidbox::REQUESTS, "", &properties, &call.body())
    }

    /// Says goodbye.
    pub(crate) fn close(self) {
        self.client.close();
    }
}

/// Reads `{node: answer}`, and how many nodes the sender knows of.
fn read(message: &Message) -> Option<(NodeReply, usize)> {
    let text = std::str::from_utf8(&message.body).ok()?;
    let (node, answer) = Raw::parse(text).ok()?.members().next()?;
    let nodes = message
        .headers
        .as_table()
        .find(pidbox::NODES)
        .ok()
        .flatten();
    let nodes = nodes.and_then(|nodes| nodes.as_i64());
    let reply = NodeReply {
        node: node.as_str()?.into_owned(),
        answer: answer.text().to_owned(),
    };
    Some((
        reply,
        nodes
            .and_then(|nodes| usize::try_from(nodes).ok())
            .unwrap_or(0),
    ))
}
