//! A channel that messages come in on: opened, limited, its queues declared and consumed, in one go.
//!
//! All of it is sent at once, since a broker answers in order: `basic.qos`, then for each queue its exchange,
//! the queue, the binding, the consumer. The subscription stands when the last answer is in.
//!
//! A worker has several on one connection: see [`Purpose`].

use std::collections::BTreeMap;

use super::frames::{cancel, consume, declare};
use super::window::{Window, qos};
use crate::amqp::connection::CommandError;
use crate::amqp::{Connection, ShortStr};
use crate::link::Otherwise;
use crate::worker::settings::Queue;

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Purpose {
    /// The task queues.
    Tasks,
    /// Those of tasks that run long, apart: the broker closes a channel on which a message waits too long for its
    /// acknowledgement.
    LongTasks,
    /// The node's mailbox for remote control.
    Control,
    /// The events of other workers.
    Gossip,
    /// Answers to our `hello`.
    Mingle,
}

impl Purpose {
    /// All of them, the busiest first.
    pub(super) const ALL: [Self; 5] = [
        Self::Tasks,
        Self::LongTasks,
        Self::Control,
        Self::Gossip,
        Self::Mingle,
    ];

    /// Whether tasks come.
    pub(in crate::worker) fn is_tasks(self) -> bool {
        matches!(self, Self::Tasks | Self::LongTasks)
    }
}

/// How far the channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is none.
    Closed,
    /// It was asked for.
    Opening { channel: u16 },
    /// So many answers are still to come.
    Declaring { channel: u16, answers: usize },
    /// Messages may come.
    Consuming { channel: u16 },
    /// The consumers were cancelled; messages that were under way may still come.
    Cancelled { channel: u16 },
}

/// The subscription of a worker to some queues.
#[derive(Debug)]
pub(in crate::worker) struct Subscription {
    pub(super) state: State,
    pub(super) consumed: Vec<Consumed>,
    last_place: u32,
    /// The queues that were ever listed, by their places.
    names: BTreeMap<u32, String>,
    /// How many unsettled messages the broker may give out. Nothing where messages are not acknowledged.
    pub(super) window: Option<Window>,
    /// It has stood before.
    proven: bool,
}

/// A queue and its consumer.
#[derive(Debug)]
pub(super) struct Consumed {
    /// Counts the queues that were ever listed.
    place: u32,
    /// Counts the consumers that it had on one channel.
    pub(super) times: u32,
    pub(super) queue: Queue,
    /// How we would declare it, where the broker has it otherwise: `queue` is then how it is used.
    wanted: Option<Queue>,
    /// The broker has agreed to it before.
    proven: bool,
}

impl Consumed {
    /// It may have become what it is to be.
    fn declare_as_wanted(&mut self) {
        if let Some(wanted) = self.wanted.take() {
            self.queue = wanted;
        }
    }

    /// The consumer's tag: `7`, and `7.2` for the second consumer of that queue. See [`place_of`].
    pub(super) fn tag(&self) -> String {
        match self.times {
            0 => self.place.to_string(),
            times => format!("{}.{}", self.place, times + 1),
        }
    }
}

/// Which queue a consumer is for: the number its tag begins with.
pub(in crate::worker) fn place_of(consumer_tag: ShortStr<'_>) -> u32 {
    let digits = consumer_tag.as_bytes().iter();
    digits
        .map_while(|digit| char::from(*digit).to_digit(10))
        .fold(0, |place: u32, digit| {
            place.wrapping_mul(10).wrapping_add(digit)
        })
}

impl Subscription {
    /// A subscription whose messages are acknowledged, at most `prefetch_count` in hand.
    pub(in crate::worker) fn new(queues: Vec<Queue>, prefetch_count: u16) -> Self {
        Self {
            window: Some(Window::new(prefetch_count)),
            ..Self::unacknowledged(queues)
        }
    }

    /// A subscription to messages that are forgotten once they are delivered.
    pub(in crate::worker) fn unacknowledged(queues: Vec<Queue>) -> Self {
        let mut subscription = Self {
            state: State::Closed,
            consumed: Vec::new(),
            last_place: 0,
            names: BTreeMap::new(),
            window: None,
            proven: false,
        };
        for queue in queues {
            subscription.list(queue);
        }
        subscription
    }

    /// Counts its queues from another number: places tell apart the queues of all subscriptions to tasks.
    pub(in crate::worker) fn numbered_after(mut self, place: u32) -> Self {
        self.last_place = place;
        let queues = std::mem::take(&mut self.consumed);
        self.replace(queues.into_iter().map(|it| it.queue).collect());
        self
    }

