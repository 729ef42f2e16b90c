//! Remote control: what comes to the node's mailbox, done and answered.
//!
//! Requests are read by [`crate::message::pidbox`]; `command` is what a command is, `table` has Celery's, and a program
//! adds its own. A command that does not exist and arguments that make no sense are answered with the exception that
//! Celery's handlers raise; nothing that comes here stops a worker but `shutdown`.

mod command;
mod inspect;
mod limits;
mod monitor;
mod orders;
mod pool;
mod queues;
mod revoke;
mod stats;
mod table;
mod tasks;

use std::time::{Duration, Instant};

use super::Worker;
use super::consumer::Letter;
use super::consumer::subscription::Purpose;
use super::notices::Notice;
use super::refusals::CRITICAL;
use super::settings::{Binding, Exchange, Queue};
use crate::amqp::table::TableBuf;
use crate::hub::Hub;
use crate::message::channels::{Channels, OwnQueue};
use crate::message::json::Object;
use crate::message::pidbox::{self, Arguments, Exception, Request, RequestError};
use crate::util::lamport::Lamport;

pub use command::{Argument, Command, Kind};
pub use table::COMMANDS;

/// What a command answers.
pub type Answer = Result<Reply, Exception>;

/// Carries a command out.
pub type Handler = fn(&mut Worker, &mut Hub<Worker>, &Arguments<'_>) -> Answer;

/// The answer of a command that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A value: JSON.
    Json(String),
    /// Nothing is sent back.
    Silence,
}

impl Reply {
    /// `{"ok": text}`
    pub fn ok(text: &str) -> Self {
        let mut object = Object::new();
        object.push("ok", text);
        object.into()
    }

    /// `{"error": text}`
    pub fn error(text: &str) -> Self {
        let mut object = Object::new();
        object.push("error", text);
        object.into()
    }

    /// `null`
    pub fn null() -> Self {
        Self::Json("null".to_owned())
    }
}

impl From<Object> for Reply {
    fn from(object: Object) -> Self {
        Self::Json(object.into_json())
    }
}

/// A worker's mailbox: its logical clock, which is not that of its events.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pub(super) clock: Lamport,
    greetings: Greetings,
}

/// How many greetings of other nodes are answered in a while: when many start at once nobody knows yet how many there
/// are, and all would answer all.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    since: Option<Instant>,
    answered: u32,
}

impl Greetings {
    const MOST: u32 = 16;
    const WHILE: Duration = Duration::from_secs(10);

    /// Whether one more is answered.
    fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + Self::WHILE) {
            (self.since, self.answered) = (Some(now), 0);
        }
        self.answered += 1;
        self.answered <= Self::MOST
    }
}

/// Where an answer goes.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    exchange: String,
    routing_key: String,
    ticket: Option<String>,
    /// It would like to know how many nodes there are.
    wants_nodes: bool,
}

impl Asker {
    fn of(request: &Request<'_>, letter: &Letter) -> Option<Self> {
        let reply_to = request.reply_to.as_ref()?;
        Some(Self {
            exchange: reply_to.exchange.clone().into_owned(),
            routing_key: reply_to.routing_key.clone().into_owned(),
            ticket: request.ticket.as_deref().map(str::to_owned),
            wants_nodes: letter.asks_for_nodes,
        })
    }
}

/// The mailbox of a node.
pub(super) fn mailbox(channels: &Channels, node: &str) -> Queue {
    let binding = Binding {
        exchange: control_exchange(&channels.requests(), "fanout"),
        routing_key: String::new(),
        arguments: TableBuf::new(),
    };
    own_queue(&channels.control_queue, channels.mailbox(node), binding)
}

/// The queue for replies to a client.
pub(super) fn reply_queue(channels: &Channels, client: &str) -> Queue {
    let binding = Binding {
        exchange: control_exchange(&channels.replies(), "direct"),
        routing_key: client.to_owned(),
        arguments: TableBuf::new(),
    };
    own_queue(
        &channels.control_queue,
        channels.reply_queue(client),
        binding,
    )
}

