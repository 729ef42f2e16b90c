//! A channel that messages come in on: opened, limited, its queues declared and consumed, in one go.
//!
//! All of it is sent at once, since a broker answers in order: `basic.qos`, then for each queue its exchange,
//! the queue, the binding, the consumer. The subscription stands when the last answer is in.
//!
//! A worker has several on one connection: see [`Purpose`].

use crate::amqp::Connection;
use crate::amqp::connection::CommandError;
use crate::amqp::method::{basic, exchange, queue};
use crate::amqp::table::Table;
use crate::worker::settings::{Binding, Queue};

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Purpose {
    /// The task queues.
    Tasks,
    /// The node's mailbox for remote control.
    Control,
    /// The events of other workers.
    Gossip,
    /// Answers to our `hello`.
    Mingle,
}

impl Purpose {
    /// All of them, the busiest first.
    pub(super) const ALL: [Self; 4] = [Self::Tasks, Self::Control, Self::Gossip, Self::Mingle];
}

/// How far the channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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
    state: State,
    consumed: Vec<Consumed>,
    last_tag: u32,
    /// How many unsettled messages the broker may give out. Nothing where messages are not acknowledged.
    window: Option<Window>,
    /// It has stood before.
    proven: bool,
}

/// A queue and its consumer.
#[derive(Debug)]
struct Consumed {
    tag: u32,
    queue: Queue,
    /// The broker has agreed to it before.
    proven: bool,
}

#[derive(Debug)]
struct Window {
    /// 0 is no limit.
    size: u16,
    /// What the broker was told last.
    told: u16,
    /// `basic.qos` limits the channel, not each consumer.
    global: bool,
}

impl Subscription {
    /// A subscription whose messages are acknowledged, at most `prefetch_count` in hand.
    pub(in crate::worker) fn new(queues: Vec<Queue>, prefetch_count: u16) -> Self {
        Self {
            window: Some(Window {
                size: prefetch_count,
                told: 0,
                global: false,
            }),
            ..Self::unacknowledged(queues)
        }
    }

    /// A subscription to messages that are forgotten once they are delivered.
    pub(in crate::worker) fn unacknowledged(queues: Vec<Queue>) -> Self {
        let mut subscription = Self {
            state: State::Closed,
            consumed: Vec::new(),
            last_tag: 0,
            window: None,
            proven: false,
        };
        for queue in queues {
            subscription.list(queue);
        }
        subscription
    }

    /// Consumes these queues instead, from the next channel on.
    pub(in crate::worker) fn replace(&mut self, queues: Vec<Queue>) {
        self.consumed.clear();
        for queue in queues {
            self.list(queue);
        }
    }

    fn list(&mut self, queue: Queue) {
        self.last_tag += 1;
        self.consumed.push(Consumed {
            tag: self.last_tag,
            queue,
            proven: false,
        });
    }

    /// What `basic.qos` means to this server: before version 4, RabbitMQ's `global` is the channel;
    /// elsewhere, and in later versions, it is no help (spec of `qos_semantics_matches_spec` in Celery).
    pub(in crate::worker) fn adapt_to(&mut self, server: Table<'_>) {
        let text = |key| {
            server
                .find(key)
                .ok()
                .flatten()
                .and_then(|value| value.as_str())
        };
        let version = text("version").map(numbers);
        let quorum = self.queues().any(|queue| {
            let kind = queue
                .arguments
                .as_table()
                .find("x-queue-type")
                .ok()
                .flatten();
            kind.and_then(|value| value.as_str()) == Some("quorum")
        });
        if let Some(window) = &mut self.window {
            window.global = text("product") == Some("RabbitMQ")
                && version.is_some_and(|version| ((3, 3)..(4, 0)).contains(&version))
                && !quorum;
        }
    }

