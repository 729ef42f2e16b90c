//! Field tables: the typed key-value lists of message headers and queue arguments.
//!
//! A [`Table`] is a view of octets that somebody else owns. It is read lazily, one pair at a time and
//! without allocation, so a malformed table is noticed by whoever reads it, and only then: a message
//! with broken headers can be refused like any other bad message, the connection lives on.
//!
//! The types are RabbitMQ's reading of the specification, whose own list contradicts itself; see
//! [`Value`]. Nesting is bounded: a table deeper than [`MAX_DEPTH`] reads as
//! [`DecodeError::TooDeep`], so whoever walks one by recursion has a bounded stack.

mod build;
mod value;

use std::fmt;

pub use self::build::{ArrayBuf, TableBuf};
pub use self::value::Value;
use super::cursor::Reader;
use super::wire::{DecodeError, ShortStr};

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
    #[inline(always)]
    fn pair(&mut self) -> Result<(ShortStr<'a>, Value<'a>), DecodeError> {
        Ok((
            self.reader.short_str()?,
            Value::read(&mut self.reader, self.depth)?,
        ))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(ShortStr<'a>, Value<'a>), DecodeError>;

    #[inline(always)]
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

    #[inline(always)]
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
