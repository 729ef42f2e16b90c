//! Writing records, each straight into the buffer it is sent from.

use std::fmt;

use super::{DeliveryInfo, Done, HEADER_LENGTH, Kind, MAGIC, MAX_HEAD, Note};
use crate::amqp::wire::DecodeError;
use crate::amqp::{Properties, ShortStr};
use crate::message::headers::{Headers, push_integer, push_short};
use crate::message::json::push_string;

/// A Job as main sends it: made of what was received, copied once, into the pipe's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Main's name for the job.
    pub job: u64,
    /// The task's registered name.
    pub task: &'a str,
    /// The task's id.
    pub id: &'a str,
    /// All headers of the message.
    pub headers: &'a Headers<'a>,
    /// The properties of the message; its header table is not read from here.
    pub properties: &'a Properties<'a>,
    /// How the broker delivered it.
    pub delivery_info: &'a DeliveryInfo<'a>,
    /// The worker's node name.
    pub hostname: &'a str,
    /// The text of a JSON value with what the worker adds for this kind of child.
    pub options: Option<&'a str>,
    /// The body, as it is to reach the task.
    pub body: &'a [u8],
}

impl Job<'_> {
    /// Appends the record.
    ///
    /// # Errors
    /// When the headers are malformed or the head or body is too long for a record; then nothing
    /// is appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        out.reserve(1024 + self.body.len());
        record(out, Kind::Job, &[self.body], |out| {
            self.head(out).map_err(WriteError::Headers)
        })
    }

    fn head(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.extend_from_slice(b"{\"job\":");
        push_number(out, self.job);
        text(out, b",\"task\":", self.task);
        text(out, b",\"id\":", self.id);
        out.extend_from_slice(b",\"headers\":");
        self.headers.write_json(out)?;
        out.extend_from_slice(b",\"properties\":");
        write_properties(out, self.properties);
        self.delivery_info(out);
        text(out, b",\"hostname\":", self.hostname);
        if let Some(options) = self.options {
            out.extend_from_slice(b",\"options\":");
            out.extend_from_slice(options.as_bytes());
        }
        out.push(b'}');
        Ok(())
    }

    fn delivery_info(&self, out: &mut Vec<u8>) {
        let info = self.delivery_info;
        text(out, b",\"delivery_info\":{\"exchange\":", &info.exchange);
        text(out, b",\"routing_key\":", &info.routing_key);
        out.extend_from_slice(b",\"priority\":");
        match info.priority {
            Some(priority) => push_number(out, priority.into()),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"redelivered\":");
        out.extend_from_slice(if info.redelivered {
            b"true}"
        } else {
            b"false}"
        });
    }
}