    /// Consumes these queues instead, from the next channel on.
    pub(in crate::worker) fn replace(&mut self, queues: Vec<Queue>) {
        self.consumed.clear();
        self.names.clear();
        for queue in queues {
            self.list(queue);
        }
    }

    fn list(&mut self, queue: Queue) {
        self.last_place += 1;
        self.names.insert(self.last_place, queue.name.clone());
        self.consumed.push(Consumed {
            place: self.last_place,
            times: 0,
            queue,
            wanted: None,
            proven: false,
        });
    }

    /// The queue of a consumer that is or was one of these, by its place.
    pub(in crate::worker) fn name_of(&self, place: u32) -> Option<&str> {
        self.names.get(&place).map(String::as_str)
    }

    /// Has the broker say something, which changes nothing. Whether that was possible.
    pub(in crate::worker) fn ask(&self, connection: &mut Connection) -> bool {
        let State::Consuming { channel } = self.state else {
            return false;
        };
        let shared = self.window.as_ref().is_some_and(|window| window.shared);
        let qos = qos(self.prefetch_count(), shared);
        connection.call(channel, qos).is_ok()
    }

    /// Whether so many unsettled messages leave room for another.
    pub(in crate::worker) fn has_room(&self, outstanding: usize) -> bool {
        let told = usize::from(self.prefetch_count());
        self.is_consuming() && (told == 0 || outstanding < told)
    }

