//! What the cases send: methods in which all that a case does not say is as it mostly is.

use celeriac::amqp::Properties;
use celeriac::amqp::method::{basic, exchange, queue};
use celeriac::amqp::table::{TableBuf, Value};

use crate::raw::{Raw, Verdict};
use crate::table;

pub(super) fn declare(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: name.into(),
        durable: true,
        ..Default::default()
    }
}

pub(super) fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        passive: true,
        ..declare(name)
    }
}

pub(super) fn exchange_named(name: &str) -> exchange::Declare<'_> {
    exchange::Declare {
        exchange: name.into(),
        kind: "direct".into(),
        durable: true,
        ..Default::default()
    }
}

pub(super) fn bind<'a>(queue: &'a str, exchange: &'a str) -> queue::Bind<'a> {
    queue::Bind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: "k".into(),
        ..Default::default()
    }
}

pub(super) fn consume<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        queue: queue.into(),
        consumer_tag: tag.into(),
        ..Default::default()
    }
}

pub(super) fn get(queue: &str) -> basic::Get<'_> {
    basic::Get {
        queue: queue.into(),
        no_ack: false,
    }
}

pub(super) fn delete(queue: &str) -> queue::Delete<'_> {
    queue::Delete {
        queue: queue.into(),
        ..Default::default()
    }
}

pub(super) fn purge(queue: &str) -> queue::Purge<'_> {
    queue::Purge {
        queue: queue.into(),
        nowait: false,
    }
}

pub(super) fn publish<'a>(exchange: &'a str, key: &'a str) -> basic::Publish<'a> {
    basic::Publish {
        exchange: exchange.into(),
        routing_key: key.into(),
        ..Default::default()
    }
}

pub(super) fn ack(tag: u64) -> basic::Ack {
    basic::Ack {
        delivery_tag: tag,
        multiple: false,
    }
}

/// What there is before each case.
pub(super) fn set_up(raw: &mut Raw) {
    raw.send(1, declare("eq"));
    raw.send(1, exchange_named("ee"));
    raw.send(
        1,
        queue::Declare {
            exclusive: true,
            ..declare("exq")
        },
    );
    let one_second = table(&[("x-message-ttl", Value::I32(1000))]);
    raw.send(
        1,
        queue::Declare {
            arguments: one_second.as_table(),
            ..declare("eq2")
        },
    );
    assert_eq!(raw.verdict(), Verdict::Fine);
}

/// Declares a queue with one argument.
pub(super) fn declare_with(raw: &mut Raw, name: &str, key: &str, value: Value<'_>) {
    let arguments: TableBuf = table(&[(key, value)]);
    raw.send(
        1,
        queue::Declare {
            arguments: arguments.as_table(),
            ..declare(name)
        },
    );
}

/// Publishes with properties.
pub(super) fn publish_with(raw: &mut Raw, properties: Properties<'_>) {
    raw.publish(publish("", "eq"), &properties);
}

/// A header frame's payload.
pub(super) fn header(class: u16, weight: u16, size: u64) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend_from_slice(&weight.to_be_bytes());
    payload.extend_from_slice(&size.to_be_bytes());
    payload.extend_from_slice(&[0, 0]);
    payload
}

pub(super) fn quorum(
    raw: &mut Raw,
    name: &str,
    change: impl FnOnce(queue::Declare<'_>) -> queue::Declare<'_>,
) {
    let arguments = table(&[("x-queue-type", Value::LongStr(b"quorum"))]);
    raw.send(
        1,
        change(queue::Declare {
            arguments: arguments.as_table(),
            ..declare(name)
        }),
    );
}
