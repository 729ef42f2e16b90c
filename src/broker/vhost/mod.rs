//! A virtual host: exchanges, queues, and the channels that use them. Pure: it is told the time,
//! and gives deliveries to a [`Sink`].
//!
//! In files: [`topology`](self::topology) declares, binds and deletes; [`publish`](self::publish)
//! routes messages into queues; [`consume`](self::consume) gives them out and takes them back;
//! [`time`](self::time) is expiry.

mod consume;
mod laws;
mod publish;
mod time;
mod topology;

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use self::time::Due;
use super::channel::{Channel, Consumer};
use super::death::Death;
use super::exchange::{Destination, Exchange, Kind};
use super::keys::{ChannelKey, ConsumerKey, ExchangeKey, QueueKey, SessionKey, TypedSlots};
use super::message::Parts;
use super::overview::QueueOverview;
use super::queue::Queue;
use super::refusal::{Refusal, Resource};
use super::settings::Rules;
use crate::hub::Timer;
use crate::util::random::Random;

pub(super) use self::consume::Consume;
pub(super) use self::publish::{Outcome, Publication};
pub(super) use self::topology::{DeclareExchange, DeclareQueue, QueueState, Target};

/// Where deliveries go.
pub(super) trait Sink {
    /// Whether a session takes another delivery now. One that does not will say when it does, with
    /// [`Vhost::resume`].
    fn has_room(&mut self, session: SessionKey) -> bool;

    /// A message for a consumer.
    fn deliver(&mut self, delivery: Delivery<'_>);
}

/// A message on its way to a consumer.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    pub(super) session: SessionKey,
    /// The channel's number in the session.
    pub(super) channel: u16,
    pub(super) consumer_tag: &'a [u8],
    pub(super) delivery_tag: u64,
    pub(super) redelivered: bool,
    pub(super) message: Parts<'a>,
}

/// A consumer whose queue was deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cancelled {
    pub(super) session: SessionKey,
    /// The channel's number in the session.
    pub(super) channel: u16,
    pub(super) consumer_tag: Box<[u8]>,
}

/// A virtual host.
#[derive(Debug)]
pub(super) struct Vhost {
    name: Box<str>,
    rules: Rules,
    exchanges: TypedSlots<ExchangeKey, Exchange>,
    exchange_names: HashMap<Box<[u8]>, ExchangeKey>,
    queues: TypedSlots<QueueKey, Queue>,
    queue_names: HashMap<Box<[u8]>, QueueKey>,
    channels: TypedSlots<ChannelKey, Channel>,
    consumers: TypedSlots<ConsumerKey, Consumer>,
    /// The exclusive queues of each session.
    owned: HashMap<SessionKey, Vec<QueueKey>>,
    timers: Timer<Due>,
    /// Queues that may have something to give out.
    dirty: Vec<QueueKey>,
    /// Messages that queues have given up, not yet dead-lettered.
    dead: Vec<Death>,
    /// Consumers that must be told.
    cancelled: Vec<Cancelled>,
    /// Octets of memory that unacknowledged messages take.
    given_memory: usize,
    /// Octets of memory that messages in queues take.
    ready_memory: usize,
    random: Random,
    /// What the clocks said when the host was made.
    epoch: (Instant, SystemTime),
    /// Room for routing, used again and again.
    found: Vec<Destination>,
}

