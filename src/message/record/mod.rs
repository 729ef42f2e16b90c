//! Records: what main and a child say to each other through a pair of pipes.
//!
//! # Layout
//! ```text
//! offset  size  field
//!      0     2  magic: the letters "CL"
//!      2     1  kind: 1 Job, 2 Stop (to the child); 3 Up, 4 Started, 5 Done (from it);
//!               6 Note (to a Python app's clerk), 7 Reply (from it)
//!      3     1  flags: 0
//!      4     4  length of the head   (big-endian)
//!      8     4  length of the body   (big-endian)
//!     12        head: one JSON object, UTF-8
//!               body: octets, untouched
//! ```
//! In Python: `struct.unpack(">2sBBII", header)`, then `json.loads(head)`.
//!
//! | kind | head | body |
//! |---|---|---|
//! | Job | [`JobHead`] | the message body, `[args, kwargs, embed]` as the publisher wrote it |
//! | Stop | `{}`: take no more jobs, leave | none |
//! | Up | [`Up`] | none |
//! | Started | [`Started`] | none |
//! | Note | [`Note`] | the Job record it is about, if it is about one |
//! | Reply | [`Reply`] | none |
//! | Done | [`Done`] | the result meta to store, then the body of each message to publish |
//!
//! A Done names for each message to publish the `size` of its body in octets, so that the bodies can
//! be told apart; the rest of the record's body, before them, is the result meta.
//!
//! Values that JSON lacks travel in headers as kombu writes them, `{"__type__": .., "__value__": ..}`;
//! see [`headers`](super::headers).
//!
//! # Invariants
//! Any division of the octets into reads gives the same records. A prefix of a record is never an
//! error, garbage always is one ([`RecordError`]), and after an error the pipe is of no more use.
//! Memory grows with the octets that arrived, not with the lengths that a header announces.

mod decode;
mod encode;
mod head;

pub use decode::{Decoder, Record, RecordError};
pub use encode::{
    Job, WriteError, encode_done, encode_note, encode_started, encode_stop, encode_up, without_body,
};
pub use head::{
    About, DeliveryInfo, Done, JobHead, Note, Outcome, Publish, Reply, Started, Up, Verdict,
};

/// The first octets of every record.
pub const MAGIC: [u8; 2] = *b"CL";
/// The octets before the head.
pub const HEADER_LENGTH: usize = 12;
/// The longest head either side takes: headers of a message, a traceback.
pub const MAX_HEAD: usize = 16 << 20;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Run this task.
    Job = 1,
    /// Take no more jobs, and leave.
    Stop = 2,
    /// The child is ready for its first job.
    Up = 3,
    /// The child begins to run a job; time limits count from here.
    Started = 4,
    /// The child has run a job.
    Done = 5,
    /// Something that only the app can see to.
    Note = 6,
    /// It has been seen to.
    Reply = 7,
}

impl Kind {
    fn from_octet(octet: u8) -> Option<Self> {
        let all = [
            Self::Job,
            Self::Stop,
            Self::Up,
            Self::Started,
            Self::Done,
            Self::Note,
            Self::Reply,
        ];
        all.into_iter().find(|kind| *kind as u8 == octet)
    }
}

#[cfg(test)]
mod tests;
