//! One client's connection, in the server's role: octets in, octets out.
//!
//! A [`Session`] holds what belongs to one client; what it does with the rest of the broker is the
//! [`Engine`](super::engine::Engine)'s, whose methods for it are in [`handshake`], [`methods`] and
//! [`content`].

mod content;
mod handshake;
mod methods;

use std::collections::BTreeMap;
use std::time::Instant;

pub(super) use self::content::Content;
pub(super) use self::methods::Call;
use super::keys::{ChannelKey, SessionKey, TypedSlots};
use super::refusal::Refusal;
use super::vhost::{Delivery, Sink};
use crate::amqp::ShortStr;
use crate::amqp::frame::{put_method, put_raw_message};
use crate::amqp::method::{Method, MethodId, basic, channel, connection};
use crate::util::buffer::{InBuf, OutBuf};

/// Above this many octets of output a session gets no deliveries, and is not read.
const OUTPUT_FULL: usize = 1 << 20;

/// Below this many octets of output a session gets deliveries again.
const OUTPUT_LOW: usize = 256 << 10;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The protocol header is expected.
    Greeting,
    /// connection.start-ok is expected.
    Login,
    /// connection.tune-ok is expected.
    Tuning,
    /// connection.open is expected.
    Opening,
    /// Everything may come.
    Open,
    /// connection.close was sent; nothing counts but its answer.
    Closing,
    /// Nothing is read any more; the socket closes when the output is written.
    Closed,
}

/// What a client says it understands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capabilities {
    pub(super) authentication_failure_close: bool,
    pub(super) connection_blocked: bool,
    pub(super) consumer_cancel_notify: bool,
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phase: Phase,
    /// Whether the client is on this machine.
    pub(super) local: bool,
    pub(super) input: InBuf,
    pub(super) output: OutBuf,
    pub(super) user: String,
    /// Which of the virtual hosts it uses, once it is open.
    pub(super) vhost: usize,
    pub(super) channels: BTreeMap<u16, SessionChannel>,
    pub(super) capabilities: Capabilities,
    pub(super) frame_max: u32,
    pub(super) channel_max: u16,
    /// The interval of heartbeats in seconds; zero is none.
    pub(super) heartbeat: u16,
    pub(super) received_at: Instant,
    pub(super) sent_at: Instant,
    /// It publishes while there is no memory, so it is not read.
    pub(super) blocked: bool,
    /// A delivery was kept back because the output was full.
    pub(super) starved: bool,
    /// Whether it is in the list of sessions to be written.
    pub(super) flushing: bool,
    /// A fault: nothing is read or written before then.
    pub(super) stalled_until: Option<Instant>,
    /// It has more to say than was handled: it was not readable then.
    pub(super) held: bool,
    /// A fault: its output ends in the middle of a frame.
    pub(super) cut: bool,
    /// A fault: what it sends is read and forgotten.
    pub(super) deaf: bool,
}

/// A channel as its session sees it.
#[derive(Debug)]
pub(super) struct SessionChannel {
    /// In the virtual host.
    pub(super) key: ChannelKey,
    /// channel.close was sent; nothing counts but its answer.
    pub(super) closing: bool,
    pub(super) confirms: Option<Confirms>,
    pub(super) content: Content,
}

/// Confirms that a channel gets for what it publishes.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// How many messages were published.
    published: u64,
    /// Up to which the publisher knows.
    told: u64,
}

impl Session {
    pub(super) fn new(local: bool, frame_max: u32, now: Instant) -> Self {
        Self {
            phase: Phase::Greeting,
            local,
            input: InBuf::new(),
            output: OutBuf::new(),
            user: String::new(),
            vhost: 0,
            channels: BTreeMap::new(),
            capabilities: Capabilities::default(),
            frame_max,
            channel_max: 0,
            heartbeat: 0,
            received_at: now,
            sent_at: now,
            blocked: false,
            starved: false,
            flushing: false,
            stalled_until: None,
            held: false,
            cut: false,
            deaf: false,
        }
    }

    /// Whether what has come may be handled.
    pub(super) fn is_readable(&self) -> bool {
        self.phase != Phase::Closed
            && !self.blocked
            && self.stalled_until.is_none()
            && self.output.len() < OUTPUT_FULL
    }

