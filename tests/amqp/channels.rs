//! Channels: calls and their answers, closing from either side, delivery tags, confirms.

use celeriac::amqp::connection::{
    CloseReason, CommandError, ConnectionError, DeliveryTag, Event, Options,
};
use celeriac::amqp::method::{Method, MethodId, basic, channel, confirm, connection, queue};
use celeriac::amqp::{Properties, ShortStr};

use crate::pair::{EPOCH, Pair};

const DELIVER: fn(u64) -> basic::Deliver<'static> = |delivery_tag| basic::Deliver {
    delivery_tag,
    ..Default::default()
};

/// Has the server deliver a message, and returns its tag.
fn deliver(pair: &mut Pair, channel: u16, number: u64) -> DeliveryTag {
    pair.server_sends_message(channel, DELIVER(number), &Properties::default(), b"body");
    let Some(Event::Deliver(delivery)) = pair.client.poll_event() else {
        panic!("a message is to come")
    };
    delivery.tag
}

fn close_channel(code: u16, text: &str) -> channel::Close<'_> {
    channel::Close {
        reply_code: code,
        reply_text: text.into(),
        class_id: 50,
        method_id: 10,
    }
}

#[test]
fn answers_come_in_the_order_of_calls_and_nowait_has_none() {
    let mut pair = Pair::with_channel();
    let declare = queue::Declare {
        queue: "celery".into(),
        durable: true,
        ..Default::default()
    };
    let nowait = basic::Consume {
        nowait: true,
        ..Default::default()
    };
    pair.client.call(1, declare).expect("the channel is open");
    pair.client.call(1, nowait).expect("the channel is open");
    pair.client
        .call(1, basic::Qos::default())
        .expect("the channel is open");
    pair.expect_sent(&[
        (1, declare.into()),
        (1, nowait.into()),
        (1, basic::Qos::default().into()),
    ]);
    let ok = queue::DeclareOk {
        queue: "celery".into(),
        message_count: 3,
        consumer_count: 0,
    };
    pair.server_sends(1, ok);
    pair.server_sends(1, basic::QosOk {});
    pair.expect_event(&Event::Reply {
        channel: 1,
        method: ok.into(),
    });
    pair.expect_event(&Event::Reply {
        channel: 1,
        method: basic::QosOk {}.into(),
    });
    pair.expect_no_event();
}

/// In RabbitMQ the queue answers basic.consume, and the channel goes on meanwhile.
#[test]
fn a_consumer_may_be_confirmed_after_later_calls() {
    let mut pair = Pair::with_channel();
    let consume = basic::Consume::default();
    for method in [consume.into(), basic::Qos::default().into(), consume.into()] {
        let method: Method<'_> = method;
        pair.client.call(1, method).expect("the channel is open");
    }
    let ok = basic::ConsumeOk {
        consumer_tag: "1".into(),
    };
    let answers: [Method<'_>; 3] = [basic::QosOk {}.into(), ok.into(), ok.into()];
    for method in answers {
        pair.server_sends(1, method);
        pair.expect_event(&Event::Reply { channel: 1, method });
    }
    pair.expect_no_event();
}

#[test]
fn an_answer_nobody_waits_for_ends_the_connection() {
    let mut pair = Pair::with_channel();
    pair.client
        .call(1, basic::Qos::default())
        .expect("the channel is open");
    pair.server_sends(1, queue::BindOk {});
    let reason = pair.expect_closed();
    let method = queue::BindOk::ID;
    let error = ConnectionError::UnexpectedMethod { channel: 1, method };
    assert_eq!(reason, CloseReason::Protocol(error));
}

#[test]
fn what_a_client_does_not_call_is_refused() {
    let mut pair = Pair::with_channel();
    let refused: [Method<'_>; 4] = [
        basic::Publish::default().into(),
        basic::Deliver::default().into(),
        channel::Close::default().into(),
        connection::Start::default().into(),
    ];
    for method in refused {
        assert_eq!(
            pair.client.call(1, method),
            Err(CommandError::NotCallable(method.id()))
        );
    }
    assert_eq!(
        pair.client.call(9, basic::Qos::default()),
        Err(CommandError::ChannelNotOpen(9))
    );
    assert_eq!(
        pair.client.call(0, basic::Qos::default()),
        Err(CommandError::ChannelNotOpen(0))
    );
    pair.expect_nothing_sent();
}

#[test]
fn a_secret_is_renewed_on_channel_zero() {
    let mut pair = Pair::with_channel();
    let update = connection::UpdateSecret {
        new_secret: b"token",
        reason: "expires".into(),
    };
    pair.client.call(0, update).expect("it is open");
    pair.expect_sent(&[(0, update.into())]);
    pair.server_sends(0, connection::UpdateSecretOk {});
    let method = connection::UpdateSecretOk {}.into();
    pair.expect_event(&Event::Reply { channel: 0, method });
    pair.server_sends(0, connection::UpdateSecretOk {});
    assert!(matches!(pair.expect_closed(), CloseReason::Protocol(_)));
}

#[test]
fn the_lowest_free_number_is_taken_up_to_the_limit() {
    let mut pair = Pair::opened(Options {
        channel_max: 3,
        ..Options::default()
    });
    let opened: Vec<_> = (0..4).map(|_| pair.client.open_channel()).collect();
    let full = Err(CommandError::NoFreeChannel { channel_max: 3 });
    assert_eq!(opened, [Ok(1), Ok(2), Ok(3), full]);
    pair.server_sends(2, channel::OpenOk {});
    pair.expect_event(&Event::ChannelOpen { channel: 2 });
    pair.server_sends(2, close_channel(404, "NOT_FOUND"));
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::ChannelClosed { channel: 2, .. })
    ));
    assert_eq!(pair.client.open_channel(), Ok(2));
}

