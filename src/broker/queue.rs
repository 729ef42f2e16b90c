//! A queue: its messages in order, its consumers in turn.
//!
//! Messages wait in levels, one a priority; within a level they are sorted by sequence number, which
//! is what puts a message that comes back in front of those that were published after it.

use std::collections::VecDeque;
use std::time::Instant;

use super::arguments::QueueOptions;
use super::exchange::Bound;
use super::keys::{ConsumerKey, SessionKey};
use super::message::{Entry, Message};
use crate::hub::TimerKey;

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Box<[u8]>,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    /// The connection that it belongs to and ends with.
    pub(super) owner: Option<SessionKey>,
    /// As they were declared, to compare with.
    pub(super) arguments: Box<[u8]>,
    pub(super) options: QueueOptions,
    /// By falling priority of consumers; among equals, whoever waited longest comes first.
    pub(super) consumers: Vec<Turn>,
    /// Its only consumer wants to stay that.
    pub(super) exclusive: bool,
    /// Bindings that lead here.
    pub(super) bound: Vec<Bound>,
    /// When somebody last declared it, got from it, or stopped consuming.
    pub(super) used: Instant,
    /// Messages that were given out and not acknowledged.
    pub(super) unacknowledged: usize,
    /// Whether it waits for its messages to be given out.
    pub(super) dirty: bool,
    /// The timer for the next message that expires, and when that is.
    pub(super) expiry: Option<(Instant, TimerKey)>,
    /// The timer that looks whether it is still used.
    pub(super) idle: Option<TimerKey>,
    ready: Ready,
}

/// A consumer's place in the order of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) consumer: ConsumerKey,
    pub(super) priority: i64,
}

/// What a queue is to be, when it is declared.
#[derive(Debug)]
pub(super) struct Declaration<'a> {
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) owner: Option<SessionKey>,
    pub(super) arguments: &'a [u8],
}

impl Queue {
    pub(super) fn new(
        name: &[u8],
        declaration: &Declaration<'_>,
        options: QueueOptions,
        now: Instant,
    ) -> Self {
        Self {
            name: name.into(),
            durable: declaration.durable,
            auto_delete: declaration.auto_delete,
            owner: declaration.owner,
            arguments: declaration.arguments.into(),
            ready: Ready::new(options.max_priority),
            options,
            consumers: Vec::new(),
            exclusive: false,
            bound: Vec::new(),
            used: now,
            unacknowledged: 0,
            dirty: false,
            expiry: None,
            idle: None,
        }
    }

    /// How many messages are ready.
    pub(super) const fn len(&self) -> usize {
        self.ready.count
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.ready.count == 0
    }

    /// Octets of the bodies that are ready: what `x-max-length-bytes` counts.
    pub(super) const fn body_bytes(&self) -> u64 {
        self.ready.body_bytes
    }

    /// Octets of memory that the messages that are ready take.
    pub(super) const fn memory(&self) -> usize {
        self.ready.memory
    }

    /// Appends a message. `priority` is what its publisher asked for.
    pub(super) fn push(&mut self, message: Message, priority: u8, expires: Option<Instant>) {
        let entry = Entry {
            message,
            expires,
            sequence: self.ready.next_sequence(),
            returns: 0,
            priority: priority.min(self.options.max_priority),
        };
        self.ready.insert(entry);
    }

    /// Puts a message back where it was.
    pub(super) fn put_back(&mut self, entry: Entry) {
        self.ready.insert(entry);
    }

