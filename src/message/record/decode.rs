//! Reading records from a pipe.

use std::fmt;

use super::{Done, HEADER_LENGTH, JobHead, Kind, MAGIC, MAX_HEAD, Reply, Started, Up};
use crate::util::buffer::InBuf;

/// Turns what arrives on a pipe into records.
///
/// ```
/// use celeriac::message::record::{Decoder, Kind, Up, encode_up};
///
/// let mut octets = Vec::new();
/// encode_up(&mut octets, 4711);
/// let mut decoder = Decoder::new();
/// for octet in octets {
///     assert!(decoder.next_record().unwrap().is_none());
///     decoder.space(1)[0] = octet; // usually a read of whatever is there
///     decoder.filled(1);
/// }
/// let record = decoder.next_record().unwrap().unwrap();
/// assert_eq!(record.kind, Kind::Up);
/// assert_eq!(record.up().unwrap(), Up { pid: 4711 });
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: InBuf,
    /// Octets of the record handed out last; they go with the next call.
    taken: usize,
}

impl Decoder {
    /// A decoder for a fresh pipe.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for at least `at_least` more octets; say with [`filled`](Self::filled) how many came.
    pub fn space(&mut self, at_least: usize) -> &mut [u8] {
        self.release();
        self.buffer.space(at_least)
    }

    /// The first `count` octets of the last [`space`](Self::space) were received.
    pub fn filled(&mut self, count: usize) {
        self.buffer.filled(count);
    }

    /// Whether a record has begun that is not complete: after the pipe's end, a torn one.
    #[cfg(test)]
    pub(super) fn is_torn(&self) -> bool {
        self.buffer.len() > self.taken
    }

    /// The next complete record, or nothing until more octets have come.
    ///
    /// # Errors
    /// When the octets are no record. Every later call gives the same error.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        self.release();
        let record = Record::first(self.buffer.data())?;
        if let Some(record) = &record {
            self.taken = HEADER_LENGTH + record.head.len() + record.body.len();
        }
        Ok(record)
    }

    fn release(&mut self) {
        self.buffer.consume(std::mem::take(&mut self.taken));
    }
}

struct Header {
    kind: Kind,
    head: usize,
    body: usize,
}

impl Header {
    /// Refuses what cannot become a header as soon as it shows.
    fn read(data: &[u8]) -> Result<Option<Self>, RecordError> {
        let magic = &data[..data.len().min(2)];
        if !MAGIC.starts_with(magic) {
            return Err(RecordError::Magic);
        }
        let kind = match data.get(2) {
            Some(octet) => Kind::from_octet(*octet).ok_or(RecordError::Kind(*octet))?,
            None => return Ok(None),
        };
        if let Some(flags @ 1..) = data.get(3) {
            return Err(RecordError::Flags(*flags));
        }
        let (Some(head), Some(body)) = (length_at(data, 4), length_at(data, 8)) else {
            return Ok(None);
        };
        if head > MAX_HEAD {
            return Err(RecordError::HeadTooLong(head));
        }
        Ok(Some(Self { kind, head, body }))
    }
}

fn length_at(data: &[u8], at: usize) -> Option<usize> {
    let octets = data.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(octets)).ok()
}

/// One complete record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says.
    pub kind: Kind,
    /// A JSON object, not yet read.
    pub head: &'a [u8],
    /// What follows the head.
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record that these octets begin with, if all of it is there.
    ///
    /// # Errors
    /// When the octets are no record.
    pub fn first(octets: &'a [u8]) -> Result<Option<Self>, RecordError> {
        let Some(header) = Header::read(octets)? else {
            return Ok(None);
        };
        let head_end = HEADER_LENGTH + header.head;
        let end = head_end + header.body;
        Ok(octets.get(..end).map(|record| Self {
            kind: header.kind,
            head: &record[HEADER_LENGTH..head_end],
            body: &record[head_end..],
        }))
    }

    /// Reads the head of a Job.
    ///
    /// # Errors
    /// When it is another kind of record, or its head is not that of a Job.
    pub fn job(&self) -> Result<JobHead<'a>, RecordError> {
        self.head(Kind::Job)
    }

    /// Reads the head of an Up.
    ///
    /// # Errors
    /// As for [`job`](Self::job).
    pub fn up(&self) -> Result<Up, RecordError> {
        self.head(Kind::Up)
    }

    /// Reads the head of a Started.
    ///
    /// # Errors
    /// As for [`job`](Self::job).
    pub fn started(&self) -> Result<Started, RecordError> {
        self.head(Kind::Started)
    }

    /// Reads the head of a Reply.
    ///
    /// # Errors
    /// As for [`job`](Self::job).
    pub fn reply(&self) -> Result<Reply, RecordError> {
        self.head(Kind::Reply)
    }

    /// Reads a Done, with the bodies that belong to it.
    ///
    /// # Errors
    /// As for [`job`](Self::job), and when the bodies do not add up.
    pub fn done(&self) -> Result<Done, RecordError> {
        let mut done: Done = self.head(Kind::Done)?;
        let total: usize = done
            .publish
            .iter()
            .map(|publish| publish.size as usize)
            .sum();
        let meta = self
            .body
            .len()
            .checked_sub(total)
            .ok_or(RecordError::Bodies)?;
        let (meta, mut rest) = self.body.split_at(meta);
        done.meta = meta.to_vec();
        for publish in &mut done.publish {
            let (body, after) = rest.split_at(publish.size as usize);
            publish.body = body.to_vec();
            rest = after;
        }
        Ok(done)
    }

    fn head<T: serde::Deserialize<'a>>(&self, expected: Kind) -> Result<T, RecordError> {
        if self.kind != expected {
            return Err(RecordError::Unexpected(self.kind));
        }
        serde_json::from_slice(self.head)
            .map_err(|error| RecordError::Head(self.kind, error.to_string()))
    }
}

/// Octets that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The bodies of the messages to publish are longer than the record's body.
    Bodies,
    /// Flags that this version does not know.
    Flags(u8),
    /// The head is not the JSON that its kind wants; with the reason.
    Head(Kind, String),
    /// A head longer than [`MAX_HEAD`] octets.
    HeadTooLong(usize),
    /// A kind that this version does not know.
    Kind(u8),
    /// The octets do not begin with [`MAGIC`].
    Magic,
    /// A kind of record that has no place here.
    Unexpected(Kind),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bodies => f.write_str("bodies to publish exceed the body of the record"),
            Self::Flags(flags) => write!(f, "unknown record flags {flags:#04x}"),
            Self::Head(kind, why) => write!(f, "bad head of a {kind:?} record: {why}"),
            Self::HeadTooLong(length) => {
                write!(
                    f,
                    "record head of {length} octets is longer than {MAX_HEAD}"
                )
            }
            Self::Kind(kind) => write!(f, "unknown kind of record {kind}"),
            Self::Magic => f.write_str("not a record: it does not begin with \"CL\""),
            Self::Unexpected(kind) => write!(f, "a {kind:?} record has no place here"),
        }
    }
}

impl std::error::Error for RecordError {}
