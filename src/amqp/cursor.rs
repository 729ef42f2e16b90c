//! Reading and writing the arguments of one method, or the properties of one message.
//!
//! [`Reader`] and [`Writer`] follow the two rules that the grammar has for packing: integers are
//! big-endian, and consecutive bits share an octet, least significant first, until an argument of
//! another type comes.

use super::table::Table;
use super::wire::{DecodeError, EncodeError, ShortStr};

/// One argument of a method: how it is read and written.
pub(crate) trait Field<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError>;
}

/// A cursor over the octets of one argument list.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// What is left of the current octet of bits, first bit lowest.
    bits: u8,
    /// How many bits are left in it; zero after any argument that is not a bit.
    bits_left: u8,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            bits: 0,
            bits_left: 0,
        }
    }

    /// The next `N` octets.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        self.bits_left = 0;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next `length` octets.
    #[inline]
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        self.bits_left = 0;
        Ok(head)
    }

    #[inline]
    pub(crate) fn short_str(&mut self) -> Result<ShortStr<'a>, DecodeError> {
        let length = self.u8()?;
        self.bytes(usize::from(length)).map(ShortStr::from)
    }

    /// Octets behind a length of four octets: long strings, tables, arrays.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()?;
        self.bytes(usize::try_from(length).map_err(|_| DecodeError::Truncated)?)
    }

    #[inline]
    pub(crate) fn bit(&mut self) -> Result<bool, DecodeError> {
        if self.bits_left == 0 {
            self.bits = self.u8()?;
            self.bits_left = 8;
        }
        let bit = self.bits & 1 == 1;
        self.bits >>= 1;
        self.bits_left -= 1;
        Ok(bit)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the argument list.
    #[inline]
    pub(crate) const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes {
                count: self.rest.len(),
            })
        }
    }
}

/// Appends the octets of one argument list to a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    out: &'b mut Vec<u8>,
    /// The next bit's place in the last octet written; zero starts a new octet.
    next_bit: u8,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out, next_bit: 0 }
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.next_bit = 0;
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn u8(&mut self, value: u8) {
        self.next_bit = 0;
        self.out.push(value);
    }

    #[inline]
    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn short_str(&mut self, text: ShortStr<'_>) -> Result<(), EncodeError> {
        let Ok(length) = u8::try_from(text.as_bytes().len()) else {
            return Err(short_str_too_long(text));
        };
        self.u8(length);
        self.bytes(text.as_bytes());
        Ok(())
    }

    #[inline]
    pub(crate) fn long(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let length = u32::try_from(bytes.len()).map_err(|_| EncodeError::TooLong {
            length: bytes.len(),
        })?;
        self.u32(length);
        self.bytes(bytes);
        Ok(())
    }

    #[inline]
    pub(crate) fn bit(&mut self, bit: bool) {
        if self.next_bit == 0 {
            self.out.push(0);
        }
        if let Some(last) = self.out.last_mut() {
            *last |= u8::from(bit) << self.next_bit;
        }
        self.next_bit = (self.next_bit + 1) % 8;
    }
}

#[cold]
fn short_str_too_long(text: ShortStr<'_>) -> EncodeError {
    EncodeError::ShortStrTooLong {
        start: text.to_string_lossy().chars().take(32).collect(),
        length: text.as_bytes().len(),
    }
}

impl<'a> Field<'a> for bool {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.bit()
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bit(*self);
        Ok(())
    }
}

/// The integers, all of them big-endian.
macro_rules! integer_fields {
    ($($integer:ident)*) => {$(
        impl<'a> Field<'a> for $integer {
            #[inline]
            fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.$integer()
            }

            #[inline]
            fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
                writer.$integer(*self);
                Ok(())
            }
        }
    )*};
}

integer_fields! { u8 u16 u32 u64 }

impl<'a> Field<'a> for ShortStr<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.short_str()
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.short_str(*self)
    }
}

/// A long string.
impl<'a> Field<'a> for &'a [u8] {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.long()
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.long(self)
    }
}

impl<'a> Field<'a> for Table<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.long().map(Table::from_bytes)
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.long(self.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_bits_take_two_octets_and_another_type_starts_a_new_one() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for bit in [true, false, true, false, false, false, false, true, true] {
            writer.bit(bit);
        }
        writer.u8(7);
        writer.bit(true);
        assert_eq!(out, [0b1000_0101, 0b1, 7, 1]);

        let mut reader = Reader::new(&out);
        let bits: Vec<bool> = (0..9).map(|_| reader.bit().expect("nine bits")).collect();
        assert_eq!(
            bits,
            [true, false, true, false, false, false, false, true, true]
        );
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.bit(), Ok(true));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_declared_length_beyond_the_end_is_an_error() {
        assert_eq!(
            Reader::new(&[3, b'a', b'b']).short_str(),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            Reader::new(&[255, 255, 255, 255, 0]).long(),
            Err(DecodeError::Truncated)
        );
        assert_eq!(Reader::new(&[]).bit(), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_short_string_of_255_octets_is_the_longest() {
        let (fits, too_long) = ("é".repeat(127) + "x", "é".repeat(128));
        let mut out = Vec::new();
        Writer::new(&mut out)
            .short_str(ShortStr::from(&fits))
            .expect("255 octets fit");
        assert_eq!(Reader::new(&out).short_str(), Ok(ShortStr::from(&fits)));
        let error = Writer::new(&mut out).short_str(ShortStr::from(&too_long));
        assert!(
            matches!(error, Err(EncodeError::ShortStrTooLong { length: 256, .. })),
            "{error:?}"
        );
    }
}