    /// Takes the message whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.ready.pop()
    }

    /// Takes a message that has expired, if one stands at the head of its level: what is behind a
    /// message that may live longer waits, as in RabbitMQ.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Entry> {
        if self.ready.expiring == 0 {
            return None;
        }
        self.ready.pop_expired(now)
    }

    /// When the next message expires that would be found then.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        if self.ready.expiring == 0 {
            return None;
        }
        let heads = self.ready.levels.iter().filter_map(VecDeque::front);
        heads.filter_map(|entry| entry.expires).min()
    }

    /// # Panics
    /// When a level is out of order, or a counter is wrong.
    pub(super) fn check_order(&self) {
        let levels = &self.ready.levels;
        for level in levels {
            assert!(
                level.iter().is_sorted_by_key(|entry| entry.sequence),
                "order"
            );
        }
        let count: usize = levels.iter().map(VecDeque::len).sum();
        let entries = levels.iter().flatten();
        let expiring = entries.filter(|entry| entry.expires.is_some()).count();
        assert_eq!(
            (self.ready.count, self.ready.expiring),
            (count, expiring),
            "counters"
        );
    }

    /// Removes all messages that are ready.
    pub(super) fn purge(&mut self) -> usize {
        let count = self.ready.count;
        self.ready.clear();
        count
    }

    /// Whether one more message with a body of `size` octets would be too many.
    pub(super) fn would_overflow(&self, size: u64) -> bool {
        let options = &self.options;
        let too_many = |limit| self.len() as u64 + 1 > limit;
        let too_large = |limit| self.body_bytes() + size > limit;
        options.max_length.is_some_and(too_many) || options.max_length_bytes.is_some_and(too_large)
    }

    /// Whether there are too many messages.
    pub(super) fn is_overflowing(&self) -> bool {
        let options = &self.options;
        let too_many = |limit| self.len() as u64 > limit;
        let too_large = |limit| self.body_bytes() > limit;
        options.max_length.is_some_and(too_many) || options.max_length_bytes.is_some_and(too_large)
    }

    /// Whether the number of messages matters to those that come.
    pub(super) const fn is_limited(&self) -> bool {
        self.options.max_length.is_some() || self.options.max_length_bytes.is_some()
    }

    /// Adds a consumer behind the others of its priority.
    pub(super) fn add_consumer(&mut self, turn: Turn) {
        let place = self
            .consumers
            .partition_point(|other| other.priority >= turn.priority);
        self.consumers.insert(place, turn);
    }

    /// Whether it was a consumer.
    pub(super) fn remove_consumer(&mut self, consumer: ConsumerKey) -> bool {
        let before = self.consumers.len();
        self.consumers.retain(|turn| turn.consumer != consumer);
        self.exclusive &= self.consumers.len() == before;
        self.consumers.len() != before
    }

    /// The first consumer, in turn, that can take a message; the next one comes first next time.
    pub(super) fn next_consumer(
        &mut self,
        mut can_take: impl FnMut(ConsumerKey) -> bool,
    ) -> Option<ConsumerKey> {
        if self.options.single_active_consumer {
            let first = self.consumers.first()?.consumer;
            return can_take(first).then_some(first);
        }
        let place = self
            .consumers
            .iter()
            .position(|turn| can_take(turn.consumer))?;
        let turn = *self.consumers.get(place)?;
        let end = self
            .consumers
            .partition_point(|other| other.priority >= turn.priority);
        if let Some(equals) = self.consumers.get_mut(place..end) {
            equals.rotate_left(1);
        }
        Some(turn.consumer)
    }
}

/// Messages that are ready, in levels.
#[derive(Debug)]
struct Ready {
    /// By priority; each sorted by sequence number.
    levels: Vec<VecDeque<Entry>>,
    count: usize,
    /// How many of them expire at some time.
    expiring: usize,
    body_bytes: u64,
    memory: usize,
    sequence: u64,
}

impl Ready {
    fn new(max_priority: u8) -> Self {
        Self {
            levels: (0..=max_priority).map(|_| VecDeque::new()).collect(),
            count: 0,
            expiring: 0,
            body_bytes: 0,
            memory: 0,
            sequence: 0,
        }
    }

    const fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn insert(&mut self, entry: Entry) {
        self.count += 1;
        self.expiring += usize::from(entry.expires.is_some());
        self.body_bytes += entry.message.parts().body.len() as u64;
        self.memory += entry.size();
        let Some(level) = self.levels.get_mut(usize::from(entry.priority)) else {
            unreachable!("a priority was limited to the levels there are");
        };
        match (level.front(), level.back()) {
            (Some(front), _) if entry.sequence < front.sequence => level.push_front(entry),
            (_, Some(back)) if entry.sequence < back.sequence => {
                let place = level.partition_point(|other| other.sequence < entry.sequence);
                level.insert(place, entry);
            }
            _ => level.push_back(entry),
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let level = self
            .levels
            .iter_mut()
            .rev()
            .find(|level| !level.is_empty())?;
        let entry = level.pop_front()?;
        if level.is_empty() {
            shrink(level);
        }
        self.taken(&entry);
        Some(entry)
    }

    fn pop_expired(&mut self, now: Instant) -> Option<Entry> {
        let is_due =
            |level: &&mut VecDeque<Entry>| level.front().is_some_and(|entry| entry.is_expired(now));
        let entry = self.levels.iter_mut().find(is_due)?.pop_front()?;
        self.taken(&entry);
        Some(entry)
    }

    fn taken(&mut self, entry: &Entry) {
        self.count -= 1;
        self.expiring -= usize::from(entry.expires.is_some());
        self.body_bytes -= entry.message.parts().body.len() as u64;
        self.memory -= entry.size();
    }

    fn clear(&mut self) {
        for level in &mut self.levels {
            *level = VecDeque::new();
        }
        (self.count, self.expiring, self.body_bytes, self.memory) = (0, 0, 0, 0);
    }
}

/// Gives the memory of a long list back once it is empty.
fn shrink(level: &mut VecDeque<Entry>) {
    const KEPT: usize = 1024;
    if level.capacity() > KEPT {
        *level = VecDeque::new();
    }
}
