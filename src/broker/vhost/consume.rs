//! Giving messages out and taking them back.

use std::time::Instant;

use super::publish::death_of;
use super::topology::count;
use super::{Cancelled, Delivery, Sink, Vhost};
use crate::amqp::reply::ReplyCode;
use crate::amqp::table::Table;
use crate::broker::channel::{Channel, Consumer, Given};
use crate::broker::death::{Reason, with_header};
use crate::broker::keys::{ChannelKey, ConsumerKey, QueueKey};
use crate::broker::message::{Entry, Parts};
use crate::broker::queue::{Queue, Turn};
use crate::broker::refusal::{Name, Refusal};
use crate::broker::settings::Rules;

/// basic.consume.
#[derive(Debug)]
pub(in crate::broker) struct Consume<'a> {
    pub(in crate::broker) queue: &'a [u8],
    /// Empty to let the server choose.
    pub(in crate::broker) tag: &'a [u8],
    pub(in crate::broker) no_ack: bool,
    pub(in crate::broker) exclusive: bool,
    pub(in crate::broker) arguments: Table<'a>,
}

/// A message that basic.get found.
#[derive(Debug)]
pub(in crate::broker) struct Fetched<'a> {
    pub(in crate::broker) delivery_tag: u64,
    pub(in crate::broker) redelivered: bool,
    /// How many are left.
    pub(in crate::broker) remaining: u32,
    pub(in crate::broker) message: Parts<'a>,
}

/// What becomes of a message that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Rejected,
    Requeued,
}

