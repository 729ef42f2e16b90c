//! The properties of a message, and the content header that carries them.

use super::cursor::{Field, Reader, Writer};
use super::table::Table;
use super::wire::{DecodeError, EncodeError, ShortStr};

/// The properties of class basic, the only class with content, in wire order.
///
/// The header table is a view that is read lazily: what is wrong inside it shows when it is read.
///
/// ```
/// use celeriac::amqp::Properties;
///
/// let persistent = Properties {
///     content_type: Some("application/json".into()),
///     delivery_mode: Some(2),
///     ..Properties::default()
/// };
/// let mut list = Vec::new();
/// persistent.encode(&mut list)?;
/// assert_eq!(Properties::decode(&list)?, persistent);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// MIME type of the body; selects the deserializer.
    pub content_type: Option<ShortStr<'a>>,
    /// Character set or `binary`.
    pub content_encoding: Option<ShortStr<'a>>,
    /// The header table.
    pub headers: Option<Table<'a>>,
    /// 1 is transient, 2 is persistent.
    pub delivery_mode: Option<u8>,
    /// From 0; higher is sooner.
    pub priority: Option<u8>,
    /// The task id, in Celery.
    pub correlation_id: Option<ShortStr<'a>>,
    /// Queue for the answer.
    pub reply_to: Option<ShortStr<'a>>,
    /// Time to live in milliseconds, as decimal digits.
    pub expiration: Option<ShortStr<'a>>,
    /// Id of the message.
    pub message_id: Option<ShortStr<'a>>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// Kind of message.
    pub type_: Option<ShortStr<'a>>,
    /// Who published; the server checks it.
    pub user_id: Option<ShortStr<'a>>,
    /// What published.
    pub app_id: Option<ShortStr<'a>>,
    /// Reserved by the specification, carried by RabbitMQ.
    pub cluster_id: Option<ShortStr<'a>>,
}

/// Presence bits of the properties, from the highest down; bit 0 says that another word follows.
mod flag {
    pub(super) const CONTENT_TYPE: u16 = 0x8000;
    pub(super) const CONTENT_ENCODING: u16 = 0x4000;
    pub(super) const HEADERS: u16 = 0x2000;
    pub(super) const DELIVERY_MODE: u16 = 0x1000;
    pub(super) const PRIORITY: u16 = 0x0800;
    pub(super) const CORRELATION_ID: u16 = 0x0400;
    pub(super) const REPLY_TO: u16 = 0x0200;
    pub(super) const EXPIRATION: u16 = 0x0100;
    pub(super) const MESSAGE_ID: u16 = 0x0080;
    pub(super) const TIMESTAMP: u16 = 0x0040;
    pub(super) const TYPE: u16 = 0x0020;
    pub(super) const USER_ID: u16 = 0x0010;
    pub(super) const APP_ID: u16 = 0x0008;
    pub(super) const CLUSTER_ID: u16 = 0x0004;
    pub(super) const CONTINUED: u16 = 0x0001;
}

impl<'a> Properties<'a> {
    /// Reads a property list: the flags and the values they announce.
    ///
    /// # Errors
    /// When a value is cut short or octets are left over. What is inside the header table does not
    /// count.
    pub fn decode(list: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(list);
        let flags = reader.u16()?;
        let mut word = flags;
        while word & flag::CONTINUED != 0 {
            word = reader.u16()?;
        }
        let properties = Self {
            content_type: optional(&mut reader, flags, flag::CONTENT_TYPE)?,
            content_encoding: optional(&mut reader, flags, flag::CONTENT_ENCODING)?,
            headers: optional(&mut reader, flags, flag::HEADERS)?,
            delivery_mode: optional(&mut reader, flags, flag::DELIVERY_MODE)?,
            priority: optional(&mut reader, flags, flag::PRIORITY)?,
            correlation_id: optional(&mut reader, flags, flag::CORRELATION_ID)?,
            reply_to: optional(&mut reader, flags, flag::REPLY_TO)?,
            expiration: optional(&mut reader, flags, flag::EXPIRATION)?,
            message_id: optional(&mut reader, flags, flag::MESSAGE_ID)?,
            timestamp: optional(&mut reader, flags, flag::TIMESTAMP)?,
            type_: optional(&mut reader, flags, flag::TYPE)?,
            user_id: optional(&mut reader, flags, flag::USER_ID)?,
            app_id: optional(&mut reader, flags, flag::APP_ID)?,
            cluster_id: optional(&mut reader, flags, flag::CLUSTER_ID)?,
        };
        reader.finish()?;
        Ok(properties)
    }

