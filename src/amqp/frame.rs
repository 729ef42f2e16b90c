//! Frames: the envelope of everything that travels after the protocol header.
//!
//! ```text
//!  0      1         3             7                  7+size
//!  +------+---------+-------------+------------------+------+
//!  | kind | channel | payload size| payload          | 0xCE |
//!  +------+---------+-------------+------------------+------+
//! ```
//!
//! [`decode`] looks at a frame's head before its payload has come: a frame that is too large or of an
//! unknown kind is refused at once, so nobody waits for, or makes room for, what a bad length
//! promises. What is in the payload is for [`Method`] and [`ContentHeader`].

use std::error::Error;
use std::fmt;

use super::method::Method;
use super::props::{ContentHeader, Properties};
use super::reply::ReplyCode;
use super::wire::EncodeError;

/// The first octets a client sends: `AMQP`, 0, and the version.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The last octet of every frame.
pub const FRAME_END: u8 = 0xce;

/// What a frame needs beyond its payload, in octets: seven before and one after.
pub const OVERHEAD: usize = 8;

/// The smallest limit on frames that the specification lets anyone set, in octets.
pub const FRAME_MIN_SIZE: u32 = 4096;

/// Class of the methods that carry content.
pub(super) const BASIC: u16 = 60;

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A method and its arguments.
    Method = 1,
    /// The size and properties of a message.
    Header = 2,
    /// A piece of a message's body.
    Body = 3,
    /// A sign of life, with nothing in it.
    Heartbeat = 8,
}

impl FrameKind {
    const fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// One frame; the payload is borrowed from the octets it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the payload is.
    pub kind: FrameKind,
    /// The channel it belongs to; zero is the connection itself.
    pub channel: u16,
    /// What is in it.
    pub payload: &'a [u8],
}

/// Why octets are not a frame. The connection cannot go on after one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// No frame starts with this octet.
    UnknownKind(u8),
    /// The frame is larger than was agreed.
    TooLarge {
        /// Its size with the envelope, in octets.
        size: u64,
        /// The limit in octets.
        frame_max: u32,
    },
    /// The octet after the payload is not 0xCE.
    BadEnd(u8),
    /// A heartbeat that belongs to a channel.
    HeartbeatOnChannel(u16),
    /// A heartbeat with something in it.
    HeartbeatWithPayload,
}

impl FrameError {
    /// The code with which a peer is told, as RabbitMQ has it.
    pub const fn reply_code(self) -> ReplyCode {
        match self {
            Self::HeartbeatOnChannel(_) => ReplyCode::UnexpectedFrame,
            _ => ReplyCode::FrameError,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(octet) => write!(f, "unknown frame type {octet}"),
            Self::TooLarge { size, frame_max } => {
                write!(f, "frame of {size} octets, frame_max is {frame_max}")
            }
            Self::BadEnd(octet) => write!(f, "frame ends with {octet:#04x} instead of 0xce"),
            Self::HeartbeatOnChannel(channel) => write!(f, "heartbeat on channel {channel}"),
            Self::HeartbeatWithPayload => f.write_str("heartbeat with a payload"),
        }
    }
}

impl Error for FrameError {}

/// Reads the frame at the start of `bytes`, and says how many octets it takes. Nothing when it has
/// not come completely. A `frame_max` of zero is no limit.
///
/// # Errors
/// As soon as the octets cannot become a frame within the limit.
///
/// ```
/// use celeriac::amqp::frame::{FrameKind, decode};
///
/// let bytes = [8, 0, 0, 0, 0, 0, 0, 0xce, 1];
/// let (frame, size) = decode(&bytes, 4096)?.expect("one frame is complete");
/// assert_eq!((frame.kind, size), (FrameKind::Heartbeat, 8));
/// assert!(decode(&bytes[size..], 4096)?.is_none());
/// # Ok::<(), celeriac::amqp::frame::FrameError>(())
/// ```
#[inline]
pub fn decode(bytes: &[u8], frame_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((&[kind, c0, c1, s0, s1, s2, s3], rest)) = bytes.split_first_chunk::<7>() else {
        return check_start(bytes);
    };
    let kind = FrameKind::from_octet(kind).ok_or(FrameError::UnknownKind(kind))?;
    let channel = u16::from_be_bytes([c0, c1]);
    let declared = u32::from_be_bytes([s0, s1, s2, s3]);
    let size = u64::from(declared) + OVERHEAD as u64;
    if frame_max != 0 && size > u64::from(frame_max) {
        return Err(FrameError::TooLarge { size, frame_max });
    }
    if kind == FrameKind::Heartbeat {
        if channel != 0 {
            return Err(FrameError::HeartbeatOnChannel(channel));
        }
        if declared != 0 {
            return Err(FrameError::HeartbeatWithPayload);
        }
    }
    let Some((payload, rest)) = usize::try_from(declared)
        .ok()
        .and_then(|n| rest.split_at_checked(n))
    else {
        return Ok(None);
    };
    match rest.first() {
        None => Ok(None),
        Some(&FRAME_END) => Ok(Some((
            Frame {
                kind,
                channel,
                payload,
            },
            payload.len() + OVERHEAD,
        ))),
        Some(&octet) => Err(FrameError::BadEnd(octet)),
    }
}

