//! What is asked of the broker for one queue. Each function appends frames and gives the number of answers to expect.

use super::subscription::Consumed;
use crate::amqp::Connection;
use crate::amqp::connection::CommandError;
use crate::amqp::method::{basic, exchange, queue};
use crate::worker::settings::{Binding, Queue};

/// Declares what Celery declares for a queue, exchanges first; gives the number of answers to expect.
pub(super) fn declare(
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

/// Asks for a queue's messages; gives the number of answers to expect.
pub(super) fn consume(
    channel: u16,
    consumed: &Consumed,
    no_ack: bool,
    connection: &mut Connection,
) -> Result<usize, CommandError> {
    let tag = consumed.tag();
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

/// Ends a consumer; nothing answers.
pub(super) fn cancel(
    channel: u16,
    tag: &str,
    connection: &mut Connection,
) -> Result<(), CommandError> {
    let cancel = basic::Cancel {
        consumer_tag: tag.into(),
        nowait: true,
    };
    connection.call(channel, cancel)
}

/// Asks how many messages and consumers a queue has; it has to exist.
pub(super) fn ask_for_counts(
    channel: u16,
    queue: &Queue,
    connection: &mut Connection,
) -> Result<usize, CommandError> {
    let declare = queue::Declare {
        queue: queue.name.as_str().into(),
        passive: true,
        ..queue::Declare::default()
    };
    connection.call(channel, declare)?;
    Ok(1)
}