    /// Appends the property list.
    ///
    /// # Errors
    /// When a value is too long for its type; then nothing is appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let before = out.len();
        let result = self.write(&mut Writer::new(out));
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.u16(self.flags());
        write_optional(writer, self.content_type.as_ref())?;
        write_optional(writer, self.content_encoding.as_ref())?;
        write_optional(writer, self.headers.as_ref())?;
        write_optional(writer, self.delivery_mode.as_ref())?;
        write_optional(writer, self.priority.as_ref())?;
        write_optional(writer, self.correlation_id.as_ref())?;
        write_optional(writer, self.reply_to.as_ref())?;
        write_optional(writer, self.expiration.as_ref())?;
        write_optional(writer, self.message_id.as_ref())?;
        write_optional(writer, self.timestamp.as_ref())?;
        write_optional(writer, self.type_.as_ref())?;
        write_optional(writer, self.user_id.as_ref())?;
        write_optional(writer, self.app_id.as_ref())?;
        write_optional(writer, self.cluster_id.as_ref())
    }

    fn flags(&self) -> u16 {
        let present = |present: bool, flag: u16| if present { flag } else { 0 };
        present(self.content_type.is_some(), flag::CONTENT_TYPE)
            | present(self.content_encoding.is_some(), flag::CONTENT_ENCODING)
            | present(self.headers.is_some(), flag::HEADERS)
            | present(self.delivery_mode.is_some(), flag::DELIVERY_MODE)
            | present(self.priority.is_some(), flag::PRIORITY)
            | present(self.correlation_id.is_some(), flag::CORRELATION_ID)
            | present(self.reply_to.is_some(), flag::REPLY_TO)
            | present(self.expiration.is_some(), flag::EXPIRATION)
            | present(self.message_id.is_some(), flag::MESSAGE_ID)
            | present(self.timestamp.is_some(), flag::TIMESTAMP)
            | present(self.type_.is_some(), flag::TYPE)
            | present(self.user_id.is_some(), flag::USER_ID)
            | present(self.app_id.is_some(), flag::APP_ID)
            | present(self.cluster_id.is_some(), flag::CLUSTER_ID)
    }
}

#[inline]
fn optional<'a, T: Field<'a>>(
    reader: &mut Reader<'a>,
    flags: u16,
    flag: u16,
) -> Result<Option<T>, DecodeError> {
    if flags & flag == 0 {
        Ok(None)
    } else {
        T::read(reader).map(Some)
    }
}

#[inline]
fn write_optional<'a, T: Field<'a>>(
    writer: &mut Writer<'_>,
    value: Option<&T>,
) -> Result<(), EncodeError> {
    value.map_or(Ok(()), |value| value.write(writer))
}

/// The payload of a content header frame.
///
/// The property list stays as it came, so that a malformed one costs a message and not a
/// connection, and a broker can pass it on without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Class of the method before it: 60.
    pub class_id: u16,
    /// Length of the whole body in octets.
    pub body_size: u64,
    /// What [`Properties::decode`] reads.
    pub property_list: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Reads the payload of a header frame.
    ///
    /// # Errors
    /// When it is shorter than the fixed part.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let class_id = reader.u16()?;
        let _weight = reader.u16()?;
        Ok(Self {
            class_id,
            body_size: reader.u64()?,
            property_list: reader.rest(),
        })
    }

    /// Appends the payload of a header frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u16(self.class_id);
        writer.u16(0);
        writer.u64(self.body_size);
        writer.bytes(self.property_list);
    }
}