impl Vhost {
    /// basic.qos. Without `global` it is a limit for each consumer, otherwise for the channel.
    ///
    /// It takes effect at once, for consumers there are already as well: that is what kombu expects
    /// of a server that does not call itself RabbitMQ. Under the rules of RabbitMQ 4.3 it is for each
    /// consumer to come, whatever was asked for.
    pub(in crate::broker) fn qos(&mut self, key: ChannelKey, prefetch: u16, global: bool) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if self.rules == Rules::RabbitMq43 {
            channel.prefetch = prefetch;
            return;
        }
        if global {
            channel.shared_prefetch = prefetch;
        } else {
            channel.prefetch = prefetch;
            for consumer in channel.consumers.values() {
                if let Some(consumer) = self.consumers.get_mut(*consumer) {
                    consumer.prefetch = prefetch;
                }
            }
        }
        self.touch_consumed(key);
    }

    /// basic.consume. The consumer's tag.
    pub(in crate::broker) fn consume(
        &mut self,
        key: ChannelKey,
        consume: &Consume<'_>,
    ) -> Result<Box<[u8]>, Refusal> {
        let Some(channel) = self.channels.get(key) else {
            return Ok(consume.tag.into());
        };
        if channel.consumers.contains_key(consume.tag) {
            let tag = Name(consume.tag);
            let why = format_args!("attempt to reuse consumer tag '{tag}'");
            return Err(Refusal::new(ReplyCode::NotAllowed, why));
        }
        let queue_key = self.find_queue(consume.queue, channel.session)?;
        self.check_consume(queue_key, channel.shared_prefetch, consume)?;
        let tag: Box<[u8]> = if consume.tag.is_empty() {
            self.generate_name("amq.ctag-").into_bytes().into()
        } else {
            consume.tag.into()
        };
        let Some(channel) = self.channels.get_mut(key) else {
            return Ok(tag);
        };
        let consumer = self.consumers.insert(Consumer {
            channel: key,
            tag: tag.clone(),
            queue: queue_key,
            no_ack: consume.no_ack,
            prefetch: channel.prefetch,
            in_flight: 0,
        });
        channel.consumers.insert(tag.clone(), consumer);
        let priority = match consume.arguments.find("x-priority") {
            Ok(Some(value)) => value.as_i64().unwrap_or(0),
            _ => 0,
        };
        if let Some(queue) = self.queues.get_mut(queue_key) {
            queue.exclusive |= consume.exclusive;
            queue.add_consumer(Turn { consumer, priority });
        }
        self.touch(queue_key);
        Ok(tag)
    }

    fn check_consume(
        &self,
        key: QueueKey,
        shared_prefetch: u16,
        consume: &Consume<'_>,
    ) -> Result<(), Refusal> {
        let Some(queue) = self.queues.get(key) else {
            return Ok(());
        };
        let resource = self.queue_resource(&queue.name);
        if queue.options.quorum && shared_prefetch != 0 {
            let why = format_args!("{resource} does not support global qos");
            return Err(Refusal::not_implemented(why));
        }
        if queue.exclusive || consume.exclusive && !queue.consumers.is_empty() {
            return Err(Refusal::access(format_args!("{resource} in exclusive use")));
        }
        Ok(())
    }

    /// basic.cancel. A tag that nobody has is fine as it is.
    pub(in crate::broker) fn cancel(&mut self, key: ChannelKey, tag: &[u8], now: Instant) {
        let channel = self.channels.get_mut(key);
        if let Some(consumer) = channel.and_then(|channel| channel.consumers.remove(tag)) {
            self.remove_consumer(consumer, now);
        }
    }

    /// Takes a consumer out of its queue, which may be the end of the queue.
    pub(super) fn remove_consumer(&mut self, key: ConsumerKey, now: Instant) {
        let Some(consumer) = self.consumers.remove(key) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(consumer.queue) else {
            return;
        };
        queue.remove_consumer(key);
        queue.used = now;
        if !queue.consumers.is_empty() {
            self.touch(consumer.queue); // whoever is next may be the single active one now
        } else if queue.auto_delete {
            self.delete_queue_now(consumer.queue);
        } else if let Some(expires) = queue.options.expires {
            self.watch_idle(consumer.queue, now + expires);
        }
    }

    /// basic.get: hands the next message to `give`; `false` when there is none.
    pub(in crate::broker) fn fetch(
        &mut self,
        key: ChannelKey,
        name: &[u8],
        no_ack: bool,
        now: Instant,
        give: impl FnOnce(Fetched<'_>),
    ) -> Result<bool, Refusal> {
        let Some(channel) = self.channels.get_mut(key) else {
            return Ok(false);
        };
        let session = channel.session;
        let queue_key = self.find_queue(name, session)?;
        self.expire(queue_key, now);
        let Some((queue, channel)) = self
            .queues
            .get_mut(queue_key)
            .zip(self.channels.get_mut(key))
        else {
            return Ok(false);
        };
        queue.used = now;
        let Some(entry) = queue.pop() else {
            return Ok(false);
        };
        self.ready_memory -= entry.size();
        let delivery_tag = channel.next_tag();
        show(queue, &entry, |message| {
            give(Fetched {
                delivery_tag,
                redelivered: entry.returns > 0,
                remaining: count(queue.len()),
                message,
            });
        });
        if !no_ack {
            self.given_memory += entry.size();
            queue.unacknowledged += 1;
            let given = Given {
                queue: queue_key,
                consumer: None,
                entry,
            };
            channel.keep(delivery_tag, given);
        }
        self.watch_expiry(queue_key);
        Ok(true)
    }

    /// basic.ack.
    pub(in crate::broker) fn ack(
        &mut self,
        key: ChannelKey,
        tag: u64,
        multiple: bool,
    ) -> Result<(), Refusal> {
        self.settle(key, tag, multiple, Fate::Done)
    }

    /// basic.reject, basic.nack.
    pub(in crate::broker) fn reject(
        &mut self,
        key: ChannelKey,
        tag: u64,
        multiple: bool,
        requeue: bool,
    ) -> Result<(), Refusal> {
        let fate = if requeue {
            Fate::Requeued
        } else {
            Fate::Rejected
        };
        self.settle(key, tag, multiple, fate)
    }

    /// basic.recover, with requeue: everything goes back.
    pub(in crate::broker) fn requeue_all(&mut self, key: ChannelKey) {
        // Zero names all messages, so this is never refused.
        let _ = self.settle(key, 0, true, Fate::Requeued);
    }

    fn settle(
        &mut self,
        key: ChannelKey,
        tag: u64,
        multiple: bool,
        fate: Fate,
    ) -> Result<(), Refusal> {
        let Some(channel) = self.channels.get_mut(key) else {
            return Ok(());
        };
        let was_full = !channel.has_credit();
        let settled = if multiple {
            channel.settle_through(tag)
        } else if fate == Fate::Done {
            let given = channel.settle_one(tag);
            let given = given.ok_or_else(|| Refusal::unknown_tag(tag))?;
            self.release(given, fate);
            Some(Vec::new()) // the usual case costs no list
        } else {
            channel.settle_one(tag).map(|given| vec![given])
        };
        let settled = settled.ok_or_else(|| Refusal::unknown_tag(tag))?;
        if fate == Fate::Requeued {
            self.take_back(settled);
        } else {
            for given in settled {
                self.release(given, fate);
            }
        }
        if was_full {
            self.touch_consumed(key);
        }
        Ok(())
    }

    /// Puts messages back into their queues: the latest first, so that each goes to the very head. Only
    /// when all are back it shows which are too many.
    fn take_back(&mut self, settled: Vec<Given>) {
        let mut queues: Vec<QueueKey> = settled.iter().map(|given| given.queue).collect();
        queues.sort_unstable();
        queues.dedup();
        for given in settled.into_iter().rev() {
            self.release(given, Fate::Requeued);
        }
        for queue in queues {
            self.drop_overflow(queue);
        }
    }

    fn release(&mut self, given: Given, fate: Fate) {
        let Given {
            queue: key,
            consumer,
            mut entry,
        } = given;
        self.given_memory -= entry.size();
        let consumer = consumer.and_then(|consumer| self.consumers.get_mut(consumer));
        if let Some(consumer) = consumer {
            consumer.in_flight -= 1;
        }
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        queue.unacknowledged -= 1;
        match fate {
            Fate::Done => {}
            Fate::Rejected => self.give_up(key, entry, Reason::Rejected),
            Fate::Requeued => {
                entry.returns += 1;
                let rules = self.rules.delivery_limit();
                let limit = queue.options.delivery_limit.or(rules);
                if queue.options.quorum && limit.is_some_and(|limit| entry.returns > limit) {
                    self.dead
                        .extend(death_of(queue, entry.message, Reason::DeliveryLimit));
                } else {
                    self.ready_memory += entry.size();
                    queue.put_back(entry);
                }
            }
        }
        if self.queues.get(key).is_some_and(|queue| !queue.is_empty()) {
            self.touch(key);
        }
    }

    /// These channels take deliveries again.
    pub(in crate::broker) fn resume(&mut self, channels: &[ChannelKey]) {
        for key in channels {
            self.touch_consumed(*key);
        }
    }

    /// Takes every message back that is not acknowledged. How many.
    pub(in crate::broker) fn requeue_everything(&mut self) -> usize {
        let mut count = 0;
        let channels: Vec<ChannelKey> = self.channels.iter().map(|(key, _)| key).collect();
        for key in channels {
            count += self.channels.get(key).map_or(0, Channel::unacknowledged);
            self.requeue_all(key);
        }
        count
    }

    /// Cancels all consumers of a queue; `false` when there is no such queue.
    pub(in crate::broker) fn cancel_consumers(&mut self, name: &[u8], now: Instant) -> bool {
        let key = self.queue_names.get(name).copied();
        let Some(queue) = key.and_then(|key| self.queues.get(key)) else {
            return false;
        };
        for turn in queue.consumers.clone() {
            if let Some(consumer) = self.consumers.get(turn.consumer) {
                let (channel, tag) = (consumer.channel, consumer.tag.clone());
                self.cancel(channel, &tag, now);
                if let Some(channel) = self.channels.get(channel) {
                    self.cancelled.push(Cancelled {
                        session: channel.session,
                        channel: channel.number,
                        consumer_tag: tag,
                    });
                }
            }
        }
        true
    }

    /// The queue that a channel has declared last.
    pub(in crate::broker) fn last_queue(&self, key: ChannelKey) -> Option<&[u8]> {
        let last = &self.channels.get(key)?.last_queue;
        (!last.is_empty()).then_some(last)
    }

    /// Remembers the queue that a channel has declared.
    pub(in crate::broker) fn set_last_queue(&mut self, key: ChannelKey, name: &[u8]) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.last_queue = name.into();
        }
    }

    /// Remembers that all queues that a channel consumes from may have something for it.
    fn touch_consumed(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let consumers: Vec<ConsumerKey> = channel.consumers.values().copied().collect();
        for consumer in consumers {
            if let Some(queue) = self.consumers.get(consumer).map(|consumer| consumer.queue) {
                self.touch(queue);
            }
        }
    }

    /// Gives out everything that can be given out.
    pub(in crate::broker) fn dispatch(&mut self, now: Instant, sink: &mut impl Sink) {
        while !self.dirty.is_empty() || !self.dead.is_empty() {
            for key in std::mem::take(&mut self.dirty) {
                if let Some(queue) = self.queues.get_mut(key) {
                    queue.dirty = false;
                }
                self.expire(key, now);
                self.dispatch_queue(key, now, sink);
                self.watch_expiry(key);
            }
            self.bury(now, sink);
        }
    }

    /// Gives out what one queue has, while somebody takes it.
    pub(super) fn dispatch_queue(&mut self, key: QueueKey, now: Instant, sink: &mut impl Sink) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        let (consumers, channels) = (&mut self.consumers, &mut self.channels);
        while !queue.is_empty() {
            let next = queue.next_consumer(|key| {
                let Some(consumer) = consumers.get(key).filter(|consumer| consumer.has_credit())
                else {
                    return false;
                };
                let channel = channels.get(consumer.channel);
                channel
                    .is_some_and(|channel| channel.has_credit() && sink.has_room(channel.session))
            });
            let Some(consumer_key) = next else { break };
            let Some(consumer) = consumers.get_mut(consumer_key) else {
                break;
            };
            let Some(channel) = channels.get_mut(consumer.channel) else {
                break;
            };
            let Some(entry) = queue.pop() else { break };
            self.ready_memory -= entry.size();
            let delivery_tag = channel.next_tag();
            show(queue, &entry, |message| {
                sink.deliver(Delivery {
                    session: channel.session,
                    channel: channel.number,
                    consumer_tag: &consumer.tag,
                    delivery_tag,
                    redelivered: entry.returns > 0,
                    message,
                });
            });
            if !consumer.no_ack {
                self.given_memory += entry.size();
                consumer.in_flight += 1;
                queue.unacknowledged += 1;
                let given = Given {
                    queue: key,
                    consumer: Some(consumer_key),
                    entry,
                };
                channel.keep(delivery_tag, given);
            }
            while let Some(entry) = queue.pop_expired(now) {
                self.ready_memory -= entry.size();
                self.dead
                    .extend(death_of(queue, entry.message, Reason::Expired));
            }
        }
    }
}

/// Shows a message as it is given out: a quorum queue says how often it came back.
fn show(queue: &Queue, entry: &Entry, give: impl FnOnce(Parts<'_>)) {
    let parts = entry.message.parts();
    if queue.options.quorum && entry.returns > 0 {
        let returns = i64::from(entry.returns);
        if let Some(list) = with_header(parts.property_list, "x-delivery-count", returns) {
            return give(Parts {
                property_list: &list,
                ..parts
            });
        }
    }
    give(parts);
}