/// Appends properties as the text of a JSON object, the headers left out.
fn write_properties(out: &mut Vec<u8>, properties: &Properties<'_>) {
    let texts: [(&[u8], Option<ShortStr<'_>>); 10] = [
        (b"\"content_type\":", properties.content_type),
        (b"\"content_encoding\":", properties.content_encoding),
        (b"\"correlation_id\":", properties.correlation_id),
        (b"\"reply_to\":", properties.reply_to),
        (b"\"expiration\":", properties.expiration),
        (b"\"message_id\":", properties.message_id),
        (b"\"type\":", properties.type_),
        (b"\"user_id\":", properties.user_id),
        (b"\"app_id\":", properties.app_id),
        (b"\"cluster_id\":", properties.cluster_id),
    ];
    let numbers: [(&[u8], Option<u64>); 3] = [
        (
            b"\"delivery_mode\":",
            properties.delivery_mode.map(u64::from),
        ),
        (b"\"priority\":", properties.priority.map(u64::from)),
        (b"\"timestamp\":", properties.timestamp),
    ];
    out.push(b'{');
    for (key, value) in texts {
        if let Some(value) = value {
            out.extend_from_slice(key);
            push_short(out, value);
            out.push(b',');
        }
    }
    for (key, value) in numbers {
        if let Some(value) = value {
            out.extend_from_slice(key);
            push_number(out, value);
            out.push(b',');
        }
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    push_string(out, value);
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    match i64::try_from(number) {
        Ok(number) => push_integer(out, number),
        Err(_) => out.extend_from_slice(number.to_string().as_bytes()),
    }
}

/// The same record with an empty body; nothing of what is no record.
///
/// ```
/// use celeriac::message::record::{Decoder, encode_up, without_body};
/// let mut record = Vec::new();
/// encode_up(&mut record, 7);
/// assert_eq!(without_body(&record), record, "it has no body");
/// assert!(without_body(b"CL").is_empty());
/// ```
pub fn without_body(record: &[u8]) -> Vec<u8> {
    let length = record.get(4..8).and_then(|octets| octets.try_into().ok());
    let head = length.map_or(0, |octets| u32::from_be_bytes(octets) as usize);
    let Some(kept) = record.get(..HEADER_LENGTH + head) else {
        return Vec::new();
    };
    let mut kept = kept.to_vec();
    if let Some(body_length) = kept.get_mut(8..12) {
        body_length.fill(0);
    }
    kept
}

/// Appends a Stop record.
pub fn encode_stop(out: &mut Vec<u8>) {
    small(out, Kind::Stop, b"{}");
}

/// Appends an Up record.
pub fn encode_up(out: &mut Vec<u8>, pid: u32) {
    small(out, Kind::Up, format!("{{\"pid\":{pid}}}").as_bytes());
}

/// Appends a Started record.
pub fn encode_started(out: &mut Vec<u8>, job: u64) {
    small(out, Kind::Started, format!("{{\"job\":{job}}}").as_bytes());
}

/// Appends a Done record.
///
/// # Errors
/// When the head or the bodies are too long for a record; then nothing is appended.
pub fn encode_done(out: &mut Vec<u8>, done: &mut Done) -> Result<(), WriteError> {
    for publish in &mut done.publish {
        let size = publish.body.len();
        publish.size = u32::try_from(size).map_err(|_| WriteError::BodyTooLong(size))?;
    }
    let bodies = done.publish.iter().map(|publish| &publish.body[..]);
    let parts: Vec<&[u8]> = std::iter::once(&done.meta[..]).chain(bodies).collect();
    record(out, Kind::Done, &parts, |out| {
        serde_json::to_writer(out, &done).map_err(|error| WriteError::Head(error.to_string()))
    })
}

/// Appends a Note record; `body` is the Job record it is about, or empty.
///
/// # Errors
/// When the head or the body is too long for a record; then nothing is appended.
pub fn encode_note(out: &mut Vec<u8>, note: &Note<'_>, body: &[u8]) -> Result<(), WriteError> {
    record(out, Kind::Note, &[body], |out| {
        serde_json::to_writer(out, note).map_err(|error| WriteError::Head(error.to_string()))
    })
}

/// Appends a record whose head is known to be short.
fn small(out: &mut Vec<u8>, kind: Kind, head: &[u8]) {
    out.extend_from_slice(&header(kind, head.len() as u32, 0)); // a few dozen octets
    out.extend_from_slice(head);
}

/// Appends a record, its lengths filled in once the head is written.
fn record(
    out: &mut Vec<u8>,
    kind: Kind,
    body: &[&[u8]],
    write_head: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let start = out.len();
    let result = framed(out, kind, body, write_head);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn framed(
    out: &mut Vec<u8>,
    kind: Kind,
    body: &[&[u8]],
    write_head: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let body_size = body.iter().map(|part| part.len()).sum();
    let body_length = u32::try_from(body_size).map_err(|_| WriteError::BodyTooLong(body_size))?;
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LENGTH]);
    write_head(out)?;
    let head = out.len() - start - HEADER_LENGTH;
    let head_length = u32::try_from(head).ok().filter(|_| head <= MAX_HEAD);
    let head_length = head_length.ok_or(WriteError::HeadTooLong(head))?;
    out[start..start + HEADER_LENGTH].copy_from_slice(&header(kind, head_length, body_length));
    body.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

fn header(kind: Kind, head: u32, body: u32) -> [u8; HEADER_LENGTH] {
    let mut header = [0; HEADER_LENGTH];
    header[..2].copy_from_slice(&MAGIC);
    header[2] = kind as u8;
    header[4..8].copy_from_slice(&head.to_be_bytes());
    header[8..].copy_from_slice(&body.to_be_bytes());
    header
}

/// Why a record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// A body beyond 4 GiB.
    BodyTooLong(usize),
    /// The head is no JSON; with the reason. Only a runtime that is no number does that.
    Head(String),
    /// A head beyond [`MAX_HEAD`].
    HeadTooLong(usize),
    /// The message's header table is malformed.
    Headers(DecodeError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyTooLong(length) => write!(f, "a body of {length} octets is too long"),
            Self::Head(why) => write!(f, "the head is no JSON: {why}"),
            Self::HeadTooLong(length) => {
                write!(
                    f,
                    "record head of {length} octets is longer than {MAX_HEAD}"
                )
            }
            Self::Headers(error) => write!(f, "malformed headers: {error}"),
        }
    }
}

impl std::error::Error for WriteError {}
