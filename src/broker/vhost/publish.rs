//! The way of a message into queues: routing, limits, and the second life of the dead.

use std::time::{Duration, Instant};

use super::{Sink, Vhost};
use crate::amqp::Properties;
use crate::broker::arguments::Overflow;
use crate::broker::death::{Death, Reason, is_cycle};
use crate::broker::exchange::{Destination, Routed};
use crate::broker::keys::{ExchangeKey, QueueKey};
use crate::broker::message::{Entry, Message, Parts};
use crate::broker::queue::Queue;
use crate::broker::refusal::Refusal;

/// A message to be published, with what its properties say about its way.
#[derive(Debug)]
pub(in crate::broker) struct Publication {
    pub(in crate::broker) message: Message,
    pub(in crate::broker) priority: u8,
    /// How long it may wait.
    pub(in crate::broker) expiration: Option<Duration>,
}

/// What became of a published message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) enum Outcome {
    /// Every queue it goes to has it.
    Accepted,
    /// A queue that it goes to has no room.
    Rejected,
    /// It goes nowhere; here it is again.
    Unroutable(Message),
}

impl Publication {
    /// Reads the properties of a message whose expiration was checked.
    fn again(message: Message) -> Self {
        let properties = Properties::decode(message.parts().property_list).unwrap_or_default();
        let priority = properties.priority.unwrap_or(0);
        Self {
            message,
            priority,
            expiration: None,
        }
    }
}

impl Vhost {
    /// Checks that there is an exchange that may be published to.
    pub(in crate::broker) fn check_publish(&self, exchange: &[u8]) -> Result<(), Refusal> {
        if exchange.is_empty() {
            return Ok(());
        }
        let key = self.find_exchange(exchange)?;
        if self
            .exchanges
            .get(key)
            .is_some_and(|exchange| exchange.internal)
        {
            let resource = self.exchange_resource(exchange);
            let why = format_args!("cannot publish to internal {resource}");
            return Err(Refusal::access(why));
        }
        Ok(())
    }

    /// basic.publish, with its content.
    pub(in crate::broker) fn publish(
        &mut self,
        publication: Publication,
        now: Instant,
        sink: &mut impl Sink,
    ) -> Outcome {
        self.send(publication, now, sink, |_, _| true)
    }

