//! Bytes captured between a Celery worker and RabbitMQ.

use std::fs;
use std::path::Path;

use celeriac::amqp::connection::{Connection, Event, Options};
use celeriac::amqp::frame::{self, Frame, FrameKind, PROTOCOL_HEADER};
use celeriac::amqp::method::{Method, channel};
use celeriac::amqp::props::{ContentHeader, Properties};
use celeriac::amqp::table::Table;

use crate::pair::{Pair, frames};

pub(crate) fn captures() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/raw");
    let mut captures: Vec<_> = fs::read_dir(directory)
        .expect("the captures are there")
        .map(|entry| {
            let entry = entry.expect("a readable directory");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a readable capture"))
        })
        .collect();
    captures.sort();
    assert_eq!(captures.len(), 8);
    captures
}

fn capture(name: &str) -> Vec<u8> {
    let found = captures().into_iter().find(|capture| capture.0 == name);
    found.expect("there is such a capture").1
}

/// Decodes everything in a frame and encodes it again.
fn encode_again(frame: &Frame<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    match frame.kind {
        FrameKind::Method => {
            let method = Method::decode(frame.payload).expect("a method");
            method.encode(&mut payload).expect("it was decoded");
        }
        FrameKind::Header => {
            let header = ContentHeader::decode(frame.payload).expect("a header");
            let properties = Properties::decode(header.property_list).expect("properties");
            properties
                .headers
                .map_or(Ok(()), Table::check)
                .expect("a well-formed table");
            ContentHeader {
                property_list: &[],
                ..header
            }
            .encode(&mut payload);
            properties.encode(&mut payload).expect("it was decoded");
        }
        FrameKind::Body | FrameKind::Heartbeat => payload.extend_from_slice(frame.payload),
    }
    let mut again = Vec::new();
    Frame {
        payload: &payload,
        ..*frame
    }
    .encode(&mut again);
    again
}

#[test]
fn every_frame_encodes_to_the_octets_it_came_from() {
    for (name, bytes) in captures() {
        let mut again = match bytes.starts_with(&PROTOCOL_HEADER) {
            true => PROTOCOL_HEADER.to_vec(),
            false => Vec::new(),
        };
        let frames = frames(&bytes);
        assert!(frames.len() > 5, "{name}");
        again.extend(frames.iter().flat_map(encode_again));
        assert_eq!(again, bytes, "{name}");
    }
}

#[test]
fn every_prefix_of_a_frame_needs_more() {
    for (name, bytes) in captures() {
        let mut rest = bytes.strip_prefix(&PROTOCOL_HEADER).unwrap_or(&bytes);
        while let Ok(Some((_, size))) = frame::decode(rest, 131_072) {
            for length in 0..size {
                assert_eq!(frame::decode(&rest[..length], 131_072), Ok(None), "{name}");
            }
            rest = &rest[size..];
        }
        assert!(rest.is_empty(), "{name}");
    }
}

/// Feeds a client the server's side of a capture, cut into reads by `cut`, and returns its events. The
/// client calls what makes the captured answers expected.
fn replay(server: &[u8], mut cut: impl FnMut() -> usize) -> Vec<String> {
    let now = Pair::new(Options::default()).now;
    let mut client = Connection::new(Options::default(), 1, now);
    let mut events = Vec::new();
    let mut opened = Vec::new();
    let answers = answers(server);
    let mut rest = server;
    while !rest.is_empty() {
        let (read, after) = rest.split_at(cut().clamp(1, rest.len()));
        client.handle_bytes(read, now);
        loop {
            let ready = match client.poll_event() {
                None => break,
                Some(event) => {
                    events.push(format!("{event:?}"));
                    matches!(event, Event::Open { .. })
                }
            };
            if ready {
                // Every channel that the capture has, with every call that it answers.
                let highest = answers
                    .iter()
                    .map(|(channel, _)| *channel)
                    .max()
                    .unwrap_or(0);
                opened = (1..=highest).map(|_| client.open_channel()).collect();
                for (channel, call) in &answers {
                    client.call(*channel, *call).expect("it can be called");
                }
            }
        }
        rest = after;
    }
    assert!(opened.iter().all(Result::is_ok));
    events
}

/// For each answer in the server's stream, a method that it answers.
fn answers(server: &[u8]) -> Vec<(u16, Method<'static>)> {
    use celeriac::amqp::method::{basic, exchange, queue};
    let call = |frame: &Frame<'_>| {
        let method: Method<'static> = match Method::decode(frame.payload).ok()? {
            Method::QueueDeclareOk(_) => queue::Declare::default().into(),
            Method::QueueBindOk(_) => queue::Bind::default().into(),
            Method::QueueDeleteOk(_) => queue::Delete::default().into(),
            Method::ExchangeDeclareOk(_) => exchange::Declare::default().into(),
            Method::BasicQosOk(_) => basic::Qos::default().into(),
            Method::BasicConsumeOk(_) => basic::Consume::default().into(),
            Method::BasicCancelOk(_) => basic::Cancel::default().into(),
            _ => return None,
        };
        Some((frame.channel, method))
    };
    frames(server)
        .iter()
        .filter(|frame| frame.kind == FrameKind::Method)
        .filter_map(call)
        .collect()
}

/// The server's stream up to the first close-ok of a channel, which `replay` does not ask for.
fn before_close(server: &[u8]) -> &[u8] {
    let mut length = 0;
    while let Ok(Some((frame, size))) = frame::decode(&server[length..], 0) {
        let is_method = frame.kind == FrameKind::Method;
        if is_method && Method::decode(frame.payload) == Ok(channel::CloseOk {}.into()) {
            break;
        }
        length += size;
    }
    &server[..length]
}

#[test]
fn a_workers_life_is_the_same_however_it_is_cut() {
    let capture = capture("w1.server.bin");
    let server = before_close(&capture);
    let whole = replay(server, || usize::MAX);
    let deliveries = whole
        .iter()
        .filter(|event| event.starts_with("Deliver"))
        .count();
    assert!(deliveries >= 25, "{deliveries} deliveries");
    for step in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(replay(server, || step), whole, "reads of {step} octets");
    }
}

#[test]
fn every_split_point_gives_the_same_events() {
    for name in ["w2.server.bin", "w3.server.bin", "w4.server.bin"] {
        let capture = capture(name);
        let server = before_close(&capture);
        let whole = replay(server, || usize::MAX);
        assert!(whole.len() >= 2, "{name}");
        for split in 1..server.len() {
            let mut first = true;
            let cut = || {
                if std::mem::take(&mut first) {
                    split
                } else {
                    usize::MAX
                }
            };
            assert_eq!(replay(server, cut), whole, "{name} split at {split}");
        }
    }
}