impl Vhost {
    /// A virtual host with the predeclared exchanges. `seed` makes the names it gives to queues.
    pub(super) fn new(name: &str, rules: Rules, seed: u64, now: Instant, wall: SystemTime) -> Self {
        let mut vhost = Self {
            name: name.into(),
            rules,
            exchanges: TypedSlots::new(),
            exchange_names: HashMap::new(),
            queues: TypedSlots::new(),
            queue_names: HashMap::new(),
            channels: TypedSlots::new(),
            consumers: TypedSlots::new(),
            owned: HashMap::new(),
            timers: Timer::new(now),
            dirty: Vec::new(),
            dead: Vec::new(),
            cancelled: Vec::new(),
            given_memory: 0,
            ready_memory: 0,
            random: Random::new(seed),
            epoch: (now, wall),
            found: Vec::new(),
        };
        let predeclared = [
            ("amq.direct", Kind::Direct),
            ("amq.fanout", Kind::Fanout),
            ("amq.headers", Kind::Headers),
            ("amq.match", Kind::Headers),
            ("amq.topic", Kind::Topic),
        ];
        for (name, kind) in predeclared {
            vhost.insert_exchange(Exchange::new(name.as_bytes(), kind));
        }
        let mut trace = Exchange::new(b"amq.rabbitmq.trace", Kind::Topic);
        trace.internal = true;
        vhost.insert_exchange(trace);
        vhost
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Octets of memory that messages take.
    pub(super) const fn memory(&self) -> usize {
        self.ready_memory + self.given_memory
    }

    /// Consumers that must be told that they are none any more.
    pub(super) fn take_cancelled(&mut self) -> Vec<Cancelled> {
        std::mem::take(&mut self.cancelled)
    }

    /// Whether anybody must be told.
    pub(super) const fn has_cancelled(&self) -> bool {
        !self.cancelled.is_empty()
    }

    /// A channel of a session.
    pub(super) fn open_channel(&mut self, session: SessionKey, number: u16) -> ChannelKey {
        self.channels.insert(Channel::new(session, number))
    }

    /// The end of a channel: its consumers go, what it had not acknowledged goes back.
    pub(super) fn close_channel(&mut self, key: ChannelKey, now: Instant) {
        self.requeue_all(key);
        let Some(channel) = self.channels.remove(key) else {
            return;
        };
        for consumer in channel.consumers.into_values() {
            self.remove_consumer(consumer, now);
        }
    }

    /// The end of a session, after its channels: its exclusive queues go.
    pub(super) fn end_session(&mut self, session: SessionKey) {
        for queue in self.owned.remove(&session).unwrap_or_default() {
            self.delete_queue_now(queue);
        }
    }

    /// What there is to see of each queue, by name.
    pub(super) fn overview(&self) -> Vec<QueueOverview> {
        let mut queues: Vec<QueueOverview> = self
            .queues
            .iter()
            .map(|(_, queue)| QueueOverview {
                vhost: self.name.to_string(),
                name: String::from_utf8_lossy(&queue.name).into_owned(),
                ready: queue.len(),
                unacknowledged: queue.unacknowledged,
                consumers: queue.consumers.len(),
                memory: queue.memory(),
            })
            .collect();
        queues.sort_by(|one, other| one.name.cmp(&other.name));
        queues
    }

    fn queue_resource<'a>(&'a self, name: &'a [u8]) -> Resource<'a> {
        Resource {
            kind: "queue",
            name,
            vhost: &self.name,
        }
    }

    fn exchange_resource<'a>(&'a self, name: &'a [u8]) -> Resource<'a> {
        Resource {
            kind: "exchange",
            name,
            vhost: &self.name,
        }
    }

    /// The queue of this name, if `session` may use it.
    fn find_queue(&self, name: &[u8], session: SessionKey) -> Result<QueueKey, Refusal> {
        let Some(&key) = self.queue_names.get(name) else {
            return Err(Refusal::missing(self.queue_resource(name)));
        };
        match self.queues.get(key).and_then(|queue| queue.owner) {
            Some(owner) if owner != session => Err(Refusal::locked(self.queue_resource(name))),
            _ => Ok(key),
        }
    }

    fn find_exchange(&self, name: &[u8]) -> Result<ExchangeKey, Refusal> {
        let found = self.exchange_names.get(name).copied();
        found.ok_or_else(|| Refusal::missing(self.exchange_resource(name)))
    }

    fn insert_exchange(&mut self, exchange: Exchange) -> ExchangeKey {
        let name = exchange.name.clone();
        let key = self.exchanges.insert(exchange);
        self.exchange_names.insert(name, key);
        key
    }

    /// Remembers that a queue may have something to give out.
    fn touch(&mut self, key: QueueKey) {
        if let Some(queue) = self.queues.get_mut(key)
            && !queue.dirty
        {
            queue.dirty = true;
            self.dirty.push(key);
        }
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
