//! Messages: a method, a content header and a body, put together from their frames.
//!
//! The usual message has one body frame or none, and its frames stand behind each other in the
//! receive buffer. [`look_ahead`] finds it there, and nothing is copied: strings, headers and body
//! are borrowed from the buffer. Any other message (a body in several frames, frames of another
//! channel in between) is gathered in an [`Assembly`], which grows as octets arrive.

use super::error::{ConnectionError, MessageError};
use super::event::{Delivery, DeliveryTag, Event, Malformed, Returned};
use crate::amqp::frame::{self, FrameKind, OVERHEAD};
use crate::amqp::method::Method;
use crate::amqp::props::{ContentHeader, Properties};
use crate::amqp::wire::ShortStr;

/// Which life of which channel a message belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) channel: u16,
    pub(super) epoch: u32,
    pub(super) incarnation: u32,
}

impl Origin {
    const fn tag(self, number: u64) -> DeliveryTag {
        let Self {
            channel,
            epoch,
            incarnation,
        } = self;
        DeliveryTag {
            channel,
            number,
            epoch,
            incarnation,
        }
    }

    /// The event for a complete message; nothing when the method carries none to a client.
    pub(super) fn event<'d>(
        self,
        method: Method<'d>,
        property_list: &'d [u8],
        body: Result<&'d [u8], MessageError>,
    ) -> Option<Event<'d>> {
        let channel = self.channel;
        let properties = Properties::decode(property_list).map_err(MessageError::Properties);
        let (properties, body) = match (properties, body) {
            (Ok(properties), Ok(body)) => (properties, body),
            (Err(error), _) | (_, Err(error)) => {
                return self.malformed(method, error).map(Event::Malformed);
            }
        };
        Some(match method {
            Method::BasicDeliver(deliver) => Event::Deliver(Delivery {
                channel,
                consumer_tag: deliver.consumer_tag,
                tag: self.tag(deliver.delivery_tag),
                redelivered: deliver.redelivered,
                exchange: deliver.exchange,
                routing_key: deliver.routing_key,
                properties,
                body,
            }),
            Method::BasicGetOk(got) => Event::GetOk {
                delivery: Delivery {
                    channel,
                    consumer_tag: ShortStr::default(),
                    tag: self.tag(got.delivery_tag),
                    redelivered: got.redelivered,
                    exchange: got.exchange,
                    routing_key: got.routing_key,
                    properties,
                    body,
                },
                message_count: got.message_count,
            },
            Method::BasicReturn(returned) => Event::Return(Returned {
                channel,
                code: returned.reply_code,
                text: returned.reply_text,
                exchange: returned.exchange,
                routing_key: returned.routing_key,
                properties,
                body,
            }),
            _ => return None,
        })
    }

    fn malformed(self, method: Method<'_>, error: MessageError) -> Option<Malformed<'_>> {
        let channel = self.channel;
        Some(match method {
            Method::BasicDeliver(deliver) => Malformed {
                channel,
                tag: Some(self.tag(deliver.delivery_tag)),
                consumer_tag: deliver.consumer_tag,
                redelivered: deliver.redelivered,
                exchange: deliver.exchange,
                routing_key: deliver.routing_key,
                error,
            },
            Method::BasicGetOk(got) => Malformed {
                channel,
                tag: Some(self.tag(got.delivery_tag)),
                consumer_tag: ShortStr::default(),
                redelivered: got.redelivered,
                exchange: got.exchange,
                routing_key: got.routing_key,
                error,
            },
            Method::BasicReturn(returned) => Malformed {
                channel,
                tag: None,
                consumer_tag: ShortStr::default(),
                redelivered: false,
                exchange: returned.exchange,
                routing_key: returned.routing_key,
                error,
            },
            _ => return None,
        })
    }
}

/// What stands behind a method that carries content.
#[derive(Debug)]
pub(super) enum Ahead<'d> {
    /// The whole of it.
    Whole {
        property_list: &'d [u8],
        body: &'d [u8],
        /// Octets of its frames.
        size: usize,
    },
    /// The beginning of it.
    Partial,
    /// Something else, or more than is borrowed in one piece.
    Scattered,
}

