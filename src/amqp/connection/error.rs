//! What can be wrong with a peer, with a message, and with a command.

use std::error::Error;
use std::fmt;

use crate::amqp::frame::{FrameError, FrameKind};
use crate::amqp::method::MethodId;
use crate::amqp::reply::ReplyCode;
use crate::amqp::sasl::Mechanism;
use crate::amqp::wire::{DecodeError, EncodeError};

/// Why a connection cannot go on: what the server did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionError {
    /// It answered with a protocol header: it speaks another version.
    VersionRefused {
        /// The four octets after `AMQP`.
        version: [u8; 4],
    },
    /// What it sent is not a frame.
    Frame(FrameError),
    /// A method's or header's payload is not as the grammar says.
    Syntax {
        /// The channel.
        channel: u16,
        /// What is wrong.
        error: DecodeError,
    },
    /// A frame that does not belong here.
    UnexpectedFrame {
        /// The channel.
        channel: u16,
        /// The frame.
        kind: FrameKind,
    },
    /// A method that makes no sense here.
    UnexpectedMethod {
        /// The channel.
        channel: u16,
        /// The method.
        method: MethodId,
    },
    /// It has no way to log in that we have.
    NoMechanism {
        /// The one that is configured, if any.
        wanted: Option<Mechanism>,
        /// What it has.
        offered: String,
    },
    /// It wants smaller frames than the specification allows.
    FrameMaxTooSmall(u32),
    /// Something we must send to go on cannot be sent: a virtual host of 300 octets.
    Encode(EncodeError),
}

impl ConnectionError {
    /// The code with which the server is told.
    pub const fn reply_code(&self) -> ReplyCode {
        match self {
            Self::Frame(error) => error.reply_code(),
            Self::Syntax {
                error: DecodeError::UnknownMethod { .. },
                ..
            } => ReplyCode::NotImplemented,
            Self::Syntax { .. } => ReplyCode::SyntaxError,
            Self::UnexpectedFrame { .. } => ReplyCode::UnexpectedFrame,
            Self::UnexpectedMethod { .. } => ReplyCode::CommandInvalid,
            Self::VersionRefused { .. }
            | Self::NoMechanism { .. }
            | Self::FrameMaxTooSmall(_)
            | Self::Encode(_) => ReplyCode::NotAllowed,
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VersionRefused {
                version: [_, major, minor, revision],
            } => {
                write!(
                    f,
                    "the server speaks AMQP {major}-{minor}-{revision}, not 0-9-1"
                )
            }
            Self::Frame(error) => error.fmt(f),
            Self::Syntax { channel, error } => write!(f, "{error} on channel {channel}"),
            Self::UnexpectedFrame { channel, kind } => {
                write!(f, "unexpected {kind:?} frame on channel {channel}")
            }
            Self::UnexpectedMethod { channel, method } => {
                write!(f, "unexpected {method} on channel {channel}")
            }
            Self::NoMechanism {
                wanted: Some(wanted),
                offered,
            } => {
                write!(f, "couldn't find {wanted} among the mechanisms {offered:?}")
            }
            Self::NoMechanism {
                wanted: None,
                offered,
            } => {
                write!(
                    f,
                    "couldn't find appropriate auth mechanism among {offered:?}"
                )
            }
            Self::FrameMaxTooSmall(frame_max) => {
                write!(
                    f,
                    "the server wants frames of {frame_max} octets, the least is 4096"
                )
            }
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl Error for ConnectionError {}

/// What is wrong with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// Its property list is not as the grammar says.
    Properties(DecodeError),
    /// Its body is larger than we take; it was skipped.
    TooLarge {
        /// Its size in octets.
        size: u64,
        /// The limit in octets.
        limit: u64,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Properties(error) => write!(f, "malformed properties: {error}"),
            Self::TooLarge { size, limit } => {
                write!(f, "body of {size} octets, the limit is {limit}")
            }
        }
    }
}

impl Error for MessageError {}

/// Why a command was not carried out. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The connection is not open.
    NotOpen,
    /// The channel is not open.
    ChannelNotOpen(u16),
    /// All channels are in use.
    NoFreeChannel {
        /// The highest number there may be.
        channel_max: u16,
    },
    /// A client does not send this method, or there is a function for it.
    NotCallable(MethodId),
    /// It cannot be put on the wire.
    Encode(EncodeError),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the connection is not open"),
            Self::ChannelNotOpen(channel) => write!(f, "channel {channel} is not open"),
            Self::NoFreeChannel { channel_max } => {
                write!(f, "all {channel_max} channels are in use")
            }
            Self::NotCallable(method) => write!(f, "{method} cannot be called"),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl Error for CommandError {}

impl From<EncodeError> for CommandError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<FrameError> for ConnectionError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}