    /// Sends a message to where its exchange and key say, as far as it `may_enter`.
    fn send(
        &mut self,
        publication: Publication,
        now: Instant,
        sink: &mut impl Sink,
        may_enter: impl Fn(&Queue, Parts<'_>) -> bool,
    ) -> Outcome {
        let parts = publication.message.parts();
        if !parts.exchange.is_empty() {
            return match self.find_exchange(parts.exchange) {
                Ok(exchange) => self.distribute(exchange, publication, now, sink, may_enter),
                Err(_) => Outcome::Unroutable(publication.message),
            };
        }
        let key = self.queue_names.get(parts.routing_key).copied();
        let Some((key, queue)) = key.and_then(|key| Some((key, self.queues.get(key)?))) else {
            return Outcome::Unroutable(publication.message);
        };
        if !may_enter(queue, parts) || self.enqueue(key, publication, now, sink) {
            Outcome::Accepted
        } else {
            Outcome::Rejected
        }
    }

    /// Puts a message into every queue it goes to and that `may_enter`.
    fn distribute(
        &mut self,
        exchange: ExchangeKey,
        publication: Publication,
        now: Instant,
        sink: &mut impl Sink,
        may_enter: impl Fn(&Queue, Parts<'_>) -> bool,
    ) -> Outcome {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.route(exchange, publication.message.parts(), &mut found);
        let queues = found.iter().filter_map(|destination| match destination {
            Destination::Queue(key) => Some(*key),
            Destination::Exchange(_) => None,
        });
        let mut queues = queues.peekable();
        let mut outcome = Outcome::Accepted;
        if queues.peek().is_none() {
            outcome = Outcome::Unroutable(publication.message);
        } else {
            let Publication {
                mut message,
                priority,
                expiration,
            } = publication;
            while let Some(key) = queues.next() {
                let enters = self
                    .queues
                    .get(key)
                    .is_some_and(|queue| may_enter(queue, message.parts()));
                // The last queue gets the message itself, the others a copy.
                let copy = queues.peek().map(|_| message.clone());
                if enters {
                    let publication = Publication {
                        message,
                        priority,
                        expiration,
                    };
                    if !self.enqueue(key, publication, now, sink) {
                        outcome = Outcome::Rejected;
                    }
                    let Some(copy) = copy else { break };
                    message = copy;
                }
            }
        }
        self.found = found;
        outcome
    }

    /// All queues that a message goes to, each once, through as many exchanges as it takes.
    fn route(&self, first: ExchangeKey, parts: Parts<'_>, found: &mut Vec<Destination>) {
        let routed = Routed {
            key: parts.routing_key,
            property_list: parts.property_list,
        };
        found.push(Destination::Exchange(first));
        let mut visited = Vec::new();
        let mut next = 0;
        while let Some(&destination) = found.get(next) {
            next += 1;
            let Destination::Exchange(key) = destination else {
                continue;
            };
            let Some(exchange) = self.exchanges.get(key) else {
                continue;
            };
            if visited.contains(&key) {
                continue;
            }
            visited.push(key);
            let before = found.len();
            exchange.route(routed, found);
            if found.len() == before
                && let Some(alternate) = &exchange.alternate
                && let Some(&alternate) = self.exchange_names.get(alternate)
            {
                found.push(Destination::Exchange(alternate));
            }
        }
        if found.len() > 2 {
            found.sort_unstable();
            found.dedup();
        }
    }

    /// Puts a message into one queue; `false` when it has no room.
    fn enqueue(
        &mut self,
        key: QueueKey,
        publication: Publication,
        now: Instant,
        sink: &mut impl Sink,
    ) -> bool {
        let Publication {
            message,
            priority,
            expiration,
        } = publication;
        let size = message.parts().body.len() as u64;
        let Some(queue) = self.queues.get(key) else {
            return true;
        };
        let limited = queue.is_limited();
        if limited && queue.options.overflow != Overflow::DropHead {
            if queue.dirty {
                // What is only not given out yet does not take room.
                self.dispatch_queue(key, now, sink);
            }
            let full = self
                .queues
                .get(key)
                .filter(|queue| queue.would_overflow(size));
            if let Some(queue) = full {
                if queue.options.overflow == Overflow::RejectPublishDeadLetter {
                    let death = death_of(queue, message, Reason::MaxLength);
                    self.dead.extend(death);
                }
                return false;
            }
        }
        let Some(queue) = self.queues.get_mut(key) else {
            return true;
        };
        let time_to_live = match (queue.options.message_ttl, expiration) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        // What expires at once may still go to a consumer that is ready.
        let expires = time_to_live.and_then(|time| now.checked_add(time));
        let before = queue.memory();
        queue.push(message, priority, expires);
        self.ready_memory += queue.memory() - before;
        self.touch(key);
        if limited || time_to_live == Some(Duration::ZERO) {
            self.dispatch_queue(key, now, sink);
            self.drop_overflow(key);
            self.expire(key, now);
        }
        true
    }

    /// Gives up messages at the head of a queue until there are not too many, if that is how the
    /// queue makes room.
    pub(super) fn drop_overflow(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        while queue.options.overflow == Overflow::DropHead && queue.is_overflowing() {
            let Some(entry) = queue.pop() else { break };
            self.ready_memory -= entry.size();
            self.dead
                .extend(death_of(queue, entry.message, Reason::MaxLength));
        }
    }

    /// Sends what queues have given up on its way.
    pub(super) fn bury(&mut self, now: Instant, sink: &mut impl Sink) {
        for death in std::mem::take(&mut self.dead) {
            let wall = self.epoch.1 + now.saturating_duration_since(self.epoch.0);
            let publication = Publication::again(death.message(wall));
            self.send(publication, now, sink, |queue, parts| {
                !is_cycle(parts.property_list, &queue.name)
            });
        }
    }

    /// Settles a message that is no queue's any more.
    pub(super) fn give_up(&mut self, key: QueueKey, entry: Entry, reason: Reason) {
        if let Some(queue) = self.queues.get(key) {
            self.dead.extend(death_of(queue, entry.message, reason));
        }
    }
}

/// Where a message goes that a queue gives up; nothing when it just goes.
pub(super) fn death_of(queue: &Queue, message: Message, reason: Reason) -> Option<Death> {
    let dead_letter = queue.options.dead_letter.as_ref()?;
    Some(Death {
        message,
        queue: queue.name.clone(),
        reason,
        exchange: dead_letter.exchange.clone(),
        routing_key: dead_letter.routing_key.clone(),
    })
}
