//! A client and the script of its server, in virtual time.

use std::time::{Duration, Instant};

use celeriac::amqp::connection::{Connection, Event, Options, State, Tune};
use celeriac::amqp::frame::{self, Frame, FrameKind, PROTOCOL_HEADER};
use celeriac::amqp::method::{Method, channel, connection};
use celeriac::amqp::table::TableBuf;
use celeriac::amqp::{Properties, Table};

pub(crate) const EPOCH: u32 = 5;
pub(crate) const TUNE: Tune = Tune {
    channel_max: 2047,
    frame_max: 4096,
    heartbeat: 60,
};

pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) now: Instant,
}

impl Pair {
    /// A client that has said nothing yet.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn new(options: Options) -> Self {
        let now = Instant::now();
        Self {
            client: Connection::new(options, EPOCH, now),
            now,
        }
    }

    /// A client whose connection is open.
    pub(crate) fn opened(options: Options) -> Self {
        let mut pair = Self::new(options);
        pair.sent();
        pair.server_sends(0, start(&server_properties().as_table(), b"AMQPLAIN PLAIN"));
        pair.server_sends(0, TUNE);
        pair.server_sends(0, connection::OpenOk {});
        assert!(matches!(pair.client.poll_event(), Some(Event::Open { .. })));
        pair.expect_no_event();
        pair.sent();
        pair
    }

    /// The same with one open channel, number 1.
    pub(crate) fn with_channel() -> Self {
        let mut pair = Self::opened(Options::default());
        pair.open_channel();
        pair
    }

    pub(crate) fn open_channel(&mut self) -> u16 {
        let number = self.client.open_channel().expect("there are channels");
        self.expect_sent(&[(number, channel::Open {}.into())]);
        self.server_sends(number, channel::OpenOk {});
        self.expect_event(&Event::ChannelOpen { channel: number });
        number
    }

    pub(crate) fn server_sends<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut bytes = Vec::new();
        frame::put_method(&mut bytes, channel, &method.into(), 0).expect("it can be encoded");
        self.client.handle_bytes(&bytes, self.now);
    }

    pub(crate) fn server_sends_message<'m>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'m>>,
        properties: &Properties<'_>,
        body: &[u8],
    ) {
        let bytes = message(channel, method, properties, body);
        self.client.handle_bytes(&bytes, self.now);
    }

    pub(crate) fn server_sends_frame(&mut self, kind: FrameKind, channel: u16, payload: &[u8]) {
        let mut bytes = Vec::new();
        Frame {
            kind,
            channel,
            payload,
        }
        .encode(&mut bytes);
        self.client.handle_bytes(&bytes, self.now);
    }

    /// Everything the client sent since the last time.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        let bytes = self.client.poll_transmit().to_vec();
        self.client.transmitted(bytes.len(), self.now);
        bytes
    }

    #[track_caller]
    pub(crate) fn expect_sent(&mut self, expected: &[(u16, Method<'_>)]) {
        assert_eq!(methods(&self.sent()), expected);
    }

    #[track_caller]
    pub(crate) fn expect_nothing_sent(&mut self) {
        self.expect_sent(&[]);
    }

    #[track_caller]
    pub(crate) fn expect_event(&mut self, expected: &Event<'_>) {
        assert_eq!(self.client.poll_event().as_ref(), Some(expected));
    }

    #[track_caller]
    pub(crate) fn expect_no_event(&mut self) {
        assert_eq!(self.client.poll_event(), None);
    }

    pub(crate) fn advance(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
        self.client.handle_timeout(self.now);
    }

    /// Seconds until the next deadline.
    pub(crate) fn timeout(&self) -> Option<f64> {
        self.client
            .poll_timeout()
            .map(|deadline| (deadline - self.now).as_secs_f64())
    }

    /// The end came, as expected, and nothing follows it.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) -> celeriac::amqp::connection::CloseReason {
        let Some(Event::Closed(reason)) = self.client.poll_event() else {
            panic!("it is not closed")
        };
        self.server_sends(0, connection::Unblocked {});
        self.expect_no_event();
        assert_eq!(
            (self.client.state(), self.client.poll_timeout()),
            (State::Closed, None)
        );
        reason
    }
}

pub(crate) fn server_properties() -> TableBuf {
    let mut properties = TableBuf::new();
    properties.insert("product", "RabbitMQ").expect("short");
    properties
}

pub(crate) fn start<'m>(properties: &Table<'m>, mechanisms: &'m [u8]) -> connection::Start<'m> {
    connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: *properties,
        mechanisms,
        locales: b"en_US",
    }
}

pub(crate) fn message<'m>(
    channel: u16,
    method: impl Into<Method<'m>>,
    properties: &Properties<'_>,
    body: &[u8],
) -> Vec<u8> {
    let (mut bytes, frame_max) = (Vec::new(), TUNE.frame_max);
    frame::put_message(
        &mut bytes,
        channel,
        &method.into(),
        properties,
        body,
        frame_max,
    )
    .expect("it can be encoded");
    bytes
}

/// The frames of a stream, its protocol header left out.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut rest = bytes.strip_prefix(&PROTOCOL_HEADER).unwrap_or(bytes);
    let mut frames = Vec::new();
    while let Some((frame, size)) = frame::decode(rest, 0).expect("these are frames") {
        frames.push(frame);
        rest = &rest[size..];
    }
    assert!(rest.is_empty(), "half a frame");
    frames
}

/// The methods of a stream that has nothing else.
pub(crate) fn methods(bytes: &[u8]) -> Vec<(u16, Method<'_>)> {
    let mut methods = Vec::new();
    for frame in frames(bytes) {
        assert_eq!(frame.kind, FrameKind::Method);
        methods.push((
            frame.channel,
            Method::decode(frame.payload).expect("it is a method"),
        ));
    }
    methods
}