/// Looks for the header and the only body frame right behind their method.
pub(super) fn look_ahead(
    rest: &[u8],
    channel: u16,
    frame_max: u32,
    max_message_size: u64,
) -> Result<Ahead<'_>, ConnectionError> {
    let Some((frame, header_size)) = frame::decode(rest, frame_max)? else {
        return Ok(Ahead::Partial);
    };
    if (frame.kind, frame.channel) != (FrameKind::Header, channel) {
        return Ok(Ahead::Scattered);
    }
    let header = read_header(channel, frame.payload)?;
    let property_list = header.property_list;
    if header.body_size == 0 {
        return Ok(Ahead::Whole {
            property_list,
            body: &[],
            size: header_size,
        });
    }
    let one_frame = u64::from(frame_max).saturating_sub(OVERHEAD as u64);
    if header.body_size > one_frame.min(max_message_size) {
        return Ok(Ahead::Scattered);
    }
    let rest = rest.get(header_size..).unwrap_or_default();
    let Some((frame, body_size)) = frame::decode(rest, frame_max)? else {
        return Ok(Ahead::Partial);
    };
    let is_all = frame.payload.len() as u64 == header.body_size;
    if (frame.kind, frame.channel, is_all) != (FrameKind::Body, channel, true) {
        return Ok(Ahead::Scattered);
    }
    let size = header_size + body_size;
    Ok(Ahead::Whole {
        property_list,
        body: frame.payload,
        size,
    })
}

/// Reads a content header; only class basic has content.
pub(super) fn read_header(
    channel: u16,
    payload: &[u8],
) -> Result<ContentHeader<'_>, ConnectionError> {
    let header = ContentHeader::decode(payload)
        .map_err(|error| ConnectionError::Syntax { channel, error })?;
    if header.class_id == frame::BASIC {
        Ok(header)
    } else {
        Err(ConnectionError::UnexpectedFrame {
            channel,
            kind: FrameKind::Header,
        })
    }
}

/// A message that is coming in pieces.
#[derive(Debug)]
pub(super) struct Assembly {
    /// Payload of the method frame; it has been decoded once.
    method: Vec<u8>,
    property_list: Vec<u8>,
    /// What has come of the body; stays empty when it is too large to be kept.
    body: Vec<u8>,
    /// Octets of the body that are still to come; nothing before the header has come.
    remaining: Option<u64>,
    /// Set when the body is larger than is kept.
    too_large: Option<MessageError>,
}

impl Assembly {
    pub(super) fn new(method: &[u8]) -> Self {
        Self {
            method: method.to_vec(),
            property_list: Vec::new(),
            body: Vec::new(),
            remaining: None,
            too_large: None,
        }
    }

    /// Takes the content header. False when it came before.
    pub(super) fn add_header(&mut self, header: &ContentHeader<'_>, limit: u64) -> bool {
        if self.remaining.is_some() {
            return false;
        }
        self.property_list.extend_from_slice(header.property_list);
        self.remaining = Some(header.body_size);
        self.too_large = (header.body_size > limit).then_some(MessageError::TooLarge {
            size: header.body_size,
            limit,
        });
        true
    }

    /// Takes a piece of the body. False when it belongs nowhere.
    pub(super) fn add_body(&mut self, piece: &[u8]) -> bool {
        let left = self
            .remaining
            .and_then(|remaining| remaining.checked_sub(piece.len() as u64));
        let Some(left) = left else { return false };
        self.remaining = Some(left);
        if self.too_large.is_none() {
            self.body.extend_from_slice(piece);
        }
        true
    }

    pub(super) fn is_complete(&self) -> bool {
        self.remaining == Some(0)
    }

    /// The event for the complete message.
    pub(super) fn event(&self, origin: Origin) -> Option<Event<'_>> {
        let method = Method::decode(&self.method).ok()?;
        let body = match self.too_large {
            Some(error) => Err(error),
            None => Ok(self.body.as_slice()),
        };
        origin.event(method, &self.property_list, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allocated_on_a_promise() {
        let header = ContentHeader {
            class_id: 60,
            body_size: 1 << 30,
            property_list: &[],
        };
        let mut message = Assembly::new(&[]);
        assert!(message.add_header(&header, 1 << 40));
        assert_eq!(message.body.capacity(), 0);
        assert!(message.add_body(&[7; 1000]));
        assert!(message.body.capacity() < 10_000);

        let mut skipped = Assembly::new(&[]);
        assert!(skipped.add_header(&header, 1 << 20));
        assert!(skipped.add_body(&[7; 1000]));
        assert_eq!(skipped.body.capacity(), 0);
    }
}
