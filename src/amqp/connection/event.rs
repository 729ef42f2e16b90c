//! What a connection tells its owner.

use std::fmt;
use std::time::Duration;

use super::State;
use super::error::{ConnectionError, MessageError};
use crate::amqp::method::connection::Tune;
use crate::amqp::method::{Method, MethodId};
use crate::amqp::props::Properties;
use crate::amqp::table::Table;
use crate::amqp::wire::ShortStr;

/// Something that happened. It borrows from the connection's buffers and is to be dealt with before
/// the next call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The handshake is done: channels can be opened.
    Open {
        /// What the server says of itself: product, version, capabilities.
        server: Table<'a>,
        /// The limits that both sides keep.
        tune: Tune,
    },
    /// The server agreed to [`open_channel`](super::Connection::open_channel).
    ChannelOpen {
        /// The channel.
        channel: u16,
    },
    /// The answer to the oldest open [`call`](super::Connection::call) of a channel.
    Reply {
        /// The channel.
        channel: u16,
        /// The answer.
        method: Method<'a>,
    },
    /// A message for a consumer.
    Deliver(Delivery<'a>),
    /// The message that a basic.get asked for.
    GetOk {
        /// The message; its consumer tag is empty.
        delivery: Delivery<'a>,
        /// How many are left in the queue.
        message_count: u32,
    },
    /// The queue that a basic.get asked has no message.
    GetEmpty {
        /// The channel.
        channel: u16,
    },
    /// A mandatory message came back.
    Return(Returned<'a>),
    /// The server has, or has not, taken charge of what was published.
    Confirm {
        /// The channel.
        channel: u16,
        /// The number that [`publish`](super::Connection::publish) gave.
        number: u64,
        /// All up to this number.
        multiple: bool,
        /// False when the server could not take charge.
        acked: bool,
    },
    /// The server ended a consumer: its queue was deleted, or a node went away.
    ConsumerCancelled {
        /// The channel.
        channel: u16,
        /// The consumer.
        consumer_tag: ShortStr<'a>,
    },
    /// The server closed a channel; its number is free, its delivery tags are dead.
    ChannelClosed {
        /// The channel.
        channel: u16,
        /// Why; see [`ReplyCode`](crate::amqp::ReplyCode).
        code: u16,
        /// Why, in words.
        text: ShortStr<'a>,
        /// The method that failed; zeros when none did.
        method: MethodId,
    },
    /// The server asks to pause or resume publishing on a channel. It was answered; no broker that
    /// Celery knows sends it.
    Flow {
        /// The channel.
        channel: u16,
        /// Whether content may flow.
        active: bool,
    },
    /// The server no longer reads what is published on this connection.
    Blocked {
        /// `low on memory`, `low on disk` or both.
        reason: ShortStr<'a>,
    },
    /// The server reads again.
    Unblocked,
    /// A message that cannot be had. The connection goes on; with a tag, it waits for an answer
    /// unless its consumer is one that does not acknowledge.
    Malformed(Malformed<'a>),
    /// The end. It is the last event, and the only one after which nothing else is possible.
    Closed(CloseReason),
}

/// A message with everything about its way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The channel.
    pub channel: u16,
    /// The consumer.
    pub consumer_tag: ShortStr<'a>,
    /// What it is acknowledged by.
    pub tag: DeliveryTag,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The exchange it was published to.
    pub exchange: ShortStr<'a>,
    /// The routing key it was published with.
    pub routing_key: ShortStr<'a>,
    /// Its properties. What is wrong inside the header table shows when that is read.
    pub properties: Properties<'a>,
    /// Its body.
    pub body: &'a [u8],
}

/// A message that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned<'a> {
    /// The channel.
    pub channel: u16,
    /// Why; 312 when no queue would have it.
    pub code: u16,
    /// Why, in words.
    pub text: ShortStr<'a>,
    /// The exchange it was published to.
    pub exchange: ShortStr<'a>,
    /// The routing key it was published with.
    pub routing_key: ShortStr<'a>,
    /// Its properties.
    pub properties: Properties<'a>,
    /// Its body.
    pub body: &'a [u8],
}

/// A message that cannot be had, with what is known about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed<'a> {
    /// The channel.
    pub channel: u16,
    /// What it is refused by; none for a returned message.
    pub tag: Option<DeliveryTag>,
    /// The consumer; empty for a returned message or one that was asked for.
    pub consumer_tag: ShortStr<'a>,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The exchange it was published to.
    pub exchange: ShortStr<'a>,
    /// The routing key it was published with.
    pub routing_key: ShortStr<'a>,
    /// What is wrong with it.
    pub error: MessageError,
}

/// What a message is acknowledged by: valid on one channel in one life of it.
///
/// Brokers count deliveries from one on each new channel, so the bare number of a lost connection
/// would acknowledge somebody else's message on the next one. The other three fields tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryTag {
    /// The channel.
    pub channel: u16,
    /// The broker's number.
    pub number: u64,
    /// The connection, as its owner numbered it.
    pub epoch: u32,
    /// Counts how often channels were opened on that connection.
    pub incarnation: u32,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// We asked for it.
    Requested,
    /// The server closed it.
    Server {
        /// Why; see [`ReplyCode`](crate::amqp::ReplyCode).
        code: u16,
        /// Why, in words.
        text: String,
        /// The method that failed; zeros when none did.
        method: MethodId,
    },
    /// The server broke the protocol, or asked for what we do not have.
    Protocol(ConnectionError),
    /// Nothing came for two heartbeat intervals.
    HeartbeatLost {
        /// How long nothing came.
        silence: Duration,
    },
    /// The handshake, or the orderly close, took too long.
    TimedOut {
        /// What it was doing.
        during: State,
    },
    /// The socket ended without a word. While [`State::Authenticating`], an older server says in this way
    /// that the credentials are wrong.
    Dropped {
        /// What it was doing.
        during: State,
    },
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("closed on request"),
            Self::Server { code, text, .. } => write!(f, "closed by the server: {code} {text}"),
            Self::Protocol(error) => write!(f, "protocol error: {error}"),
            Self::HeartbeatLost { silence } => {
                write!(
                    f,
                    "heartbeats missed: nothing came for {} s",
                    silence.as_secs()
                )
            }
            Self::TimedOut { during } => write!(f, "timed out while {during}"),
            Self::Dropped {
                during: State::Authenticating,
            } => {
                f.write_str("dropped by the server while logging in: the credentials may be wrong")
            }
            Self::Dropped { during } => write!(f, "dropped by the server while {during}"),
        }
    }
}