/// A frame's first octet is enough to refuse it.
fn check_start(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    match bytes.first() {
        Some(&octet) if FrameKind::from_octet(octet).is_none() => {
            Err(FrameError::UnknownKind(octet))
        }
        _ => Ok(None),
    }
}

impl Frame<'_> {
    /// Appends the frame. The payload is below 4 GiB, as everything that was decoded is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let envelope = Envelope::start(self.kind, self.channel, out);
        out.extend_from_slice(self.payload);
        envelope.end(out);
    }
}

/// A frame whose payload is being written behind it.
#[derive(Debug)]
struct Envelope {
    /// Where its first octet is.
    start: usize,
}

impl Envelope {
    #[inline]
    fn start(kind: FrameKind, channel: u16, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        let [c0, c1] = channel.to_be_bytes();
        out.extend_from_slice(&[kind as u8, c0, c1, 0, 0, 0, 0]);
        Self { start }
    }

    /// Fills in the size and closes the frame; returns its size in octets.
    #[inline]
    fn end(self, out: &mut Vec<u8>) -> usize {
        let payload = out.len() - self.start - (OVERHEAD - 1);
        let size = u32::try_from(payload).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = out.get_mut(self.start + 3..self.start + 7) {
            field.copy_from_slice(&size);
        }
        out.push(FRAME_END);
        payload + OVERHEAD
    }
}

/// Appends a method frame.
///
/// # Errors
/// When an argument is too long for its type, or the frame is larger than `frame_max` (zero for no
/// limit); then nothing is appended.
pub fn put_method(
    out: &mut Vec<u8>,
    channel: u16,
    method: &Method<'_>,
    frame_max: u32,
) -> Result<(), EncodeError> {
    let before = out.len();
    let envelope = Envelope::start(FrameKind::Method, channel, out);
    let result = method.encode(out).and_then(|()| {
        let what = method.id().name().unwrap_or("method");
        check_size(envelope.end(out), frame_max, what)
    });
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Appends a message: its method, content header and as many body frames as it takes.
///
/// # Errors
/// When an argument or property is too long for its type, or the method or the header is larger
/// than `frame_max` (zero for no limit); then nothing is appended.
pub fn put_message(
    out: &mut Vec<u8>,
    channel: u16,
    method: &Method<'_>,
    properties: &Properties<'_>,
    body: &[u8],
    frame_max: u32,
) -> Result<(), EncodeError> {
    put_content(out, channel, method, body, frame_max, |out| {
        properties.encode(out)
    })
}

/// Appends a message whose property list is already encoded, as a broker passes it on.
///
/// # Errors
/// As [`put_message`].
pub fn put_raw_message(
    out: &mut Vec<u8>,
    channel: u16,
    method: &Method<'_>,
    property_list: &[u8],
    body: &[u8],
    frame_max: u32,
) -> Result<(), EncodeError> {
    put_content(out, channel, method, body, frame_max, |out| {
        out.extend_from_slice(property_list);
        Ok(())
    })
}

fn put_content(
    out: &mut Vec<u8>,
    channel: u16,
    method: &Method<'_>,
    body: &[u8],
    frame_max: u32,
    put_properties: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let before = out.len();
    let result = put_method(out, channel, method, frame_max).and_then(|()| {
        let envelope = Envelope::start(FrameKind::Header, channel, out);
        ContentHeader {
            class_id: BASIC,
            body_size: body.len() as u64,
            property_list: &[],
        }
        .encode(out);
        put_properties(out)?;
        check_size(envelope.end(out), frame_max, "content header")
    });
    match result {
        Ok(()) => put_body(out, channel, body, frame_max),
        Err(_) => out.truncate(before),
    }
    result
}

/// Appends a heartbeat.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    Frame {
        kind: FrameKind::Heartbeat,
        channel: 0,
        payload: &[],
    }
    .encode(out);
}

fn put_body(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_max: u32) {
    let piece = match frame_max {
        0 => usize::MAX,
        limit => (limit as usize).saturating_sub(OVERHEAD).max(1),
    };
    for payload in body.chunks(piece.min(u32::MAX as usize)) {
        Frame {
            kind: FrameKind::Body,
            channel,
            payload,
        }
        .encode(out);
    }
}

fn check_size(size: usize, frame_max: u32, what: &'static str) -> Result<(), EncodeError> {
    let limit = if frame_max == 0 { u32::MAX } else { frame_max };
    match u32::try_from(size) {
        Ok(fits) if fits <= limit => Ok(()),
        _ => Err(EncodeError::FrameTooLarge {
            what,
            size,
            frame_max,
        }),
    }
}
