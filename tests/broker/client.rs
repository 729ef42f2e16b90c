//! A client of the crate's own codec that waits: every step has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use celeriac::amqp::connection::Options;
use celeriac::amqp::method::{Method, basic, confirm, queue};
use celeriac::amqp::table::TableBuf;
use celeriac::amqp::{Connection, Event, Properties};
use celeriac::sys::clock;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing must happen to count as nothing.
pub(crate) const QUIET: Duration = Duration::from_millis(50);

/// A message, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) tag: celeriac::amqp::connection::DeliveryTag,
    pub(crate) consumer: String,
    pub(crate) redelivered: bool,
    pub(crate) body: String,
    /// The headers, as they are shown.
    pub(crate) headers: String,
}

/// What else a broker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Message(Got),
    Empty,
    Reply(String),
    Declared(String, u32, u32),
    Count(u32),
    Confirm {
        number: u64,
        multiple: bool,
        acked: bool,
    },
    Returned(String),
    Cancelled(String),
    ChannelClosed(u16, String),
    Blocked,
    Unblocked,
    Closed(String),
}

/// A connection with one channel, number 1.
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) connection: Connection,
}

pub(crate) fn options() -> Options {
    Options {
        heartbeat: 0,
        ..Options::default()
    }
}

impl Client {
    /// Connects, logs in, opens a channel.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::reach(address, options());
        client.wait(|event| matches!(event, Event::Open { .. }).then_some(()));
        client.open_channel();
        client
    }

    /// Connects, and says what the options say.
    pub(crate) fn reach(address: SocketAddr, options: Options) -> Self {
        let stream = TcpStream::connect(address).expect("a broker");
        stream.set_nodelay(true).expect("nodelay");
        stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .expect("a timeout");
        let connection = Connection::new(options, 0, clock::now());
        Self { stream, connection }
    }

    pub(crate) fn open_channel(&mut self) -> u16 {
        let channel = self.connection.open_channel().expect("open");
        self.wait(|event| matches!(event, Event::ChannelOpen { .. }).then_some(()));
        channel
    }

    /// Sends what is to be sent; `false` when the broker does not listen any more.
    pub(crate) fn send(&mut self) -> bool {
        while !self.connection.poll_transmit().is_empty() {
            match self.stream.write(self.connection.poll_transmit()) {
                Ok(count) => self.connection.transmitted(count, clock::now()),
                Err(_) => return false,
            }
        }
        true
    }

    /// The first event that `wanted` takes, within `patience`.
    fn try_wait<T>(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(&Event<'_>) -> Option<T>,
    ) -> Option<T> {
        let deadline = clock::now() + patience;
        loop {
            while let Some(event) = self.connection.poll_event() {
                if let Some(found) = wanted(&event) {
                    return Some(found);
                }
            }
            if clock::now() > deadline {
                return None;
            }
            self.exchange();
        }
    }

    /// Sends and hears what there is at the moment.
    pub(crate) fn exchange(&mut self) {
        self.send();
        match self.stream.read(self.connection.recv_space()) {
            Ok(0) => self.connection.handle_eof(),
            Ok(count) => self.connection.handle_received(count, clock::now()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.connection.handle_eof(),
        }
        self.connection.handle_timeout(clock::now());
    }

    #[track_caller]
    pub(crate) fn wait<T>(&mut self, wanted: impl FnMut(&Event<'_>) -> Option<T>) -> T {
        self.try_wait(PATIENCE, wanted).expect("an answer in time")
    }

    /// What the broker says next.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Said {
        self.wait(|event| Some(said(event)))
    }

    /// What the broker says until it is quiet.
    pub(crate) fn all(&mut self) -> Vec<Said> {
        let mut all = Vec::new();
        while let Some(next) = self.try_wait(QUIET, |event| Some(said(event))) {
            let over = matches!(next, Said::Closed(_));
            all.push(next);
            if over {
                break;
            }
        }
        all
    }

    /// The bodies of the messages that come until it is quiet.
    pub(crate) fn bodies(&mut self) -> Vec<String> {
        let messages = self.all().into_iter().filter_map(|said| match said {
            Said::Message(got) => Some(got.body),
            _ => None,
        });
        messages.collect()
    }

    #[track_caller]
    pub(crate) fn message(&mut self) -> Got {
        match self.next() {
            Said::Message(got) => got,
            other => panic!("no message but {other:?}"),
        }
    }

    /// Calls a method on channel 1 and takes the answer.
    #[track_caller]
    pub(crate) fn call<'m>(&mut self, method: impl Into<Method<'m>>) -> Said {
        self.start(1, method);
        self.next()
    }

    /// Calls a method and does not wait.
    pub(crate) fn start<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        self.connection.call(channel, method).expect("callable");
        self.send();
    }

    #[track_caller]
    pub(crate) fn declare(&mut self, name: &str) {
        self.declare_with(name, &TableBuf::new());
    }

    #[track_caller]
    pub(crate) fn declare_with(&mut self, name: &str, arguments: &TableBuf) {
        let said = self.call(queue::Declare {
            queue: name.into(),
            durable: true,
            arguments: arguments.as_table(),
            ..Default::default()
        });
        assert!(matches!(said, Said::Declared(..)), "{said:?}");
    }

    /// Messages and consumers of a queue.
    #[track_caller]
    pub(crate) fn count(&mut self, name: &str) -> (u32, u32) {
        let said = self.call(queue::Declare {
            queue: name.into(),
            passive: true,
            ..Default::default()
        });
        match said {
            Said::Declared(_, messages, consumers) => (messages, consumers),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn publish(&mut self, queue: &str, body: &str) {
        self.publish_with(queue, &Properties::default(), body);
    }

    pub(crate) fn publish_with(&mut self, queue: &str, properties: &Properties<'_>, body: &str) {
        self.connection
            .publish(1, "", queue, false, properties, body.as_bytes())
            .expect("publishable");
        self.send();
    }

    #[track_caller]
    pub(crate) fn confirms(&mut self) {
        let said = self.call(confirm::Select { nowait: false });
        assert_eq!(said, Said::Reply("confirm.select-ok".into()));
    }

    #[track_caller]
    pub(crate) fn prefetch(&mut self, count: u16, global: bool) {
        let said = self.call(basic::Qos {
            prefetch_count: count,
            global,
            prefetch_size: 0,
        });
        assert_eq!(said, Said::Reply("basic.qos-ok".into()));
    }

    #[track_caller]
    pub(crate) fn consume(&mut self, queue: &str, tag: &str) {
        self.consume_with(queue, tag, false, &TableBuf::new());
    }

    #[track_caller]
    pub(crate) fn consume_with(
        &mut self,
        queue: &str,
        tag: &str,
        no_ack: bool,
        arguments: &TableBuf,
    ) {
        let said = self.call(basic::Consume {
            queue: queue.into(),
            consumer_tag: tag.into(),
            no_ack,
            arguments: arguments.as_table(),
            ..Default::default()
        });
        assert_eq!(said, Said::Reply("basic.consume-ok".into()));
    }

    #[track_caller]
    pub(crate) fn get(&mut self, queue: &str) -> Option<Got> {
        match self.call(basic::Get {
            queue: queue.into(),
            no_ack: false,
        }) {
            Said::Message(got) => Some(got),
            Said::Empty => None,
            other => panic!("{other:?}"),
        }
    }

    /// Acknowledges.
    pub(crate) fn ack(&mut self, got: &Got) {
        assert!(self.connection.ack(got.tag, false), "the tag lives");
        self.send();
    }

    pub(crate) fn reject(&mut self, got: &Got, requeue: bool) {
        assert!(self.connection.reject(got.tag, requeue), "the tag lives");
        self.send();
    }

    /// Whether the broker ends the connection, or has ended it.
    pub(crate) fn is_closed(&mut self) -> Option<String> {
        self.try_wait(PATIENCE, |event| match event {
            Event::Closed(reason) => Some(reason.to_string()),
            _ => None,
        })
    }

    /// When this client has heard nothing for so long; for stalls.
    pub(crate) fn time_until_next(&mut self) -> (Duration, Said) {
        let before: Instant = clock::now();
        let next = self.next();
        (clock::now() - before, next)
    }
}

fn said(event: &Event<'_>) -> Said {
    let got = |delivery: &celeriac::amqp::connection::Delivery<'_>| Got {
        tag: delivery.tag,
        consumer: delivery.consumer_tag.to_string(),
        redelivered: delivery.redelivered,
        body: String::from_utf8_lossy(delivery.body).into_owned(),
        headers: format!("{:?}", delivery.properties.headers.unwrap_or_default()),
    };
    match event {
        Event::Deliver(delivery) | Event::GetOk { delivery, .. } => Said::Message(got(delivery)),
        Event::GetEmpty { .. } => Said::Empty,
        Event::Reply { method, .. } => match method {
            Method::QueueDeclareOk(ok) => {
                Said::Declared(ok.queue.to_string(), ok.message_count, ok.consumer_count)
            }
            Method::QueueDeleteOk(ok) => Said::Count(ok.message_count),
            Method::QueuePurgeOk(ok) => Said::Count(ok.message_count),
            other => Said::Reply(other.id().to_string()),
        },
        Event::Confirm {
            number,
            multiple,
            acked,
            ..
        } => Said::Confirm {
            number: *number,
            multiple: *multiple,
            acked: *acked,
        },
        Event::Return(returned) => Said::Returned(String::from_utf8_lossy(returned.body).into()),
        Event::ConsumerCancelled { consumer_tag, .. } => Said::Cancelled(consumer_tag.to_string()),
        Event::ChannelClosed { code, text, .. } => Said::ChannelClosed(*code, text.to_string()),
        Event::Blocked { .. } => Said::Blocked,
        Event::Unblocked => Said::Unblocked,
        Event::Closed(reason) => Said::Closed(reason.to_string()),
        other => panic!("unexpected: {other:?}"),
    }
}