#[test]
fn calls_may_follow_an_opening_at_once() {
    let mut pair = Pair::opened(Options::default());
    let number = pair.client.open_channel().expect("it is open");
    pair.client
        .call(number, basic::Qos::default())
        .expect("it is in line");
    pair.server_sends(number, channel::OpenOk {});
    pair.server_sends(number, basic::QosOk {});
    pair.expect_event(&Event::ChannelOpen { channel: number });
    pair.expect_event(&Event::Reply {
        channel: number,
        method: basic::QosOk {}.into(),
    });
}

#[test]
fn a_channel_the_server_closed_is_answered_and_reported() {
    let mut pair = Pair::with_channel();
    pair.client
        .call(1, queue::Declare::default())
        .expect("the channel is open");
    pair.sent();
    let text = "NOT_FOUND - no queue 'nope' in vhost '/'";
    pair.server_sends(1, close_channel(404, text));
    pair.expect_event(&Event::ChannelClosed {
        channel: 1,
        code: 404,
        text: text.into(),
        method: queue::Declare::ID,
    });
    pair.expect_sent(&[(1, channel::CloseOk {}.into())]);
    let refused = pair.client.call(1, basic::Qos::default());
    assert_eq!(refused, Err(CommandError::ChannelNotOpen(1)));
}

#[test]
fn deliveries_after_the_servers_close_are_ignored_until_the_number_is_open_again() {
    let mut pair = Pair::with_channel();
    pair.server_sends(1, close_channel(406, "PRECONDITION_FAILED"));
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::ChannelClosed { .. })
    ));
    pair.server_sends_message(1, DELIVER(1), &Properties::default(), b"late");
    pair.expect_no_event();
    assert_eq!(pair.client.open_channel(), Ok(1));
    pair.server_sends_message(1, DELIVER(2), &Properties::default(), &[7; 9000]);
    pair.expect_no_event();
    pair.server_sends(1, channel::OpenOk {});
    pair.expect_event(&Event::ChannelOpen { channel: 1 });
    assert_eq!(deliver(&mut pair, 1, 1).number, 1);
}

#[test]
fn a_channel_we_close_is_deaf_until_its_close_ok() {
    let mut pair = Pair::with_channel();
    let tag = deliver(&mut pair, 1, 1);
    pair.client.close_channel(1).expect("it is open");
    pair.expect_sent(&[(1, channel::Close::default().into())]);
    pair.server_sends_message(1, DELIVER(2), &Properties::default(), b"late");
    pair.server_sends(1, queue::BindOk {});
    pair.expect_no_event();
    assert!(!pair.client.ack(tag, false));
    assert_eq!(
        pair.client.close_channel(1),
        Err(CommandError::ChannelNotOpen(1))
    );
    assert_eq!(
        pair.client.open_channel(),
        Ok(2),
        "its number is not free yet"
    );
    pair.sent();

    pair.server_sends(1, close_channel(404, "at the same time"));
    pair.expect_no_event();
    pair.expect_sent(&[(1, channel::CloseOk {}.into())]);
    pair.server_sends(1, channel::CloseOk {});
    pair.expect_event(&Event::Reply {
        channel: 1,
        method: channel::CloseOk {}.into(),
    });
    assert_eq!(pair.client.open_channel(), Ok(1));
}

