//! Messages: whole and in pieces, too large, malformed, and on the way out.

use celeriac::amqp::connection::{
    CloseReason, CommandError, ConnectionError, Event, MessageError, Options, Returned,
};
use celeriac::amqp::frame::{Frame, FrameKind};
use celeriac::amqp::method::{Method, basic};
use celeriac::amqp::props::ContentHeader;
use celeriac::amqp::table::{Table, TableBuf};
use celeriac::amqp::wire::{DecodeError, EncodeError};
use celeriac::amqp::{Properties, Value};
use proptest::prelude::*;

use crate::pair::{Pair, TUNE, frames, message};

fn deliver() -> basic::Deliver<'static> {
    basic::Deliver {
        consumer_tag: "None4".into(),
        delivery_tag: 1,
        redelivered: true,
        exchange: "".into(),
        routing_key: "celery".into(),
    }
}

fn json() -> Properties<'static> {
    Properties {
        content_type: Some("application/json".into()),
        ..Properties::default()
    }
}

#[track_caller]
fn expect_delivery(pair: &mut Pair, body: &[u8]) {
    let Some(Event::Deliver(delivery)) = pair.client.poll_event() else {
        panic!("a message is to come")
    };
    assert_eq!(delivery.consumer_tag, "None4");
    assert_eq!(delivery.routing_key, "celery");
    assert!(delivery.redelivered);
    assert_eq!(delivery.properties, json());
    assert_eq!(delivery.body, body);
}

fn put_header(out: &mut Vec<u8>, channel: u16, body_size: u64, property_list: &[u8]) {
    let mut payload = Vec::new();
    ContentHeader {
        class_id: 60,
        body_size,
        property_list,
    }
    .encode(&mut payload);
    Frame {
        kind: FrameKind::Header,
        channel,
        payload: &payload,
    }
    .encode(out);
}

proptest! {
    /// However a body is cut into frames, and whatever comes in between, it is the same message.
    #[test]
    fn a_body_may_be_cut_anywhere(
        body in proptest::collection::vec(any::<u8>(), 0..600),
        piece in 1_usize..700,
        between in any::<bool>(),
        read in 1_usize..100,
    ) {
        let mut pair = Pair::with_channel();
        let mut bytes = Vec::new();
        let interrupt = |bytes: &mut Vec<u8>| if between {
            Frame { kind: FrameKind::Heartbeat, channel: 0, payload: &[] }.encode(bytes);
        };
        celeriac::amqp::frame::put_method(&mut bytes, 1, &deliver().into(), 0).expect("short");
        interrupt(&mut bytes);
        let mut list = Vec::new();
        json().encode(&mut list).expect("short");
        put_header(&mut bytes, 1, body.len() as u64, &list);
        for payload in body.chunks(piece) {
            interrupt(&mut bytes);
            Frame { kind: FrameKind::Body, channel: 1, payload }.encode(&mut bytes);
        }
        for piece in bytes.chunks(read) {
            prop_assert_eq!(pair.client.poll_event(), None);
            pair.client.handle_bytes(piece, pair.now);
        }
        expect_delivery(&mut pair, &body);
        pair.expect_no_event();
    }

    /// What is published arrives, in frames that are not too large.
    #[test]
    fn what_is_published_is_what_arrives(body in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        let mut pair = Pair::with_channel();
        pair.client.publish(1, "", "celery", true, &json(), &body).expect("it is open");
        let sent = pair.sent();
        let frames = frames(&sent);
        let [method, header, pieces @ ..] = &frames[..] else { panic!("two frames at least") };
        let publish = basic::Publish {
            exchange: "".into(),
            routing_key: "celery".into(),
            mandatory: true,
            immediate: false,
        };
        prop_assert_eq!(Method::decode(method.payload), Ok(publish.into()));
        let header = ContentHeader::decode(header.payload).expect("a header");
        prop_assert_eq!(header.body_size, body.len() as u64);
        prop_assert_eq!(Properties::decode(header.property_list), Ok(json()));
        let arrived: Vec<u8> = pieces.iter().flat_map(|frame| frame.payload).copied().collect();
        prop_assert_eq!(arrived, body);
        prop_assert!(pieces.iter().all(|frame| frame.payload.len() <= 4096 - 8));
    }
}

