//! The typed values of a field table.

use super::{Array, MAX_DEPTH, Table};
use crate::amqp::cursor::{Reader, Writer};
use crate::amqp::wire::{DecodeError, EncodeError};

/// A value in a field table. Each variant names the type octet it is written with.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `S`: text by convention, octets in truth.
    LongStr(&'a [u8]),
    /// `t`.
    Bool(bool),
    /// `b`.
    I8(i8),
    /// `B`.
    U8(u8),
    /// `s`; also read from `U`, which no broker sends.
    I16(i16),
    /// `u`.
    U16(u16),
    /// `I`.
    I32(i32),
    /// `i`.
    U32(u32),
    /// `l`; also read from `L`, which py-amqp writes for integers beyond 32 bits.
    I64(i64),
    /// `f`.
    F32(f32),
    /// `d`.
    F64(f64),
    /// `D`: `value` divided by ten to the power of `scale`.
    Decimal {
        /// Digits after the decimal point.
        scale: u8,
        /// The digits.
        value: i32,
    },
    /// `T`: seconds since 1970 in UTC.
    Timestamp(u64),
    /// `F`.
    Table(Table<'a>),
    /// `A`.
    Array(Array<'a>),
    /// `x`.
    Bytes(&'a [u8]),
    /// `V`: Python's None.
    Void,
}

impl<'a> Value<'a> {
    /// The text of a string; nothing when it is another type or not UTF-8.
    pub const fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::LongStr(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Some(text),
                Err(_) => None,
            },
            _ => None,
        }
    }

    /// The truth value of a boolean.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(*bool),
            _ => None,
        }
    }

    /// The value of an integer of any width.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(value) => Some(value.into()),
            Self::U8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::I64(value) => Some(value),
            _ => None,
        }
    }

    /// The value of an integer or a floating point number.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(value) => Some(value.into()),
            Self::F64(value) => Some(value),
            _ => self.as_i64().map(|value| value as f64),
        }
    }

    /// The pairs of a nested table.
    pub const fn as_table(&self) -> Option<Table<'a>> {
        match self {
            Self::Table(table) => Some(*table),
            _ => None,
        }
    }

    /// The items of an array.
    pub const fn as_array(&self) -> Option<Array<'a>> {
        match self {
            Self::Array(array) => Some(*array),
            _ => None,
        }
    }

    /// Reads what is nested in this value.
    pub(super) fn check(self) -> Result<(), DecodeError> {
        match self {
            Self::Table(table) => table.check(),
            Self::Array(array) => array.into_iter().try_for_each(|item| item?.check()),
            _ => Ok(()),
        }
    }

    /// Reads one value that stands in a table or array of this depth.
    ///
    /// Always inlined, as are its callers: a value that is returned in memory is copied by loads that span
    /// several stores, and that takes three times as long as reading it.
    #[inline(always)]
    pub(super) fn read(reader: &mut Reader<'a>, depth: u8) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            b'S' => Self::LongStr(reader.long()?),
            b't' => Self::Bool(reader.u8()? != 0),
            b'I' => Self::I32(i32::from_be_bytes(reader.array()?)),
            b'l' | b'L' => Self::I64(i64::from_be_bytes(reader.array()?)),
            b'V' => Self::Void,
            b'F' => Self::Table(Table {
                bytes: reader.long()?,
                depth: deeper(depth)?,
            }),
            b'A' => Self::Array(Array {
                bytes: reader.long()?,
                depth: deeper(depth)?,
            }),
            b'b' => Self::I8(i8::from_be_bytes(reader.array()?)),
            b'B' => Self::U8(reader.u8()?),
            b's' | b'U' => Self::I16(i16::from_be_bytes(reader.array()?)),
            b'u' => Self::U16(reader.u16()?),
            b'i' => Self::U32(reader.u32()?),
            b'f' => Self::F32(f32::from_be_bytes(reader.array()?)),
            b'd' => Self::F64(f64::from_be_bytes(reader.array()?)),
            b'D' => Self::Decimal {
                scale: reader.u8()?,
                value: i32::from_be_bytes(reader.array()?),
            },
            b'T' => Self::Timestamp(reader.u64()?),
            b'x' => Self::Bytes(reader.long()?),
            unknown => return Err(DecodeError::UnknownTag(unknown)),
        })
    }

    pub(super) fn write(self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.u8(self.tag());
        match self {
            Self::LongStr(bytes) | Self::Bytes(bytes) => writer.long(bytes)?,
            Self::Bool(value) => writer.u8(u8::from(value)),
            Self::I8(value) => writer.bytes(&value.to_be_bytes()),
            Self::U8(value) => writer.u8(value),
            Self::I16(value) => writer.bytes(&value.to_be_bytes()),
            Self::U16(value) => writer.u16(value),
            Self::I32(value) => writer.bytes(&value.to_be_bytes()),
            Self::U32(value) => writer.u32(value),
            Self::I64(value) => writer.bytes(&value.to_be_bytes()),
            Self::F32(value) => writer.bytes(&value.to_be_bytes()),
            Self::F64(value) => writer.bytes(&value.to_be_bytes()),
            Self::Decimal { scale, value } => {
                writer.u8(scale);
                writer.bytes(&value.to_be_bytes());
            }
            Self::Timestamp(value) => writer.u64(value),
            Self::Table(table) => writer.long(table.as_bytes())?,
            Self::Array(array) => writer.long(array.as_bytes())?,
            Self::Void => {}
        }
        Ok(())
    }

    const fn tag(self) -> u8 {
        match self {
            Self::LongStr(_) => b'S',
            Self::Bool(_) => b't',
            Self::I8(_) => b'b',
            Self::U8(_) => b'B',
            Self::I16(_) => b's',
            Self::U16(_) => b'u',
            Self::I32(_) => b'I',
            Self::U32(_) => b'i',
            Self::I64(_) => b'l',
            Self::F32(_) => b'f',
            Self::F64(_) => b'd',
            Self::Decimal { .. } => b'D',
            Self::Timestamp(_) => b'T',
            Self::Table(_) => b'F',
            Self::Array(_) => b'A',
            Self::Bytes(_) => b'x',
            Self::Void => b'V',
        }
    }
}

const fn deeper(depth: u8) -> Result<u8, DecodeError> {
    if depth + 1 < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(DecodeError::TooDeep)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::LongStr(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::LongStr(text.as_bytes())
    }
}

impl<'a> From<Table<'a>> for Value<'a> {
    fn from(table: Table<'a>) -> Self {
        Self::Table(table)
    }
}

impl<'a> From<Array<'a>> for Value<'a> {
    fn from(array: Array<'a>) -> Self {
        Self::Array(array)
    }
}

/// One variant each: the conversion says which.
macro_rules! value_from {
    ($($rust:ty => $variant:ident)*) => {$(
        impl From<$rust> for Value<'_> {
            fn from(value: $rust) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

value_from! { bool => Bool i32 => I32 u32 => U32 i64 => I64 f64 => F64 }