#[test]
fn deliveries_are_settled_in_three_ways() {
    let mut pair = Pair::with_channel();
    let tag = deliver(&mut pair, 1, 9);
    assert!(pair.client.ack(tag, true));
    assert!(pair.client.reject(tag, false));
    assert!(pair.client.nack(tag, false, true));
    let delivery_tag = 9;
    pair.expect_sent(&[
        (
            1,
            basic::Ack {
                delivery_tag,
                multiple: true,
            }
            .into(),
        ),
        (
            1,
            basic::Reject {
                delivery_tag,
                requeue: false,
            }
            .into(),
        ),
        (
            1,
            basic::Nack {
                delivery_tag,
                multiple: false,
                requeue: true,
            }
            .into(),
        ),
    ]);
}

#[test]
fn a_tag_of_another_life_settles_nothing() {
    let mut pair = Pair::with_channel();
    let tag = deliver(&mut pair, 1, 1);
    assert_eq!(tag.epoch, EPOCH);
    pair.server_sends(1, close_channel(406, "PRECONDITION_FAILED"));
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::ChannelClosed { .. })
    ));
    pair.sent();
    assert!(!pair.client.ack(tag, false), "the channel is closed");
    pair.open_channel();
    assert!(!pair.client.reject(tag, true), "the channel is another one");
    let new = deliver(&mut pair, 1, 1);
    assert_ne!(new, tag);
    assert!(
        !pair.client.ack(
            DeliveryTag {
                epoch: EPOCH - 1,
                ..new
            },
            false
        ),
        "another connection"
    );
    assert!(!pair.client.ack(DeliveryTag { channel: 3, ..new }, false));
    assert!(!pair.client.ack(DeliveryTag { channel: 0, ..new }, false));
    pair.expect_nothing_sent();
    assert!(pair.client.ack(new, false));
    pair.client.close(0, "", pair.now);
    assert!(!pair.client.ack(new, false), "the connection is closing");
}

#[test]
fn publishes_are_numbered_per_channel_once_confirms_are_on() {
    let mut pair = Pair::with_channel();
    pair.open_channel();
    let publish = |pair: &mut Pair, channel| {
        pair.client
            .publish(channel, "", "celery", false, &Properties::default(), b"[]")
    };
    assert_eq!(publish(&mut pair, 1), Ok(None));
    pair.client
        .call(1, confirm::Select { nowait: false })
        .expect("it is open");
    assert_eq!(publish(&mut pair, 1), Ok(Some(1)));
    assert_eq!(publish(&mut pair, 2), Ok(None));
    pair.client
        .call(1, confirm::Select { nowait: true })
        .expect("it is open");
    assert_eq!(
        publish(&mut pair, 1),
        Ok(Some(2)),
        "a second select does not count anew"
    );

    pair.server_sends(1, confirm::SelectOk {});
    pair.server_sends(
        1,
        basic::Ack {
            delivery_tag: 1,
            multiple: false,
        },
    );
    pair.server_sends(
        1,
        basic::Nack {
            delivery_tag: 2,
            multiple: true,
            requeue: true,
        },
    );
    pair.expect_event(&Event::Reply {
        channel: 1,
        method: confirm::SelectOk {}.into(),
    });
    pair.expect_event(&Event::Confirm {
        channel: 1,
        number: 1,
        multiple: false,
        acked: true,
    });
    pair.expect_event(&Event::Confirm {
        channel: 1,
        number: 2,
        multiple: true,
        acked: false,
    });
}

#[test]
fn a_cancelled_consumer_is_reported_and_answered_if_that_is_wanted() {
    let mut pair = Pair::with_channel();
    let consumer_tag: ShortStr<'_> = "None1".into();
    pair.server_sends(
        1,
        basic::Cancel {
            consumer_tag,
            nowait: true,
        },
    );
    pair.expect_event(&Event::ConsumerCancelled {
        channel: 1,
        consumer_tag,
    });
    pair.expect_nothing_sent();
    pair.server_sends(
        1,
        basic::Cancel {
            consumer_tag,
            nowait: false,
        },
    );
    pair.expect_event(&Event::ConsumerCancelled {
        channel: 1,
        consumer_tag,
    });
    pair.expect_sent(&[(1, basic::CancelOk { consumer_tag }.into())]);
}

#[test]
fn flow_is_answered_with_the_same() {
    let mut pair = Pair::with_channel();
    pair.server_sends(1, channel::Flow { active: false });
    pair.expect_event(&Event::Flow {
        channel: 1,
        active: false,
    });
    pair.expect_sent(&[(1, channel::FlowOk { active: false }.into())]);
}

#[test]
fn a_method_for_servers_ends_the_connection() {
    for method in [
        Method::from(basic::Qos::default()),
        basic::Publish::default().into(),
    ] {
        let mut pair = Pair::with_channel();
        pair.server_sends(1, method);
        let id: MethodId = method.id();
        let error = ConnectionError::UnexpectedMethod {
            channel: 1,
            method: id,
        };
        assert_eq!(pair.expect_closed(), CloseReason::Protocol(error));
    }
}