/// A queue that is this worker's own.
pub(super) fn own_queue(flags: &OwnQueue, name: String, binding: Binding) -> Queue {
    Queue {
        name,
        bindings: vec![binding],
        durable: flags.durable,
        exclusive: flags.exclusive,
        auto_delete: !flags.durable,
        declared: true,
        arguments: flags.arguments(),
        consumer_arguments: TableBuf::new(),
    }
}

fn control_exchange(name: &str, kind: &str) -> Exchange {
    Exchange {
        name: name.to_owned(),
        kind: kind.to_owned(),
        durable: false,
        auto_delete: false,
        declared: true,
        arguments: TableBuf::new(),
    }
}

impl Worker {
    /// Does what a request asks for, if this node is meant, and answers it.
    pub(super) fn obey(&mut self, letter: &Letter, hub: &mut Hub<Self>) {
        self.producer.events.clock.forward();
        self.mailbox.clock.adjust(letter.clock);
        if let Some(content_type) = &letter.content_type
            && !self.tasks.accept.allows(content_type)
        {
            log::error!("Control command error: refusing content of type {content_type}");
            return;
        }
        let request = match Request::parse(&letter.body) {
            Ok(request) => request,
            Err(RequestError::NotJson(error)) => {
                log::error!(target: CRITICAL, "Can't decode message body: {error}");
                return;
            }
            Err(error) => {
                log::error!("Control command error: {error}");
                return;
            }
        };
        if !request.is_for(&self.settings.node_name) {
            return;
        }
        log::debug!("pidbox received method {}", request.method);
        let asker = Asker::of(&request, letter);
        if self.is_of_the_app(&request) {
            return self.ask_clerk(&request, asker, hub);
        }
        let answer = self.execute(&request.method, &request.arguments, hub);
        let json = match answer {
            Ok(Reply::Json(json)) => json,
            Ok(Reply::Silence) => return,
            Err(exception) => {
                log::error!("pidbox command error: {exception}");
                exception.to_json()
            }
        };
        self.answer(asker.as_ref(), &json);
    }

    fn execute(&mut self, method: &str, arguments: &Arguments<'_>, hub: &mut Hub<Self>) -> Answer {
        let own = self.settings.commands.iter();
        let command = own
            .chain(COMMANDS)
            .find(|command| command.is_called(method));
        let command = command.cloned();
        let command = command.ok_or_else(|| Exception::new("KeyError", method))?;
        command.carry_out(self, hub, arguments)
    }

    /// How many nodes there are, this one included, as far as gossip tells.
    fn known_nodes(&self) -> Option<i64> {
        let gossip = self.consumer.subscriptions.of(Purpose::Gossip);
        (gossip.is_consuming()).then(|| 1 + self.gossip.nodes().count() as i64)
    }

    /// Answers who has asked, if anybody waits.
    pub(super) fn answer(&mut self, asker: Option<&Asker>, json: &str) {
        let Some(asker) = asker else {
            return;
        };
        let mut headers = TableBuf::new();
        let clock = i64::try_from(self.mailbox.clock.forward()).unwrap_or(i64::MAX);
        // The keys are short, and a text of any length fits a table.
        if let Some(ticket) = asker.ticket.as_deref() {
            let _ = headers.insert("ticket", ticket);
        }
        let _ = headers.insert("clock", clock);
        if asker.wants_nodes
            && let Some(nodes) = self.known_nodes()
        {
            let _ = headers.insert(pidbox::NODES, nodes);
        }
        self.producer.notify(Notice {
            exchange: asker.exchange.clone(),
            routing_key: asker.routing_key.clone(),
            delivery_mode: 1,
            mandatory: false,
            headers,
            body: pidbox::reply_body(&self.settings.node_name, json),
        });
    }
}
