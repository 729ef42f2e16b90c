//! Declaring, binding and deleting exchanges and queues.

use std::time::Instant;

use super::Vhost;
use crate::amqp::reply::ReplyCode;
use crate::amqp::table::Table;
use crate::broker::arguments::{QueueOptions, check_equivalent};
use crate::broker::exchange::{Binding, Bound, Destination, Exchange, Kind};
use crate::broker::keys::{ExchangeKey, QueueKey, SessionKey};
use crate::broker::queue::{Declaration, Queue};
use crate::broker::refusal::{Name, Refusal};
use crate::broker::settings::Rules;
use crate::broker::vhost::Cancelled;

/// exchange.declare, without its passive form.
#[derive(Debug)]
pub(in crate::broker) struct DeclareExchange<'a> {
    pub(in crate::broker) name: &'a [u8],
    pub(in crate::broker) kind: &'a [u8],
    pub(in crate::broker) durable: bool,
    pub(in crate::broker) auto_delete: bool,
    pub(in crate::broker) internal: bool,
    pub(in crate::broker) arguments: Table<'a>,
}

/// The destination of a binding, as a client names it.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) enum Target<'a> {
    Exchange(&'a [u8]),
    /// And who wants it bound.
    Queue(&'a [u8], SessionKey),
}

impl Target<'_> {
    /// The default exchange has the bindings it has.
    fn check(self, source: &[u8]) -> Result<(), Refusal> {
        if source.is_empty() || matches!(self, Self::Exchange(b"")) {
            return Err(Refusal::default_exchange());
        }
        Ok(())
    }
}

/// queue.declare, without its passive form.
#[derive(Debug)]
pub(in crate::broker) struct DeclareQueue<'a> {
    /// Empty to let the server choose.
    pub(in crate::broker) name: &'a [u8],
    pub(in crate::broker) durable: bool,
    pub(in crate::broker) exclusive: bool,
    pub(in crate::broker) auto_delete: bool,
    pub(in crate::broker) arguments: Table<'a>,
}

/// What declare-ok says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) struct QueueState {
    pub(in crate::broker) name: Box<[u8]>,
    pub(in crate::broker) messages: u32,
    pub(in crate::broker) consumers: u32,
}

impl Vhost {
    /// exchange.declare.
    pub(in crate::broker) fn declare_exchange(
        &mut self,
        declare: &DeclareExchange<'_>,
    ) -> Result<(), Refusal> {
        let name = declare.name;
        let Some(kind) = Kind::from_name(declare.kind) else {
            let why = format_args!("unknown exchange type '{}'", Name(declare.kind));
            return Err(Refusal::new(ReplyCode::CommandInvalid, why));
        };
        if name.is_empty() {
            return Err(Refusal::default_exchange());
        }
        if let Some(exchange) = self
            .exchange_names
            .get(name)
            .and_then(|key| self.exchanges.get(*key))
        {
            return self.check_same_exchange(exchange, kind, declare);
        }
        check_not_reserved("exchange", name)?;
        let alternate = match declare.arguments.find("alternate-exchange") {
            Ok(Some(crate::amqp::Value::LongStr(alternate))) => Some(alternate.into()),
            _ => None,
        };
        let mut exchange = Exchange::new(name, kind);
        exchange.durable = declare.durable;
        exchange.auto_delete = declare.auto_delete;
        exchange.internal = declare.internal;
        exchange.alternate = alternate;
        self.insert_exchange(exchange);
        Ok(())
    }

    fn check_same_exchange(
        &self,
        exchange: &Exchange,
        kind: Kind,
        declare: &DeclareExchange<'_>,
    ) -> Result<(), Refusal> {
        let resource = self.exchange_resource(declare.name);
        if exchange.kind != kind {
            let (received, current) = (quoted(kind), quoted(exchange.kind));
            return Err(Refusal::inequivalent("type", resource, received, current));
        }
        let flags = [
            ("durable", declare.durable, exchange.durable),
            ("auto_delete", declare.auto_delete, exchange.auto_delete),
            ("internal", declare.internal, exchange.internal),
        ];
        for (flag, received, current) in flags {
            if received != current {
                let (received, current) = (quoted(received), quoted(current));
                return Err(Refusal::inequivalent(flag, resource, received, current));
            }
        }
        Ok(())
    }

