//! The AMQP codec beside amq-protocol's, on what RabbitMQ sent to a Celery worker; and what a
//! delivery with its acknowledgement costs on a whole connection.
//!
//! `cargo bench --bench codec`
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::Instant;

use amq_protocol::frame::parse_frame;
use celeriac::amqp::connection::{Connection, Event, Options};
use celeriac::amqp::frame::{self, Frame, FrameKind};
use celeriac::amqp::method::{Method, channel, connection};
use celeriac::amqp::props::ContentHeader;
use celeriac::amqp::table::{Array, Table, Value};
use celeriac::amqp::{Properties, ShortStr};
use celeriac_bench::{Contender, compare};

/// What the broker sent on the worker's consuming connection.
const CAPTURE: &[u8] = include_bytes!("../tests/golden/raw/w1.server.bin");

/// How many deliveries come with one read.
const BATCH: usize = 32;

fn main() {
    let ratio = decode();
    let nanoseconds = deliver_and_acknowledge();
    publish();
    println!("\namq-protocol / celeriac: {ratio:.1} to decode (the bar is 5.0)");
    println!("delivery and acknowledgement: {nanoseconds:.0} ns (the bar is 1000)");
}

/// The average frame of the capture, every value of every table read.
fn decode() -> f64 {
    let frames = split(CAPTURE);
    let mut ours = frames.iter().cycle();
    let mut theirs = frames.iter().cycle();
    let times = compare(
        &format!("decode the average of {} captured frames", frames.len()),
        vec![
            Contender::new("celeriac", || visit_frame(ours.next().unwrap())),
            Contender::new("amq-protocol", || {
                parse_frame(*theirs.next().unwrap()).unwrap()
            }),
        ],
    );
    times[1] / times[0]
}

fn split(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Ok(Some((_, size))) = frame::decode(rest, 0) {
        frames.push(&rest[..size]);
        rest = &rest[size..];
    }
    frames
}

fn visit_frame(bytes: &[u8]) {
    let (frame, _) = frame::decode(bytes, 131_072).unwrap().unwrap();
    match frame.kind {
        FrameKind::Method => match black_box(Method::decode(frame.payload).unwrap()) {
            Method::ConnectionStart(start) => visit_table(start.server_properties),
            _ => {}
        },
        FrameKind::Header => {
            let header = ContentHeader::decode(frame.payload).unwrap();
            let properties = black_box(Properties::decode(header.property_list).unwrap());
            properties.headers.into_iter().for_each(visit_table);
        }
        FrameKind::Body | FrameKind::Heartbeat => drop(black_box(frame)),
    }
}

fn visit_table(table: Table<'_>) {
    for pair in table {
        let (key, value): (ShortStr<'_>, Value<'_>) = pair.unwrap();
        black_box(&key);
        visit_value(value);
    }
}

fn visit_array(array: Array<'_>) {
    array
        .into_iter()
        .for_each(|value| visit_value(value.unwrap()));
}

fn visit_value(value: Value<'_>) {
    black_box(&value);
    match value {
        Value::Table(table) => visit_table(table),
        Value::Array(array) => visit_array(array),
        _ => {}
    }
}

/// A captured task through a connection: received, reported, acknowledged, sent.
fn deliver_and_acknowledge() -> f64 {
    let now = Instant::now();
    let task = captured_task();
    let batch = task.repeat(BATCH);
    let receive = |client: &mut Connection, read_headers: bool| {
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let space = client.recv_space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            client.handle_received(count, now);
            rest = &rest[count..];
            while let Some(event) = client.poll_event() {
                let Event::Deliver(delivery) = event else {
                    continue;
                };
                if read_headers {
                    delivery
                        .properties
                        .headers
                        .into_iter()
                        .for_each(visit_table);
                }
                let tag = delivery.tag;
                client.ack(tag, false);
            }
        }
        let sent = client.poll_transmit().len();
        client.transmitted(sent, now);
        assert_eq!(sent, 21 * BATCH);
    };
    let (mut lazy, mut eager) = (open(now), open(now));
    let times = compare(
        &format!(
            "{BATCH} deliveries of {} octets, each acknowledged",
            task.len()
        ),
        vec![
            Contender::new("headers not read", || receive(&mut lazy, false)),
            Contender::new("every header read", || receive(&mut eager, true)),
        ],
    );
    times[1] / BATCH as f64
}

/// The frames of the first captured message that has Celery's headers, moved to channel 1.
fn captured_task() -> Vec<u8> {
    let frames: Vec<Frame<'_>> = split(CAPTURE)
        .iter()
        .map(|bytes| frame::decode(bytes, 0).unwrap().unwrap().0)
        .collect();
    let is_task = |frames: &&[Frame<'_>]| {
        frames[0].kind == FrameKind::Method
            && frames[1].kind == FrameKind::Header
            && frames[1].payload.windows(4).any(|octets| octets == b"task")
    };
    let mut task = Vec::new();
    for frame in frames.windows(3).find(is_task).unwrap() {
        Frame {
            channel: 1,
            ..*frame
        }
        .encode(&mut task);
    }
    task
}

/// A client with one open channel.
fn open(now: Instant) -> Connection {
    let mut client = Connection::new(Options::default(), 1, now);
    let start = connection::Start {
        version_minor: 9,
        mechanisms: b"PLAIN",
        ..Default::default()
    };
    let tune = connection::Tune {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 60,
    };
    receive(&mut client, 0, start.into(), now);
    receive(&mut client, 0, tune.into(), now);
    receive(&mut client, 0, connection::OpenOk {}.into(), now);
    client.open_channel().unwrap();
    receive(&mut client, 1, channel::OpenOk {}.into(), now);
    client.transmitted(client.poll_transmit().len(), now);
    client
}

fn receive(client: &mut Connection, channel: u16, method: Method<'_>, now: Instant) {
    let mut bytes = Vec::new();
    frame::put_method(&mut bytes, channel, &method, 0).unwrap();
    client.handle_bytes(&bytes, now);
    while client.poll_event().is_some() {}
}

/// A task message on its way out.
fn publish() {
    let now = Instant::now();
    let task = captured_task();
    let frames = split(&task);
    let payload = |index: usize| frame::decode(frames[index], 0).unwrap().unwrap().0.payload;
    let header = ContentHeader::decode(payload(1)).unwrap();
    let properties = Properties::decode(header.property_list).unwrap();
    let body = payload(2);
    let mut client = open(now);
    compare(
        "publish the same task",
        vec![Contender::new("celeriac", || {
            client
                .publish(1, "", "celery", false, &properties, body)
                .unwrap();
            client.transmitted(client.poll_transmit().len(), now);
        })],
    );
}
