//! A client under a server that sends anything at any time.

use std::time::{Duration, Instant};

use crate::amqp::connection::{Connection, DeliveryTag, Event, Options, State};
use crate::amqp::frame;
use crate::amqp::method::{Method, basic, channel, confirm, connection, queue};
use crate::amqp::props::Properties;

/// A client's connection: nothing a server sends makes it panic, wait forever or hoard; events do
/// not depend on how octets are cut into reads; the end comes once and last.
///
/// The first octet chooses whether a proper handshake comes first, the second how reads are cut;
/// the rest is what the server sends, and then, read as commands, what else happens.
pub fn fuzz_connection(data: &[u8], now: Instant) {
    let [mode, cut, rest @ ..] = data else { return };
    let opened = mode & 1 == 1;

    let mut whole = Client::new(opened, now);
    whole.receive(rest);
    whole.end();
    let mut pieces = Client::new(opened, now);
    for piece in rest.chunks(usize::from(*cut) + 1) {
        pieces.receive(piece);
    }
    pieces.end();
    assert_eq!(whole.log, pieces.log);
    assert_eq!(
        whole.connection.poll_transmit(),
        pieces.connection.poll_transmit()
    );

    let mut client = Client::new(opened, now);
    let mut rest = rest;
    while let [command, after @ ..] = rest {
        rest = client.act(*command, after);
    }
    client.end();
}

struct Client {
    connection: Connection,
    now: Instant,
    /// Every event so far.
    log: Vec<String>,
    tags: Vec<DeliveryTag>,
    closed: bool,
    /// Octets received, and sent on somebody's command.
    traffic: usize,
}

impl Client {
    fn new(opened: bool, now: Instant) -> Self {
        let options = Options {
            max_message_size: 1000,
            ..Options::default()
        };
        let mut client = Self {
            connection: Connection::new(options, 7, now),
            now,
            log: Vec::new(),
            tags: Vec::new(),
            closed: false,
            traffic: 0,
        };
        if opened {
            client.open();
        }
        client
    }

    /// What a proper server sends up to two open channels, the first of which waits for a message.
    fn open(&mut self) {
        let start = connection::Start {
            version_minor: 9,
            mechanisms: b"PLAIN",
            ..Default::default()
        };
        let tune = connection::Tune {
            channel_max: 3,
            frame_max: 4096,
            heartbeat: 10,
        };
        self.receive_methods(&[
            (0, start.into()),
            (0, tune.into()),
            (0, connection::OpenOk {}.into()),
        ]);
        for _ in 0..2 {
            self.connection.open_channel().expect("there are three");
        }
        self.receive_methods(&[
            (1, channel::OpenOk {}.into()),
            (2, channel::OpenOk {}.into()),
        ]);
        self.connection
            .call(1, basic::Get::default())
            .expect("the channel is open");
        assert_eq!(self.connection.state(), State::Open);
    }

    fn receive_methods(&mut self, methods: &[(u16, Method<'_>)]) {
        let mut bytes = Vec::new();
        for (channel, method) in methods {
            frame::put_method(&mut bytes, *channel, method, 0).expect("it is short");
        }
        self.receive(&bytes);
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.traffic += bytes.len();
        self.connection.handle_bytes(bytes, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            assert!(!self.closed, "{event:?} after the end");
            self.log.push(format!("{event:?}"));
            match event {
                Event::Deliver(delivery) => {
                    assert!(delivery.body.len() <= 1000);
                    self.tags.push(delivery.tag);
                }
                Event::Malformed(message) => self.tags.extend(message.tag),
                Event::Closed(_) => self.closed = true,
                _ => {}
            }
        }
        let is_closed = self.connection.state() == State::Closed;
        assert_eq!(self.closed, is_closed);
        assert_eq!(
            self.connection.poll_timeout().is_none(),
            is_closed || self.waits_forever()
        );
        // Each frame of a server (8 octets at least) makes us send one of 300 octets at most.
        assert!(self.connection.pending_output() <= 1000 + self.traffic * 40);
    }

    /// An open connection may have agreed on no heartbeats.
    fn waits_forever(&self) -> bool {
        self.connection.state() == State::Open && self.connection.negotiated().heartbeat == 0
    }

    /// Carries out one command, and returns what it left of the octets after it.
    fn act<'d>(&mut self, command: u8, after: &'d [u8]) -> &'d [u8] {
        let argument = after.first().copied().unwrap_or_default();
        let channel = u16::from(argument % 4);
        self.traffic += 64;
        match command % 16 {
            0..6 => {
                let (bytes, after) = after.split_at(usize::from(command).min(after.len()));
                self.receive(bytes);
                return after;
            }
            6 => self.now += Duration::from_secs(u64::from(argument) / 8),
            7 => drop(self.connection.open_channel()),
            8 => drop(self.connection.close_channel(channel)),
            9 => {
                let body = vec![argument; usize::from(argument) * 40];
                self.traffic += body.len();
                let properties = Properties::default();
                drop(
                    self.connection
                        .publish(channel, "", "q", true, &properties, &body),
                );
            }
            10 => {
                let tag = self.tags.pop();
                tag.map(|tag| self.connection.ack(tag, argument & 4 == 0));
            }
            11 => drop(self.connection.call(channel, queue::Declare::default())),
            12 => drop(self.connection.call(
                channel,
                confirm::Select {
                    nowait: argument > 9,
                },
            )),
            13 => {
                let count = self.connection.pending_output().min(usize::from(argument));
                self.connection.transmitted(count, self.now);
            }
            14 if argument == 0 => self.connection.close(200, "bye", self.now),
            15 if argument == 0 => self.connection.handle_eof(),
            _ => {}
        }
        self.connection.handle_timeout(self.now);
        self.drain();
        after
    }

    fn end(&mut self) {
        self.connection.handle_eof();
        self.drain();
        assert!(self.closed);
        assert!(
            self.tags
                .iter()
                .all(|tag| !self.connection.ack(*tag, false))
        );
    }
}
