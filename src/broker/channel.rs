//! A channel as the model sees it: what it consumes, how much it may hold, what it has not
//! acknowledged.

use std::collections::{BTreeMap, VecDeque};

use super::keys::{ChannelKey, ConsumerKey, QueueKey, SessionKey};
use super::message::Entry;

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) session: SessionKey,
    /// Its number in the session.
    pub(super) number: u16,
    pub(super) consumers: BTreeMap<Box<[u8]>, ConsumerKey>,
    /// The limit of consumers to come; zero is none.
    pub(super) prefetch: u16,
    /// The limit of all consumers together; zero is none.
    pub(super) shared_prefetch: u16,
    /// Messages given to consumers and not acknowledged.
    pub(super) in_flight: u32,
    /// The name of the queue declared last, which an empty name stands for.
    pub(super) last_queue: Box<[u8]>,
    last_tag: u64,
    unacknowledged: Unacknowledged,
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) channel: ChannelKey,
    pub(super) tag: Box<[u8]>,
    pub(super) queue: QueueKey,
    pub(super) no_ack: bool,
    /// How many messages it may hold; zero is any number.
    pub(super) prefetch: u16,
    /// How many it holds.
    pub(super) in_flight: u32,
}

impl Consumer {
    pub(super) fn has_credit(&self) -> bool {
        self.no_ack || has_credit(self.prefetch, self.in_flight)
    }
}

fn has_credit(limit: u16, in_flight: u32) -> bool {
    limit == 0 || in_flight < u32::from(limit)
}

/// A message that was given out.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) queue: QueueKey,
    /// Nobody for a message that was fetched with basic.get.
    pub(super) consumer: Option<ConsumerKey>,
    pub(super) entry: Entry,
}

impl Channel {
    pub(super) fn new(session: SessionKey, number: u16) -> Self {
        Self {
            session,
            number,
            consumers: BTreeMap::new(),
            prefetch: 0,
            shared_prefetch: 0,
            in_flight: 0,
            last_queue: Box::default(),
            last_tag: 0,
            unacknowledged: Unacknowledged::default(),
        }
    }

    /// Whether its consumers may have more; as in RabbitMQ, those that do not acknowledge wait for
    /// the others.
    pub(super) fn has_credit(&self) -> bool {
        has_credit(self.shared_prefetch, self.in_flight)
    }

    /// The tag of the next message that is given out.
    pub(super) const fn next_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// Remembers a message until it is settled.
    pub(super) fn keep(&mut self, tag: u64, given: Given) {
        self.in_flight += u32::from(given.consumer.is_some());
        self.unacknowledged.push(tag, given);
    }

    /// Takes the messages up to and including this tag, the oldest first; nothing when the tag names
    /// none. Zero names all, however few.
    pub(super) fn settle_through(&mut self, tag: u64) -> Option<Vec<Given>> {
        let settled = match tag {
            0 => self.unacknowledged.take_through(u64::MAX),
            tag if self.unacknowledged.contains(tag) => self.unacknowledged.take_through(tag),
            _ => return None,
        };
        let consumed = settled.iter().filter(|given| given.consumer.is_some());
        self.in_flight -= consumed.count() as u32;
        Some(settled)
    }

    /// Takes one message.
    pub(super) fn settle_one(&mut self, tag: u64) -> Option<Given> {
        let given = self.unacknowledged.take(tag)?;
        self.in_flight -= u32::from(given.consumer.is_some());
        Some(given)
    }

    /// The messages that are not settled.
    pub(super) fn given(&self) -> impl Iterator<Item = &Given> {
        self.unacknowledged
            .list
            .iter()
            .filter_map(|(_, given)| given.as_ref())
    }

    /// How many messages are not settled.
    pub(super) const fn unacknowledged(&self) -> usize {
        self.unacknowledged.count
    }
}

/// Messages by delivery tag.
///
/// Tags rise and most messages are settled in that order, so this is a queue in which those settled
/// out of order leave gaps. Gaps are closed when they are more than half of it.
#[derive(Debug, Default)]
struct Unacknowledged {
    list: VecDeque<(u64, Option<Given>)>,
    /// How many are not gaps.
    count: usize,
}

impl Unacknowledged {
    fn push(&mut self, tag: u64, given: Given) {
        self.list.push_back((tag, Some(given)));
        self.count += 1;
    }

    fn place(&self, tag: u64) -> Option<usize> {
        match self.list.front() {
            Some((first, _)) if *first == tag => Some(0),
            _ => self.list.binary_search_by_key(&tag, |(tag, _)| *tag).ok(),
        }
    }

    fn contains(&self, tag: u64) -> bool {
        let place = self.place(tag);
        place.is_some_and(|place| matches!(self.list.get(place), Some((_, Some(_)))))
    }

    fn take(&mut self, tag: u64) -> Option<Given> {
        let place = self.place(tag)?;
        let given = self.list.get_mut(place)?.1.take()?;
        self.count -= 1;
        self.close_gaps();
        Some(given)
    }

    /// Takes all messages up to this tag.
    fn take_through(&mut self, tag: u64) -> Vec<Given> {
        let end = self.list.partition_point(|(other, _)| *other <= tag);
        let taken: Vec<Given> = self
            .list
            .drain(..end)
            .filter_map(|(_, given)| given)
            .collect();
        self.count -= taken.len();
        self.close_gaps();
        taken
    }

    fn close_gaps(&mut self) {
        const WORTHWHILE: usize = 64;
        while let Some((_, None)) = self.list.front() {
            self.list.pop_front();
        }
        if self.list.len() > 2 * self.count + WORTHWHILE {
            self.list.retain(|(_, given)| given.is_some());
        }
    }
}
