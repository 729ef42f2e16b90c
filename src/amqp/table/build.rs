//! Tables and arrays that are written pair by pair.

use std::fmt;

use super::{Array, Table, Value};
use crate::amqp::cursor::Writer;
use crate::amqp::wire::{EncodeError, ShortStr};

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