    /// The queues, in the order they were added.
    pub(in crate::worker) fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.consumed.iter().map(|consumed| &consumed.queue)
    }

    /// Whether messages may come and are wanted.
    pub(in crate::worker) fn is_consuming(&self) -> bool {
        matches!(self.state, State::Consuming { .. })
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

    /// Widens the window by `held` messages that are in hand but only wait for their time, as Celery does. On a
    /// server where the limit is each consumer's own this reaches only consumers that start later.
    pub(in crate::worker) fn hold(&mut self, held: usize, connection: &mut Connection) {
        let Some(window) = &self.window else {
            return;
        };
        let wanted = match window.size {
            0 => 0,
            count => u16::try_from(held.saturating_add(count.into())).unwrap_or(0),
        };
        let (State::Consuming { channel } | State::Declaring { channel, .. }) = self.state else {
            return;
        };
        if wanted == window.told {
            return;
        }
        match self.limit(channel, wanted, connection) {
            Ok(_) => log::debug!("basic.qos: prefetch_count->{wanted}"),
            Err(error) => log::error!("consumer: basic.qos: {error}"),
        }
        if let State::Declaring { answers, .. } = &mut self.state {
            *answers += 1;
        }
    }

    /// Makes the window larger or smaller by `change`; an unlimited one stays so, and none shrinks below 1.
    pub(in crate::worker) fn widen(&mut self, change: i64) {
        if let Some(window) = &mut self.window
            && window.size > 0
        {
            let size = i64::from(window.size).saturating_add(change).max(1);
            window.size = u16::try_from(size).unwrap_or(0);
        }
    }

    /// Tells the broker the window; the number of answers to expect.
    fn limit(
        &mut self,
        channel: u16,
        prefetch_count: u16,
        connection: &mut Connection,
    ) -> Result<usize, CommandError> {
        let Some(window) = &mut self.window else {
            return Ok(0);
        };
        let qos = basic::Qos {
            prefetch_size: 0,
            prefetch_count,
            global: window.global,
        };
        window.told = prefetch_count;
        connection.call(channel, qos)?;
        Ok(1)
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
        let size = self.window.as_ref().map_or(0, |window| window.size);
        let mut answers = self.limit(channel, size, connection)?;
        let no_ack = self.window.is_none();
        for consumed in &self.consumed {
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
        connection: Option<&mut Connection>,
    ) -> Result<bool, CommandError> {
        if self.queues().any(|known| known.name == queue.name) {
            return Ok(false);
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
            cancel(channel, &consumed, connection)?;
        }
        Ok(true)
    }

    /// The channel that queues are consumed on, and how many answers are awaited on it.
    fn standing(&self) -> Option<(u16, usize)> {
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
        let tag = consumer_tag.parse().ok();
        let Some(consumed) = self
            .consumed
            .iter()
            .find(|consumed| Some(consumed.tag) == tag)
        else {
            return Ok(None);
        };
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
                cancel(channel, consumed, connection)?;
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

/// Declares what Celery declares for a queue, exchanges first; gives the number of answers to expect.
fn declare(
    channel: u16,
    queue: &Queue,
    connection: &mut Connection,
) -> Result<usize, CommandError> {
    if !queue.declared {
        return Ok(0);
    }
    let mut answers = 1;
    let named = queue
        .bindings
        .iter()
        .filter(|binding| !binding.exchange.name.is_empty());
    for Binding { exchange, .. } in named.clone().filter(|binding| binding.exchange.is_ours()) {
        let declare = exchange::Declare {
            exchange: exchange.name.as_str().into(),
            kind: exchange.kind.as_str().into(),
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            arguments: exchange.arguments.as_table(),
            ..exchange::Declare::default()
        };
        connection.call(channel, declare)?;
        answers += 1;
    }
    let declare = queue::Declare {
        queue: queue.name.as_str().into(),
        durable: queue.durable,
        exclusive: queue.exclusive,
        auto_delete: queue.auto_delete,
        arguments: queue.arguments.as_table(),
        ..queue::Declare::default()
    };
    connection.call(channel, declare)?;
    for binding in named {
        let bind = queue::Bind {
            queue: queue.name.as_str().into(),
            exchange: binding.exchange.name.as_str().into(),
            routing_key: binding.routing_key.as_str().into(),
            arguments: binding.arguments.as_table(),
            ..queue::Bind::default()
        };
        connection.call(channel, bind)?;
        answers += 1;
    }
    Ok(answers)
}

fn consume(
    channel: u16,
    consumed: &Consumed,
    no_ack: bool,
    connection: &mut Connection,
) -> Result<usize, CommandError> {
    let tag = consumed.tag.to_string();
    let consume = basic::Consume {
        queue: consumed.queue.name.as_str().into(),
        consumer_tag: tag.as_str().into(),
        no_ack,
        arguments: consumed.queue.consumer_arguments.as_table(),
        ..basic::Consume::default()
    };
    connection.call(channel, consume)?;
    Ok(1)
}

fn cancel(
    channel: u16,
    consumed: &Consumed,
    connection: &mut Connection,
) -> Result<(), CommandError> {
    let tag = consumed.tag.to_string();
    let cancel = basic::Cancel {
        consumer_tag: tag.as_str().into(),
        nowait: true,
    };
    connection.call(channel, cancel)
}

/// The first two numbers of a version.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