    /// Whether there is room again after there was none.
    pub(super) fn is_drained(&self) -> bool {
        self.output.len() < OUTPUT_LOW
    }

    /// Takes the end of the last frame away; that is the last this client hears.
    pub(super) fn cut_output(&mut self) {
        if self.output.is_empty() {
            self.output.push(&[1, 0, 0]); // the start of any method
        } else {
            let output = self.output.writer();
            output.truncate(output.len().saturating_sub(3));
        }
        self.phase = Phase::Closed;
    }

    /// Appends a method to the output.
    pub(super) fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        // Only an argument that is too long fails, and all of ours came in or were cut.
        let _ = put_method(self.output.writer(), channel, &method.into(), 0);
    }

    /// Appends connection.close; from then on nothing counts but its answer.
    pub(super) fn close(&mut self, refusal: &Refusal, cause: MethodId) {
        self.send(
            0,
            connection::Close {
                reply_code: refusal.code.number(),
                reply_text: ShortStr::from(&refusal.text).cut(),
                class_id: cause.class,
                method_id: cause.method,
            },
        );
        self.phase = Phase::Closing;
    }

    /// Appends channel.close; from then on nothing counts on that channel but its answer.
    pub(super) fn close_channel(&mut self, number: u16, refusal: &Refusal, cause: MethodId) {
        self.tell_confirms(number);
        self.send(
            number,
            channel::Close {
                reply_code: refusal.code.number(),
                reply_text: ShortStr::from(&refusal.text).cut(),
                class_id: cause.class,
                method_id: cause.method,
            },
        );
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.closing = true;
            channel.content = Content::default();
        }
    }

    /// Tells the publisher of a channel about all messages that were accepted since last time.
    pub(super) fn tell_confirms(&mut self, number: u16) {
        let channel = self.channels.get_mut(&number);
        let Some(confirms) = channel.and_then(|channel| channel.confirms.as_mut()) else {
            return;
        };
        let untold = confirms.published - confirms.told;
        if untold > 0 {
            confirms.told = confirms.published;
            let ack = basic::Ack {
                delivery_tag: confirms.published,
                multiple: untold > 1,
            };
            self.send(number, ack);
        }
    }

    /// As [`tell_confirms`](Self::tell_confirms), for every channel.
    pub(super) fn tell_all_confirms(&mut self) {
        let waits = |channel: &SessionChannel| {
            let confirms = channel.confirms.as_ref();
            confirms.is_some_and(|confirms| confirms.published > confirms.told)
        };
        while let Some((&number, _)) = self.channels.iter().find(|(_, channel)| waits(channel)) {
            self.tell_confirms(number);
        }
    }
}

impl Confirms {
    /// One more message was published. Nothing is said yet.
    pub(super) const fn published(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// The publisher was told about everything.
    pub(super) const fn told(&mut self) {
        self.told = self.published;
    }

    /// Whether the last message is the only one not told about.
    const fn before_last(&self) -> bool {
        self.published == self.told + 1
    }
}

/// Where the virtual hosts deliver: the outputs of the sessions.
#[derive(Debug)]
pub(super) struct Outputs<'a> {
    pub(super) sessions: &'a mut TypedSlots<SessionKey, Session>,
    pub(super) to_flush: &'a mut Vec<SessionKey>,
}

impl Sink for Outputs<'_> {
    fn has_room(&mut self, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let has_room = session.phase == Phase::Open && session.output.len() < OUTPUT_FULL;
        session.starved |= !has_room;
        has_room
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        let Some(session) = self.sessions.get_mut(delivery.session) else {
            return;
        };
        let method = basic::Deliver {
            consumer_tag: delivery.consumer_tag.into(),
            delivery_tag: delivery.delivery_tag,
            redelivered: delivery.redelivered,
            exchange: delivery.message.exchange.into(),
            routing_key: delivery.message.routing_key.into(),
        };
        // Cannot fail: what came in fits, and a header that has grown is sent as it is.
        let _ = put_raw_message(
            session.output.writer(),
            delivery.channel,
            &method.into(),
            delivery.message.property_list,
            delivery.message.body,
            session.frame_max,
        );
        if !session.flushing {
            session.flushing = true;
            self.to_flush.push(delivery.session);
        }
    }
}
