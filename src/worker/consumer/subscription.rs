//! The channel that tasks come in on: opened, limited, its queues declared and consumed, in one go.
//!
//! All of it is sent at once, since a broker answers in order: `basic.qos`, then for each queue its exchange,
//! the queue, the binding, the consumer. The subscription stands when the last answer is in.

use crate::amqp::Connection;
use crate::amqp::connection::CommandError;
use crate::amqp::method::{basic, exchange, queue};
use crate::amqp::table::Table;
use crate::worker::settings::{Binding, Queue};

/// How far the channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none.
    Closed,
    /// It was asked for.
    Opening,
    /// So many answers are still to come.
    Declaring { channel: u16, answers: usize },
    /// Messages may come.
    Consuming { channel: u16 },
    /// The consumers were cancelled; messages that were under way may still come.
    Cancelled,
}

/// The subscription of a worker to its queues.
#[derive(Debug)]
pub(crate) struct Subscription {
    state: State,
    queues: Vec<Queue>,
    prefetch_count: u16,
    /// What the broker was told last.
    told_prefetch_count: u16,
    /// `basic.qos` limits the channel, not each consumer.
    global: bool,
    /// It has stood before.
    proven: bool,
}

impl Subscription {
    pub(crate) fn new(queues: Vec<Queue>, prefetch_count: u16) -> Self {
        Self {
            state: State::Closed,
            queues,
            prefetch_count,
            told_prefetch_count: 0,
            global: false,
            proven: false,
        }
    }

    /// What `basic.qos` means to this server: before version 4, RabbitMQ's `global` is the channel;
    /// elsewhere, and in later versions, it is no help (spec of `qos_semantics_matches_spec` in Celery).
    pub(crate) fn adapt_to(&mut self, server: Table<'_>) {
        let text = |key| {
            server
                .find(key)
                .ok()
                .flatten()
                .and_then(|value| value.as_str())
        };
        let version = text("version").map(numbers);
        let quorum = self.queues.iter().any(|queue| {
            let kind = queue
                .arguments
                .as_table()
                .find("x-queue-type")
                .ok()
                .flatten();
            kind.and_then(|value| value.as_str()) == Some("quorum")
        });
        self.global = text("product") == Some("RabbitMQ")
            && version.is_some_and(|version| ((3, 3)..(4, 0)).contains(&version))
            && !quorum;
    }

    /// Whether messages may come and are wanted.
    pub(crate) fn is_consuming(&self) -> bool {
        matches!(self.state, State::Consuming { .. })
    }

    /// Whether it has ever stood.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// The channel is gone, with the connection or alone.
    pub(crate) fn reset(&mut self) {
        self.state = State::Closed;
    }

    /// Whether there is no channel, and none was asked for.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Widens the window by `held` messages that are in hand but only wait for their time, as Celery does. On a
    /// server where the limit is each consumer's own this reaches only consumers that start later.
    pub(crate) fn hold(&mut self, held: usize, connection: &mut Connection) {
        let wanted = match self.prefetch_count {
            0 => 0,
            count => u16::try_from(held.saturating_add(count.into())).unwrap_or(0),
        };
        let (State::Consuming { channel } | State::Declaring { channel, .. }) = self.state else {
            return;
        };
        if wanted == self.told_prefetch_count {
            return;
        }
        match self.limit(channel, wanted, connection) {
            Ok(()) => log::debug!("basic.qos: prefetch_count->{wanted}"),
            Err(error) => log::error!("consumer: basic.qos: {error}"),
        }
        if let State::Declaring { answers, .. } = &mut self.state {
            *answers += 1;
        }
    }

    fn limit(
        &mut self,
        channel: u16,
        prefetch_count: u16,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let qos = basic::Qos {
            prefetch_size: 0,
            prefetch_count,
            global: self.global,
        };
        self.told_prefetch_count = prefetch_count;
        connection.call(channel, qos)
    }

    /// Asks for a channel.
    pub(crate) fn open(&mut self, connection: &mut Connection) -> Result<(), CommandError> {
        connection.open_channel()?;
        self.state = State::Opening;
        Ok(())
    }

    /// The channel is open: declares and consumes everything.
    pub(crate) fn opened(
        &mut self,
        channel: u16,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let mut answers = 1;
        self.limit(channel, self.prefetch_count, connection)?;
        for (index, queue) in self.queues.iter().enumerate() {
            answers += declare(channel, queue, connection)?;
            answers += consume(channel, index, queue, connection)?;
        }
        self.state = State::Declaring { channel, answers };
        Ok(())
    }

    /// One answer of the broker. True when it was the last one awaited.
    pub(crate) fn answered(&mut self) -> bool {
        if let State::Declaring { channel, answers } = &mut self.state {
            *answers = answers.saturating_sub(1);
            if *answers == 0 {
                self.state = State::Consuming { channel: *channel };
                self.proven = true;
                return true;
            }
        }
        false
    }

    /// The broker cancelled a consumer, for example because its queue was deleted: declares and consumes that
    /// queue again. Gives its name.
    pub(crate) fn cancelled_by_broker(
        &mut self,
        consumer_tag: &str,
        connection: &mut Connection,
    ) -> Result<Option<&str>, CommandError> {
        let (channel, awaited) = match self.state {
            State::Consuming { channel } => (channel, 0),
            State::Declaring { channel, answers } => (channel, answers),
            State::Closed | State::Opening | State::Cancelled => return Ok(None),
        };
        let index = consumer_tag
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1));
        let Some((index, queue)) = index.and_then(|index| Some((index, self.queues.get(index)?)))
        else {
            return Ok(None);
        };
        let mut answers = awaited + declare(channel, queue, connection)?;
        answers += consume(channel, index, queue, connection)?;
        self.state = State::Declaring { channel, answers };
        Ok(Some(&queue.name))
    }

    /// Stops the flow of messages.
    pub(crate) fn cancel(&mut self, connection: &mut Connection) -> Result<(), CommandError> {
        let (State::Consuming { channel } | State::Declaring { channel, .. }) = self.state else {
            return Ok(());
        };
        for index in 0..self.queues.len() {
            let consumer_tag = consumer_tag(index);
            let cancel = basic::Cancel {
                consumer_tag: consumer_tag.as_str().into(),
                nowait: true,
            };
            connection.call(channel, cancel)?;
        }
        self.state = State::Cancelled;
        Ok(())
    }
}

/// The tag of the consumer of the queue at `index`: its number.
fn consumer_tag(index: usize) -> String {
    (index + 1).to_string()
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
    index: usize,
    queue: &Queue,
    connection: &mut Connection,
) -> Result<usize, CommandError> {
    let tag = consumer_tag(index);
    let consume = basic::Consume {
        queue: queue.name.as_str().into(),
        consumer_tag: tag.as_str().into(),
        arguments: queue.consumer_arguments.as_table(),
        ..basic::Consume::default()
    };
    connection.call(channel, consume)?;
    Ok(1)
}

/// The first two numbers of a version.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