    /// exchange.declare, passive.
    pub(in crate::broker) fn check_exchange(&self, name: &[u8]) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::default_exchange());
        }
        self.find_exchange(name).map(drop)
    }

    /// exchange.delete.
    pub(in crate::broker) fn delete_exchange(
        &mut self,
        name: &[u8],
        if_unused: bool,
    ) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::default_exchange());
        }
        if name.starts_with(b"amq.") {
            let resource = self.exchange_resource(name);
            let why = format_args!("deletion of system {resource} not allowed");
            return Err(Refusal::access(why));
        }
        let Ok(key) = self.find_exchange(name) else {
            return Ok(());
        };
        let in_use = self.exchanges.get(key).is_some_and(Exchange::is_bound);
        if if_unused && in_use {
            let resource = self.exchange_resource(name);
            return Err(Refusal::precondition(format_args!("{resource} in use")));
        }
        self.delete_exchange_now(key);
        Ok(())
    }

    fn delete_exchange_now(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.remove(key) else {
            return;
        };
        self.exchange_names.remove(&exchange.name);
        for binding in exchange.bindings() {
            if let Some(bound) = self.bound_to(binding.destination) {
                bound.retain(|bound| bound.source != key);
            }
        }
        self.unbind_all(Destination::Exchange(key), exchange.bound);
    }

    /// queue.bind, exchange.bind.
    pub(in crate::broker) fn bind(
        &mut self,
        target: Target<'_>,
        source: &[u8],
        key: &[u8],
        arguments: Table<'_>,
    ) -> Result<(), Refusal> {
        target.check(source)?;
        let exchange = self.find_exchange(source)?;
        let destination = self.find_target(target)?;
        let binding = Binding {
            destination,
            key: key.into(),
            arguments: arguments.as_bytes().into(),
        };
        let bound = Bound {
            source: exchange,
            key: binding.key.clone(),
            arguments: binding.arguments.clone(),
        };
        let source = self.exchanges.get_mut(exchange);
        let is_new = source.is_some_and(|source| source.bind(binding));
        if is_new && let Some(list) = self.bound_to(destination) {
            list.push(bound);
        }
        Ok(())
    }

    /// queue.unbind, exchange.unbind. What is not bound is fine as it is.
    pub(in crate::broker) fn unbind(
        &mut self,
        target: Target<'_>,
        source: &[u8],
        key: &[u8],
        arguments: Table<'_>,
    ) -> Result<(), Refusal> {
        target.check(source)?;
        let Ok(exchange) = self.find_exchange(source) else {
            return Ok(());
        };
        let destination = match self.find_target(target) {
            Ok(destination) => destination,
            Err(refusal) if refusal.code == ReplyCode::NotFound => return Ok(()),
            Err(refusal) => return Err(refusal),
        };
        let bound = Bound {
            source: exchange,
            key: key.into(),
            arguments: arguments.as_bytes().into(),
        };
        if let Some(list) = self.bound_to(destination) {
            list.retain(|other| *other != bound);
        }
        self.unbind_all(destination, vec![bound]);
        Ok(())
    }

    fn find_target(&self, target: Target<'_>) -> Result<Destination, Refusal> {
        match target {
            Target::Exchange(name) => self.find_exchange(name).map(Destination::Exchange),
            Target::Queue(name, session) => self.find_queue(name, session).map(Destination::Queue),
        }
    }

    /// The bindings that lead to a destination.
    fn bound_to(&mut self, destination: Destination) -> Option<&mut Vec<Bound>> {
        match destination {
            Destination::Queue(key) => self.queues.get_mut(key).map(|queue| &mut queue.bound),
            Destination::Exchange(key) => {
                let exchange = self.exchanges.get_mut(key);
                exchange.map(|exchange| &mut exchange.bound)
            }
        }
    }

    /// Takes bindings out of their sources. One that was the last of an auto-delete exchange takes
    /// that with it.
    fn unbind_all(&mut self, destination: Destination, bound: Vec<Bound>) {
        for bound in bound {
            let Some(source) = self.exchanges.get_mut(bound.source) else {
                continue;
            };
            let binding = Binding {
                destination,
                key: bound.key,
                arguments: bound.arguments,
            };
            if source.unbind(&binding) && source.auto_delete && !source.is_bound() {
                self.delete_exchange_now(bound.source);
            }
        }
    }

    /// queue.declare. Creates a queue, or checks that it is as described.
    pub(in crate::broker) fn declare_queue(
        &mut self,
        declare: &DeclareQueue<'_>,
        session: SessionKey,
        now: Instant,
    ) -> Result<QueueState, Refusal> {
        let generated;
        let name = if declare.name.is_empty() {
            generated = self.generate_name("amq.gen-");
            generated.as_bytes()
        } else {
            check_not_reserved("queue", declare.name)?;
            declare.name
        };
        let owner = declare.exclusive.then_some(session);
        let declaration = Declaration {
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            owner,
            arguments: declare.arguments.as_bytes(),
        };
        if let Some(&key) = self.queue_names.get(name) {
            self.check_same_queue(key, &declaration)?;
            return Ok(self.queue_state(key, now));
        }
        let key = self.create_queue(name, &declaration, now)?;
        Ok(self.queue_state(key, now))
    }

    fn create_queue(
        &mut self,
        name: &[u8],
        declaration: &Declaration<'_>,
        now: Instant,
    ) -> Result<QueueKey, Refusal> {
        let resource = self.queue_resource(name);
        let options = QueueOptions::read(Table::from_bytes(declaration.arguments), resource)?;
        if options.quorum {
            let invalid = |property: &str| {
                Refusal::precondition(format_args!("invalid property '{property}' for {resource}"))
            };
            if !declaration.durable {
                return Err(invalid("non-durable"));
            }
            if declaration.owner.is_some() {
                return Err(invalid("exclusive-owner"));
            }
            if declaration.auto_delete {
                return Err(invalid("auto-delete"));
            }
        }
        let transient = !declaration.durable && declaration.owner.is_none();
        if transient && self.rules == Rules::RabbitMq43 {
            return Err(Refusal::new(
                ReplyCode::InternalError,
                "Feature `transient_nonexcl_queues` is deprecated. Its use is not permitted per the \
                 configuration (overriding the default, which is permitted)",
            ));
        }
        let queue = Queue::new(name, declaration, options, now);
        let owner = queue.owner;
        let expires = queue.options.expires;
        let key = self.queues.insert(queue);
        self.queue_names.insert(name.into(), key);
        if let Some(owner) = owner {
            self.owned.entry(owner).or_default().push(key);
        }
        if let Some(expires) = expires {
            self.watch_idle(key, now + expires);
        }
        Ok(key)
    }

    fn check_same_queue(
        &self,
        key: QueueKey,
        declaration: &Declaration<'_>,
    ) -> Result<(), Refusal> {
        let Some(queue) = self.queues.get(key) else {
            return Ok(());
        };
        let resource = self.queue_resource(&queue.name);
        if queue.owner != declaration.owner {
            return Err(Refusal::locked(resource));
        }
        let flags = [
            ("durable", declaration.durable, queue.durable),
            ("auto_delete", declaration.auto_delete, queue.auto_delete),
        ];
        for (flag, received, current) in flags {
            if received != current {
                let (received, current) = (quoted(received), quoted(current));
                return Err(Refusal::inequivalent(flag, resource, received, current));
            }
        }
        let (current, received) = (&queue.arguments, declaration.arguments);
        check_equivalent(
            Table::from_bytes(current),
            Table::from_bytes(received),
            resource,
        )
    }

    /// queue.declare, passive.
    pub(in crate::broker) fn check_queue(
        &mut self,
        name: &[u8],
        session: SessionKey,
        now: Instant,
    ) -> Result<QueueState, Refusal> {
        let key = self.find_queue(name, session)?;
        Ok(self.queue_state(key, now))
    }

    fn queue_state(&mut self, key: QueueKey, now: Instant) -> QueueState {
        self.expire(key, now);
        let Some(queue) = self.queues.get_mut(key) else {
            unreachable!("only called with the key of a queue that was just found");
        };
        queue.used = now;
        QueueState {
            name: queue.name.clone(),
            messages: count(queue.len()),
            consumers: count(queue.consumers.len()),
        }
    }

    /// queue.purge. How many messages went.
    pub(in crate::broker) fn purge_queue(
        &mut self,
        name: &[u8],
        session: SessionKey,
    ) -> Result<u32, Refusal> {
        let key = self.find_queue(name, session)?;
        let Some(queue) = self.queues.get_mut(key) else {
            return Ok(0);
        };
        self.ready_memory -= queue.memory();
        Ok(count(queue.purge()))
    }

    /// queue.delete. How many messages went with it; one that is not there is fine as well.
    pub(in crate::broker) fn delete_queue(
        &mut self,
        name: &[u8],
        session: SessionKey,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u32, Refusal> {
        if !self.queue_names.contains_key(name) {
            return Ok(0);
        }
        let key = self.find_queue(name, session)?;
        let Some(queue) = self.queues.get(key) else {
            return Ok(0);
        };
        let resource = self.queue_resource(name);
        if if_unused && !queue.consumers.is_empty() {
            return Err(Refusal::precondition(format_args!("{resource} in use")));
        }
        if if_empty && !queue.is_empty() {
            return Err(Refusal::precondition(format_args!("{resource} not empty")));
        }
        let messages = count(queue.len());
        self.delete_queue_now(key);
        Ok(messages)
    }

    /// Deletes a queue; its consumers will be told.
    pub(super) fn delete_queue_now(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.remove(key) else {
            return;
        };
        self.queue_names.remove(&queue.name);
        self.ready_memory -= queue.memory();
        if let Some((_, timer)) = queue.expiry {
            self.timers.cancel(timer);
        }
        for turn in &queue.consumers {
            let Some(consumer) = self.consumers.remove(turn.consumer) else {
                continue;
            };
            let Some(channel) = self.channels.get_mut(consumer.channel) else {
                continue;
            };
            channel.consumers.remove(&consumer.tag);
            self.cancelled.push(Cancelled {
                session: channel.session,
                channel: channel.number,
                consumer_tag: consumer.tag,
            });
        }
        if let Some(owned) = queue.owner.and_then(|owner| self.owned.get_mut(&owner)) {
            owned.retain(|other| *other != key);
        }
        self.unbind_all(Destination::Queue(key), queue.bound);
    }

    /// A name nobody else has: the prefix and 22 characters, as RabbitMQ makes them.
    pub(super) fn generate_name(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut name = prefix.to_owned();
        for _ in 0..22 {
            let letter = ALPHABET[self.random.below(64) as usize % 64];
            name.push(char::from(letter));
        }
        name
    }
}

fn check_not_reserved(kind: &str, name: &[u8]) -> Result<(), Refusal> {
    if name.starts_with(b"amq.") {
        let name = Name(name);
        let why = format_args!("{kind} name '{name}' contains reserved prefix 'amq.*'");
        return Err(Refusal::access(why));
    }
    Ok(())
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("'{value}'")
}

/// A number of messages or consumers, as far as 32 bits reach.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