#[test]
fn messages_of_two_channels_may_interleave_frame_by_frame() {
    let mut pair = Pair::with_channel();
    pair.open_channel();
    let (one, two) = (vec![1; 9000], vec![2; 9000]);
    let (first, second) = (
        message(1, deliver(), &json(), &one),
        message(2, deliver(), &json(), &two),
    );
    for (a, b) in frames(&first).iter().zip(frames(&second)) {
        pair.server_sends_frame(a.kind, a.channel, a.payload);
        pair.server_sends_frame(b.kind, b.channel, b.payload);
    }
    expect_delivery(&mut pair, &one);
    expect_delivery(&mut pair, &two);
}

#[test]
fn an_empty_body_frame_is_harmless() {
    let mut pair = Pair::with_channel();
    let bytes = message(1, deliver(), &json(), b"ab");
    let [method, header, _] = frames(&bytes)[..] else {
        panic!("three frames")
    };
    pair.server_sends_frame(FrameKind::Method, 1, method.payload);
    pair.server_sends_frame(FrameKind::Header, 1, header.payload);
    for piece in [&b""[..], b"a", b"", b"b"] {
        pair.server_sends_frame(FrameKind::Body, 1, piece);
    }
    expect_delivery(&mut pair, b"ab");
}

#[test]
fn a_message_that_is_too_large_is_skipped_and_named() {
    let mut pair = Pair::opened(Options {
        max_message_size: 9000,
        ..Options::default()
    });
    pair.open_channel();
    pair.server_sends_message(1, deliver(), &json(), &[7; 9001]);
    pair.server_sends_message(1, deliver(), &json(), &[8; 9000]);
    let Some(Event::Malformed(malformed)) = pair.client.poll_event() else {
        panic!("a message is too large")
    };
    assert_eq!(
        malformed.error,
        MessageError::TooLarge {
            size: 9001,
            limit: 9000
        }
    );
    assert_eq!(
        (malformed.consumer_tag, malformed.routing_key),
        ("None4".into(), "celery".into())
    );
    let tag = malformed.tag.expect("it was delivered");
    expect_delivery(&mut pair, &[8; 9000]);
    assert!(pair.client.reject(tag, false));
}

#[test]
fn a_limit_below_one_frame_counts_as_well() {
    let mut pair = Pair::opened(Options {
        max_message_size: 10,
        ..Options::default()
    });
    pair.open_channel();
    pair.server_sends_message(1, deliver(), &json(), &[7; 11]);
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::Malformed(_))
    ));
    pair.server_sends_message(1, deliver(), &json(), &[7; 10]);
    expect_delivery(&mut pair, &[7; 10]);
}

#[test]
fn a_malformed_header_table_costs_a_message_only() {
    let mut pair = Pair::with_channel();
    let headers = Some(Table::from_bytes(b"\x04task?"));
    let properties = Properties {
        headers,
        ..Properties::default()
    };
    pair.server_sends_message(1, deliver(), &properties, b"[]");
    let Some(Event::Deliver(delivery)) = pair.client.poll_event() else {
        panic!("the message comes")
    };
    let headers = delivery.properties.headers.expect("they are there");
    assert_eq!(headers.find("task"), Err(DecodeError::UnknownTag(b'?')));
    let tag = delivery.tag;
    assert!(pair.client.reject(tag, false));
    pair.server_sends_message(1, deliver(), &json(), b"next");
    expect_delivery(&mut pair, b"next");
}

#[test]
fn a_malformed_property_list_costs_a_message_only() {
    for body in [&b""[..], b"short", &[7; 9000]] {
        let mut pair = Pair::with_channel();
        let mut bytes = message(1, deliver(), &Properties::default(), &[]);
        bytes.truncate(frames(&bytes)[0].payload.len() + 8);
        put_header(&mut bytes, 1, body.len() as u64, &[0x80, 0, 200, b'x']);
        for payload in body.chunks(4000) {
            Frame {
                kind: FrameKind::Body,
                channel: 1,
                payload,
            }
            .encode(&mut bytes);
        }
        pair.client.handle_bytes(&bytes, pair.now);
        let Some(Event::Malformed(malformed)) = pair.client.poll_event() else {
            panic!("its properties are cut short")
        };
        assert_eq!(
            malformed.error,
            MessageError::Properties(DecodeError::Truncated)
        );
        assert_eq!(malformed.tag.map(|tag| tag.number), Some(1));
        pair.expect_no_event();
    }
}

