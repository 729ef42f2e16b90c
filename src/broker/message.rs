//! Messages: one allocation each.
//!
//! ```text
//!  0            1       2                 6
//!  +------------+-------+-----------------+----------+-----+---------------+------+
//!  | exchange's | key's | property list's | exchange | key | property list | body |
//!  | length     | length| length          |          |     |               |      |
//!  +------------+-------+-----------------+----------+-----+---------------+------+
//! ```
//!
//! The property list stays as it came, so a message is passed on without being taken apart.

use std::fmt;
use std::time::Instant;

/// The lengths at the start.
const HEAD: usize = 6;

/// No more room than this is made for a body before its octets are there.
const TRUSTED: usize = 64 * 1024;

/// A message as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Message(Box<[u8]>);

/// The pieces of a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The exchange it was published to.
    pub(super) exchange: &'a [u8],
    /// The key it was published with.
    pub(super) routing_key: &'a [u8],
    pub(super) property_list: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Message {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let mut draft = Draft::new(
            parts.exchange,
            parts.routing_key,
            parts.property_list,
            parts.body.len() as u64,
        );
        draft.bytes.extend_from_slice(parts.body);
        Self(draft.bytes.into_boxed_slice())
    }

    #[inline]
    pub(super) fn parts(&self) -> Parts<'_> {
        let (exchange, rest) = self.0[HEAD..].split_at(usize::from(self.0[0]));
        let (routing_key, rest) = rest.split_at(usize::from(self.0[1]));
        let length = u32::from_le_bytes([self.0[2], self.0[3], self.0[4], self.0[5]]);
        let (property_list, body) = rest.split_at(length as usize);
        Parts {
            exchange,
            routing_key,
            property_list,
            body,
        }
    }

    /// What it takes in memory, in octets, besides its place in a list.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().fmt(f)
    }
}

/// A message whose body is still coming.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    /// Octets of the body that are still to come.
    missing: u64,
}

impl Draft {
    /// `exchange` and `routing_key` come from short strings; longer ones would be cut.
    pub(super) fn new(
        exchange: &[u8],
        routing_key: &[u8],
        property_list: &[u8],
        body_size: u64,
    ) -> Self {
        let short = |text: &[u8]| u8::try_from(text.len()).unwrap_or(u8::MAX);
        let (exchange_length, key_length) = (short(exchange), short(routing_key));
        let expected = usize::try_from(body_size).unwrap_or(TRUSTED).min(TRUSTED);
        let mut bytes = Vec::with_capacity(
            HEAD + exchange.len() + routing_key.len() + property_list.len() + expected,
        );
        bytes.extend_from_slice(&[exchange_length, key_length]);
        // A property list came in a frame, whose length has 32 bits.
        bytes.extend_from_slice(&(property_list.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&exchange[..usize::from(exchange_length)]);
        bytes.extend_from_slice(&routing_key[..usize::from(key_length)]);
        bytes.extend_from_slice(property_list);
        Self {
            bytes,
            missing: body_size,
        }
    }

    /// Adds a piece of the body; `false` when that is more than was announced.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        match self.missing.checked_sub(piece.len() as u64) {
            Some(missing) => {
                self.missing = missing;
                self.bytes.extend_from_slice(piece);
                true
            }
            None => false,
        }
    }

    /// Whether the body is complete.
    pub(super) const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub(super) fn finish(self) -> Message {
        Message(self.bytes.into_boxed_slice())
    }
}

/// A message in a queue, or on its way to a consumer and back.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Message,
    /// When it expires.
    pub(super) expires: Option<Instant>,
    /// Its place: a message that comes back goes before all that were published later.
    pub(super) sequence: u64,
    /// How often it has come back.
    pub(super) returns: u32,
    /// The level it is in; zero without priorities.
    pub(super) priority: u8,
}

impl Entry {
    /// What it takes in memory, in octets.
    pub(super) fn size(&self) -> usize {
        self.message.size() + size_of::<Self>()
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_parts_back() {
        let parts = Parts {
            exchange: b"celeryev",
            routing_key: b"task.sent",
            property_list: b"\0\0",
            body: b"{}",
        };
        assert_eq!(Message::new(parts).parts(), parts);
        let mut draft = Draft::new(b"", b"q", b"", 3);
        assert!(draft.push(b"ab") && !draft.push(b"cd") && !draft.is_complete());
        assert!(draft.push(b"c") && draft.is_complete());
        assert_eq!(draft.finish().parts().body, b"abc");
    }

    #[test]
    fn no_room_is_made_for_a_promise() {
        let draft = Draft::new(b"", b"q", b"", u64::MAX);
        assert!(draft.bytes.capacity() < 2 * TRUSTED);
    }

    /// A million of these are what the broker's memory is.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
    }
}
