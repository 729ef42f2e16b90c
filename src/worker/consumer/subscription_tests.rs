//! What a subscription asks of the broker, frame by frame.

use super::*;
use crate::amqp::Table;
use crate::amqp::connection::{Event, Options, Tune};
use crate::amqp::frame;
use crate::amqp::method::{Method, channel, connection};
use crate::sys::clock;
use crate::worker::settings::Queue;

pub(in crate::worker::consumer) fn server_sends<'m>(
    connection: &mut Connection,
    channel: u16,
    method: impl Into<Method<'m>>,
) -> bool {
    let mut bytes = Vec::new();
    frame::put_method(&mut bytes, channel, &method.into(), 0).unwrap();
    connection.handle_bytes(&bytes, clock::now());
    matches!(
        connection.poll_event(),
        Some(Event::Open { .. } | Event::ChannelOpen { .. })
    )
}

/// A connection that is open.
pub(in crate::worker::consumer) fn connection() -> Connection {
    let mut made = Connection::new(Options::default(), 1, clock::now());
    let start = connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: Table::default(),
        mechanisms: b"PLAIN",
        locales: b"en_US",
    };
    let tune = Tune {
        channel_max: 0,
        frame_max: 0,
        heartbeat: 0,
    };
    server_sends(&mut made, 0, start);
    server_sends(&mut made, 0, tune);
    assert!(server_sends(&mut made, 0, connection::OpenOk {}));
    sent(&mut made);
    made
}

fn sent(connection: &mut Connection) -> usize {
    let count = connection.poll_transmit().len();
    connection.transmitted(count, clock::now());
    count
}

/// The worker is told to stop while the broker has not yet opened the channel. Consumers that came up after that would
/// bring messages that can only be handed back, again and again.
#[test]
fn what_is_cancelled_before_the_channel_is_open_consumes_nothing() {
    let mut connection = connection();
    let mut subscription = Subscription::new(vec![Queue::named("q")], 4);
    subscription.open(&mut connection).unwrap();
    assert!(sent(&mut connection) > 0);
    subscription.cancel(&mut connection).unwrap();
    assert!(server_sends(&mut connection, 1, channel::OpenOk {}));
    subscription.opened(&mut connection).unwrap();
    assert_eq!(sent(&mut connection), 0);
    assert!(!subscription.is_consuming() && !subscription.is_closed());
}

/// What cannot be said to the broker now could not be said on the next channel either, and would end the worker there.
#[test]
fn a_queue_that_cannot_be_asked_for_is_not_kept() {
    let mut connection = connection();
    let mut subscription = Subscription::new(vec![], 4);
    subscription.open(&mut connection).unwrap();
    assert!(server_sends(&mut connection, 1, channel::OpenOk {}));
    subscription.opened(&mut connection).unwrap();
    let mut queue = Queue::named("q");
    for binding in &mut queue.bindings {
        binding.exchange.name = "e".repeat(256);
    }
    let added = subscription.add(queue, Some(&mut connection));
    assert!(added.is_err(), "AMQP's short string holds no more");
    assert_eq!(subscription.queues().count(), 0);
    assert!(
        subscription
            .add(Queue::named("q"), Some(&mut connection))
            .unwrap()
    );
}

/// What was sent, in few words.
fn said(connection: &mut Connection) -> Vec<String> {
    let bytes = connection.poll_transmit().to_vec();
    sent(connection);
    let (mut rest, mut said) = (&bytes[..], vec![]);
    while let Ok(Some((frame, size))) = frame::decode(rest, 0) {
        said.extend(match Method::decode(frame.payload).unwrap() {
            Method::BasicQos(qos) => Some(format!("qos {} {}", qos.prefetch_count, qos.global)),
            Method::BasicConsume(consume) => Some(format!("consume {}", consume.consumer_tag)),
            Method::BasicCancel(cancel) => Some(format!("cancel {}", cancel.consumer_tag)),
            _ => None,
        });
        rest = &rest[size..];
    }
    said
}

/// A window of 4 on a channel of RabbitMQ 3, whose queues are given.
fn subscribed(queues: Vec<Queue>, connection: &mut Connection) -> Subscription {
    let mut subscription = Subscription::new(queues, 4);
    let mut server = crate::amqp::table::TableBuf::new();
    server.insert("product", "RabbitMQ").unwrap();
    server.insert("version", "3.10.8").unwrap();
    subscription.adapt_to(server.as_table());
    subscription.open(connection).unwrap();
    assert!(server_sends(connection, 1, channel::OpenOk {}));
    subscription.opened(connection).unwrap();
    subscription
}

#[test]
fn one_consumer_has_the_window_to_itself_until_there_is_another() {
    let mut connection = connection();
    let mut subscription = subscribed(vec![Queue::named("a")], &mut connection);
    assert_eq!(said(&mut connection), ["qos 4 false", "consume 1"]);
    subscription
        .add(Queue::named("b"), Some(&mut connection))
        .unwrap();
    let shared = ["qos 0 false", "qos 4 true", "consume 1.2", "cancel 1"];
    assert_eq!(
        said(&mut connection),
        [&shared[..], &["consume 2"]].concat()
    );
    subscription
        .add(Queue::named("c"), Some(&mut connection))
        .unwrap();
    assert_eq!(said(&mut connection), ["consume 3"]);
}

#[test]
fn two_consumers_share_the_window_from_the_start() {
    let mut connection = connection();
    subscribed(vec![Queue::named("a"), Queue::named("b")], &mut connection);
    assert_eq!(
        said(&mut connection),
        ["qos 4 true", "consume 1", "consume 2"]
    );
}

/// As it does for a message that waits for its time.
#[test]
fn a_window_that_changes_becomes_the_channels() {
    let mut connection = connection();
    let mut subscription = subscribed(vec![Queue::named("a")], &mut connection);
    said(&mut connection);
    subscription.hold(1, 0, &mut connection);
    let shared = ["qos 0 false", "qos 4 true", "consume 1.2", "cancel 1"];
    assert_eq!(
        said(&mut connection),
        [&shared[..], &["qos 5 true"]].concat()
    );
    subscription.hold(0, 0, &mut connection);
    assert_eq!(said(&mut connection), ["qos 4 true"]);
}

/// T23: what is there otherwise is used as it is, and declared again once it is gone.
#[test]
fn t23_a_queue_that_is_there_otherwise_is_consumed_as_it_is() {
    let mut subscription = Subscription::new(vec![Queue::named("q"), Queue::named("r")], 4);
    let declared = |subscription: &Subscription| -> Vec<(bool, bool)> {
        let queues = subscription.queues();
        queues
            .map(|queue| (queue.declared, queue.bindings[0].exchange.declared))
            .collect()
    };
    let queue = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/'";
    let news = subscription.adapt_to_close(Some(Otherwise::Queue), queue);
    assert_eq!(news, ["q"]);
    let exchange = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'r' in vhost '/'";
    let news = subscription.adapt_to_close(Some(Otherwise::Exchange), exchange);
    assert_eq!(news, ["r"]);
    assert_eq!(declared(&subscription), [(false, true), (true, false)]);
    let overdue = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out";
    assert!(subscription.adapt_to_close(None, overdue).is_empty());
    assert_eq!(declared(&subscription), [(false, true), (true, false)]);
    for gone in ["q", "r"] {
        subscription.adapt_to_close(None, &format!("NOT_FOUND - no queue '{gone}' in vhost '/'"));
    }
    assert_eq!(declared(&subscription), [(true, true), (true, true)]);
}