    /// The queues, in the order they were added.
    pub(in crate::worker) fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.consumed.iter().map(|consumed| &consumed.queue)
    }

    /// Whether messages may come and are wanted.
    pub(in crate::worker) fn is_consuming(&self) -> bool {
        matches!(self.state, State::Consuming { .. })
    }

    /// Whether the broker has still to answer.
    pub(super) fn awaits(&self) -> bool {
        matches!(self.state, State::Opening { .. } | State::Declaring { .. })
    }

    /// Whether it has ever stood.
    pub(in crate::worker) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether there is no channel, and none was asked for.
    pub(in crate::worker) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The channel, if there is one.
    pub(in crate::worker) fn channel(&self) -> Option<u16> {
        match self.state {
            State::Closed => None,
            State::Opening { channel }
            | State::Declaring { channel, .. }
            | State::Consuming { channel }
            | State::Cancelled { channel } => Some(channel),
        }
    }

    /// How many messages the broker may give out, as it was told last.
    pub(in crate::worker) fn prefetch_count(&self) -> u16 {
        self.window.as_ref().map_or(0, |window| window.told)
    }

    /// The channel is gone with its connection.
    pub(in crate::worker) fn reset(&mut self) {
        self.state = State::Closed;
    }

    /// The broker closed the channel. Queues that were added since it stood are given up, or they would have it
    /// closed again; their names.
    pub(in crate::worker) fn refused(&mut self) -> Vec<String> {
        self.reset();
        if !self.proven {
            return Vec::new();
        }
        let unproven = self.consumed.extract_if(.., |consumed| !consumed.proven);
        unproven.map(|consumed| consumed.queue.name).collect()
    }

    /// The broker closed the channel with these words. What it has otherwise than we declare it is used as it is from now
    /// on, or nothing would be consumed any more; the names of queues that this is news of. What it turns out not to have
    /// is declared again.
    pub(in crate::worker) fn adapt_to_close(
        &mut self,
        otherwise: Option<Otherwise>,
        text: &str,
    ) -> Vec<String> {
        let is_named = |name: &str| text.contains(&format!("'{name}'"));
        let proven = self.proven;
        let mut news = Vec::new();
        // One that was added to others is given up instead: see `refused`.
        for consumed in self.consumed.iter_mut().filter(|it| it.proven || !proven) {
            let Consumed { queue, wanted, .. } = consumed;
            let is_it = is_named(&queue.name);
            let is_bound = |queue: &Queue| {
                let mut bindings = queue.bindings.iter();
                bindings.any(|binding| is_named(&binding.exchange.name))
            };
            match otherwise {
                Some(Otherwise::Queue) if is_it => {
                    wanted.get_or_insert_with(|| queue.clone());
                    queue.declared = false;
                    news.push(queue.name.clone());
                }
                Some(Otherwise::Exchange) if is_bound(queue) => {
                    wanted.get_or_insert_with(|| queue.clone());
                    for binding in &mut queue.bindings {
                        binding.exchange.declared &= !is_named(&binding.exchange.name);
                    }
                    news.push(queue.name.clone());
                }
                None if is_it || is_bound(queue) => consumed.declare_as_wanted(),
                _ => {}
            }
        }
        news
    }

    /// Asks for a channel.
    pub(in crate::worker) fn open(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let channel = connection.open_channel()?;
        self.state = State::Opening { channel };
        Ok(())
    }

    /// The channel is open: declares and consumes everything.
    pub(in crate::worker) fn opened(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let State::Opening { channel } = self.state else {
            return Ok(());
        };
        if let Some(window) = &mut self.window {
            window.let_off = 0;
            window.shared = window.global && self.consumed.len() > 1;
        }
        let size = self.window.as_ref().map_or(0, |window| window.size);
        let mut answers = self.limit(channel, size, connection)?;
        let no_ack = self.window.is_none();
        for consumed in &mut self.consumed {
            consumed.times = 0;
            answers += declare(channel, &consumed.queue, connection)?;
            answers += consume(channel, consumed, no_ack, connection)?;
        }
        self.state = State::Declaring { channel, answers };
        Ok(())
    }

    /// One answer of the broker. True when it was the last one awaited.
    pub(in crate::worker) fn answered(&mut self) -> bool {
        if let State::Declaring { channel, answers } = &mut self.state {
            *answers = answers.saturating_sub(1);
            if *answers == 0 {
                self.state = State::Consuming { channel: *channel };
                self.proven = true;
                for consumed in &mut self.consumed {
                    consumed.proven = true;
                }
                return true;
            }
        }
        false
    }

    /// Consumes another queue, now if there is a channel, and whenever there is one again. False when it is
    /// consumed already.
    pub(in crate::worker) fn add(
        &mut self,
        queue: Queue,
        mut connection: Option<&mut Connection>,
    ) -> Result<bool, CommandError> {
        if self.queues().any(|known| known.name == queue.name) {
            return Ok(false);
        }
        if let Some(connection) = &mut connection
            && self.is_alone()
        {
            self.replace_consumers(connection);
        }
        self.list(queue);
        let asked = connection.map_or(Ok(()), |connection| self.ask_for_last(connection));
        if asked.is_err() {
            self.consumed.pop(); // or it would fail again with each new channel
        }
        asked.map(|()| true)
    }

    fn ask_for_last(&mut self, connection: &mut Connection) -> Result<(), CommandError> {
        if let (Some((channel, awaited)), Some(consumed)) = (self.standing(), self.consumed.last())
        {
            let mut answers = awaited + declare(channel, &consumed.queue, connection)?;
            answers += consume(channel, consumed, self.window.is_none(), connection)?;
            self.state = State::Declaring { channel, answers };
        }
        Ok(())
    }

    /// Consumes a queue no longer. False when it was not consumed.
    pub(in crate::worker) fn remove(
        &mut self,
        name: &str,
        connection: Option<&mut Connection>,
    ) -> Result<bool, CommandError> {
        let Some(index) = self.queues().position(|queue| queue.name == name) else {
            return Ok(false);
        };
        let consumed = self.consumed.remove(index);
        if let (Some(connection), Some((channel, _))) = (connection, self.standing()) {
            cancel(channel, &consumed.tag(), connection)?;
        }
        Ok(true)
    }

    /// The channel that queues are consumed on, and how many answers are awaited on it.
    pub(super) fn standing(&self) -> Option<(u16, usize)> {
        match self.state {
            State::Consuming { channel } => Some((channel, 0)),
            State::Declaring { channel, answers } => Some((channel, answers)),
            State::Closed | State::Opening { .. } | State::Cancelled { .. } => None,
        }
    }

    /// The broker cancelled a consumer, for example because its queue was deleted: declares and consumes that
    /// queue again. Gives its name.
    pub(in crate::worker) fn cancelled_by_broker(
        &mut self,
        consumer_tag: &str,
        connection: &mut Connection,
    ) -> Result<Option<&str>, CommandError> {
        let Some((channel, awaited)) = self.standing() else {
            return Ok(None);
        };
        let mut consumed = self.consumed.iter_mut();
        let Some(consumed) = consumed.find(|consumed| consumed.tag() == consumer_tag) else {
            return Ok(None);
        };
        consumed.declare_as_wanted();
        let mut answers = awaited + declare(channel, &consumed.queue, connection)?;
        answers += consume(channel, consumed, self.window.is_none(), connection)?;
        self.state = State::Declaring { channel, answers };
        Ok(Some(&consumed.queue.name))
    }

    /// Stops the flow of messages, or keeps it from beginning.
    pub(in crate::worker) fn cancel(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let (standing, channel) = (self.standing(), self.channel());
        if let Some(channel) = channel {
            self.state = State::Cancelled { channel };
        }
        if let Some((channel, _)) = standing {
            for consumed in &self.consumed {
                cancel(channel, &consumed.tag(), connection)?;
            }
        }
        Ok(())
    }

    /// Closes the channel, and with it all that hangs on it.
    pub(in crate::worker) fn close(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let channel = self.channel();
        self.reset();
        channel.map_or(Ok(()), |channel| connection.close_channel(channel))
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
pub(super) mod tests;