#[test]
fn frames_out_of_order_end_the_connection() {
    let bytes = message(1, deliver(), &json(), &[7; 9000]);
    let [method, header, body, ..] = frames(&bytes)[..] else {
        panic!("three frames at least")
    };
    let out_of_order = [
        vec![header],
        vec![body],
        vec![method, body],
        vec![method, method],
        vec![method, header, header],
        vec![method, header, method],
        vec![method, header, body, body, body],
    ];
    for frames in out_of_order {
        let mut pair = Pair::with_channel();
        for frame in &frames {
            pair.server_sends_frame(frame.kind, frame.channel, frame.payload);
        }
        let reason = pair.expect_closed();
        let unexpected = ConnectionError::UnexpectedFrame {
            channel: 1,
            kind: frames.last().expect("there is one").kind,
        };
        assert_eq!(reason, CloseReason::Protocol(unexpected));
    }
}

#[test]
fn a_queue_that_is_asked_has_a_message_or_none() {
    let mut pair = Pair::with_channel();
    for _ in 0..2 {
        let get = basic::Get {
            queue: "celery".into(),
            no_ack: false,
        };
        pair.client.call(1, get).expect("it is open");
    }
    let got = basic::GetOk {
        delivery_tag: 4,
        message_count: 2,
        ..Default::default()
    };
    pair.server_sends_message(1, got, &json(), b"[]");
    pair.server_sends(1, basic::GetEmpty {});
    let Some(Event::GetOk {
        delivery,
        message_count: 2,
    }) = pair.client.poll_event()
    else {
        panic!("a message is to come")
    };
    assert_eq!((delivery.tag.number, delivery.body), (4, &b"[]"[..]));
    pair.expect_event(&Event::GetEmpty { channel: 1 });
    pair.server_sends_message(1, got, &json(), b"[]");
    assert!(
        matches!(pair.expect_closed(), CloseReason::Protocol(_)),
        "nobody asked"
    );
}

#[test]
fn what_cannot_be_routed_comes_back() {
    let mut pair = Pair::with_channel();
    let returned = basic::Return {
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
        exchange: "".into(),
        routing_key: "nowhere".into(),
    };
    pair.server_sends_message(1, returned, &json(), b"[]");
    pair.expect_event(&Event::Return(Returned {
        channel: 1,
        code: 312,
        text: "NO_ROUTE".into(),
        exchange: "".into(),
        routing_key: "nowhere".into(),
        properties: json(),
        body: b"[]",
    }));
}

#[test]
fn what_does_not_fit_in_one_frame_is_refused_and_nothing_is_sent() {
    let mut pair = Pair::with_channel();
    let long = "x".repeat(4000);
    let mut headers = TableBuf::new();
    headers
        .insert("argsrepr", Value::from(&long))
        .expect("short key");
    headers
        .insert("kwargsrepr", Value::from(&long))
        .expect("short key");
    let properties = Properties {
        headers: Some(headers.as_table()),
        ..json()
    };
    let refused = pair
        .client
        .publish(1, "", "celery", false, &properties, b"[]");
    let Err(CommandError::Encode(EncodeError::FrameTooLarge {
        what,
        size,
        frame_max,
    })) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((what, frame_max), ("content header", TUNE.frame_max));
    assert!(size > 8000);

    let too_long = "k".repeat(256);
    let refused = pair.client.publish(1, "", &too_long, false, &json(), b"[]");
    let error = refused.expect_err("a routing key of 256 octets");
    assert!(error.to_string().contains("256 octets"), "{error}");
    let arguments = headers.as_table();
    let declare = celeriac::amqp::method::queue::Declare {
        arguments,
        ..Default::default()
    };
    let error = pair
        .client
        .call(1, declare)
        .expect_err("arguments of 8000 octets");
    assert!(
        error
            .to_string()
            .starts_with("queue.declare needs a frame of 80"),
        "{error}"
    );
    pair.expect_nothing_sent();
    pair.server_sends(1, celeriac::amqp::method::queue::DeclareOk::default());
    assert!(
        matches!(pair.expect_closed(), CloseReason::Protocol(_)),
        "no answer was to come"
    );
}
