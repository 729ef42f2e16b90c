//! Field tables: the typed key-value lists of message headers and queue arguments.
//!
//! A [`Table`] is a view of octets that somebody else owns. It is read lazily, one pair at a time and
//! without allocation, so a malformed table is noticed by whoever reads it, and only then: a message
//! with broken headers can be refused like any other bad message, the connection lives on.
//!
//! The types are RabbitMQ's reading of the specification, whose own list contradicts itself; see
//! [`Value`]. Nesting is bounded: a table deeper than [`MAX_DEPTH`] reads as
//! [`DecodeError::TooDeep`], so whoever walks one by recursion has a bounded stack.

use std::fmt;

use super::wire::{DecodeError, EncodeError, Reader, ShortStr, Writer};

/// How deeply tables and arrays may be nested; the outermost table has depth 1.
pub const MAX_DEPTH: u8 = 64;

/// A field table as it stands on the wire, without its length.
///
/// Equality is of octets: the same pairs in another order make another table.
///
/// ```
/// use celeriac::amqp::table::{Table, TableBuf, Value};
///
/// let mut headers = TableBuf::new();
/// headers.insert("task", "tasks.add")?;
/// headers.insert("retries", 0)?;
/// let table: Table<'_> = headers.as_table();
/// assert_eq!(table.find("retries")?, Some(Value::I32(0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Table<'a> {
    bytes: &'a [u8],
    /// How many tables and arrays enclose this one.
    depth: u8,
}

impl<'a> Table<'a> {
    /// The table that these octets encode, its length not among them. They are not checked here.
    pub const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes, depth: 0 }
    }

    /// The octets, without the length.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the table has no pairs.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The pairs, in the order of the wire. After an error the iterator ends.
    pub const fn iter(self) -> Pairs<'a> {
        Pairs {
            reader: Reader::new(self.bytes),
            depth: self.depth,
        }
    }

    /// The value of the first pair with this key.
    ///
    /// # Errors
    /// When the table is malformed before that pair.
    pub fn find(self, key: &str) -> Result<Option<Value<'a>>, DecodeError> {
        for pair in self {
            let (name, value) = pair?;
            if name == key {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Reads every value, nested ones included.
    ///
    /// # Errors
    /// The first thing that is wrong with the table.
    pub fn check(self) -> Result<(), DecodeError> {
        self.into_iter().try_for_each(|pair| pair?.1.check())
    }
}

impl<'a> IntoIterator for Table<'a> {
    type Item = Result<(ShortStr<'a>, Value<'a>), DecodeError>;
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        self.iter()
    }
}

/// Shows the pairs, as far as they can be read.
impl fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for pair in *self {
            match pair {
                Ok((key, value)) => map.entry(&key, &value),
                Err(error) => map.entry(&"?", &error),
            };
        }
        map.finish()
    }
}

/// The pairs of a [`Table`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    reader: Reader<'a>,
    depth: u8,
}

impl<'a> Pairs<'a> {
    fn pair(&mut self) -> Result<(ShortStr<'a>, Value<'a>), DecodeError> {
        Ok((
            self.reader.short_str()?,
            Value::read(&mut self.reader, self.depth)?,
        ))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(ShortStr<'a>, Value<'a>), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(pair)
    }
}

/// A list of values, as it stands on the wire without its length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Array<'a> {
    bytes: &'a [u8],
    /// How many tables and arrays enclose this one.
    depth: u8,
}

impl<'a> Array<'a> {
    /// The array that these octets encode, its length not among them. They are not checked here.
    pub const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes, depth: 0 }
    }

    /// The octets, without the length.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the array has no items.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The values, in order. After an error the iterator ends.
    pub const fn iter(self) -> Items<'a> {
        Items {
            reader: Reader::new(self.bytes),
            depth: self.depth,
        }
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Result<Value<'a>, DecodeError>;
    type IntoIter = Items<'a>;

    fn into_iter(self) -> Items<'a> {
        self.iter()
    }
}

/// Shows the items, as far as they can be read.
impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// The values of an [`Array`].
#[derive(Clone, Debug)]
pub struct Items<'a> {
    reader: Reader<'a>,
    depth: u8,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Value<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let value = Value::read(&mut self.reader, self.depth);
        if value.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(value)
    }
}

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
    fn check(self) -> Result<(), DecodeError> {
        match self {
            Self::Table(table) => table.check(),
            Self::Array(array) => array.into_iter().try_for_each(|item| item?.check()),
            _ => Ok(()),
        }
    }

    /// Reads one value that stands in a table or array of this depth.
    #[inline]
    fn read(reader: &mut Reader<'a>, depth: u8) -> Result<Self, DecodeError> {
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

    fn write(self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
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

/// A field table under construction.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TableBuf {
    bytes: Vec<u8>,
}

impl TableBuf {
    /// An empty table.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a pair. A key that is there already is not looked for: readers take the first.
    ///
    /// # Errors
    /// When the key is longer than 255 octets; the table is as before.
    pub fn insert<'v>(
        &mut self,
        key: impl Into<ShortStr<'v>>,
        value: impl Into<Value<'v>>,
    ) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        let mut writer = Writer::new(&mut self.bytes);
        let result = writer
            .short_str(key.into())
            .and_then(|()| value.into().write(&mut writer));
        if result.is_err() {
            self.bytes.truncate(before);
        }
        result
    }

    /// The table so far.
    pub fn as_table(&self) -> Table<'_> {
        Table::from_bytes(&self.bytes)
    }

    /// Whether the table has no pairs.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Removes all pairs and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl From<Table<'_>> for TableBuf {
    fn from(table: Table<'_>) -> Self {
        Self {
            bytes: table.as_bytes().to_vec(),
        }
    }
}

impl fmt::Debug for TableBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_table().fmt(f)
    }
}

/// An array under construction.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ArrayBuf {
    bytes: Vec<u8>,
}

impl ArrayBuf {
    /// An empty array.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a value.
    ///
    /// # Errors
    /// When the value is longer than 4 GiB; the array is as before.
    pub fn push<'v>(&mut self, value: impl Into<Value<'v>>) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        let result = value.into().write(&mut Writer::new(&mut self.bytes));
        if result.is_err() {
            self.bytes.truncate(before);
        }
        result
    }

    /// The array so far.
    pub fn as_array(&self) -> Array<'_> {
        Array::from_bytes(&self.bytes)
    }
}

impl fmt::Debug for ArrayBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_array().fmt(f)
    }
}
