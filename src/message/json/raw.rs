//! Raw values: slices of a scanned text, opened one level at a time.

use std::borrow::Cow;

use super::scan::{JsonError, Scanner, is_high_surrogate, unit_at};

/// The text of one JSON value, known to be well formed. Cheap to copy, never decoded unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// What a [`Raw`] value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number, Python's `NaN` and infinities included.
    Number,
    /// A string
    String,
    /// A list
    Array,
    /// A mapping
    Object,
}

impl Kind {
    /// The word for it in messages to people.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "a list",
            Self::Object => "a mapping",
        }
    }
}

impl<'a> Raw<'a> {
    /// `null`
    pub const NULL: Raw<'static> = Raw("null");
    /// `[]`
    pub const EMPTY_LIST: Raw<'static> = Raw("[]");
    /// `{}`
    pub const EMPTY_MAPPING: Raw<'static> = Raw("{}");

    /// Scans `text`, which must be one value and nothing else.
    ///
    /// # Errors
    /// Where it is not.
    ///
    /// ```
    /// use celeriac::message::json::{Kind, Raw};
    /// let list = Raw::parse("[1, NaN, \"x\"]").unwrap();
    /// assert_eq!(list.kind(), Kind::Array);
    /// assert_eq!(list.elements().nth(2).unwrap().as_str().unwrap(), "x");
    /// ```
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.end()?;
        Ok(value)
    }

    /// A slice that the scanner has just passed over.
    pub(super) fn checked(text: &'a str) -> Self {
        Self(text)
    }

    /// The JSON text, without surrounding white space.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// What it is; the first octet tells.
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The elements of a list; none for any other value.
    pub fn elements(self) -> Elements<'a> {
        let mut scanner = Scanner::new(self.0);
        let open = scanner.enter(b'[');
        Elements {
            scanner,
            open,
            first: true,
        }
    }

    /// The keys and values of a mapping, in the order written; none for any other value.
    pub fn members(self) -> Members<'a> {
        let mut scanner = Scanner::new(self.0);
        let open = scanner.enter(b'{');
        Members {
            scanner,
            open,
            first: true,
        }
    }

    /// The string it is. A lone surrogate reads as U+FFFD.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(if inner.contains('\\') {
            Cow::Owned(unescape(inner))
        } else {
            Cow::Borrowed(inner)
        })
    }

    /// The boolean it is.
    pub fn as_bool(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// The integer it is, when it fits.
    pub fn as_i64(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The number it is, as the nearest double.
    pub fn as_f64(self) -> Option<f64> {
        match self.0 {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text if self.kind() == Kind::Number => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }
}

/// See [`Raw::elements`].
#[derive(Debug)]
pub struct Elements<'a> {
    scanner: Scanner<'a>,
    open: bool,
    first: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        // The text was scanned before, so an error cannot occur; it would end the iteration.
        let first = std::mem::replace(&mut self.first, false);
        self.open = self.open && self.scanner.has_next(first, b']').unwrap_or(false);
        if self.open {
            self.scanner.value().ok()
        } else {
            None
        }
    }
}

/// See [`Raw::members`].
#[derive(Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    open: bool,
    first: bool,
}

impl<'a> Iterator for Members<'a> {
    /// Key (a string) and value.
    type Item = (Raw<'a>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let first = std::mem::replace(&mut self.first, false);
        self.open = self.open && self.scanner.has_next(first, b'}').unwrap_or(false);
        if !self.open {
            return None;
        }
        let key = self.scanner.key().ok()?;
        Some((key, self.scanner.value().ok()?))
    }
}

/// The first three elements of a list, and how many it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::message) struct FirstThree<'a> {
    pub(in crate::message) elements: [Option<Raw<'a>>; 3],
    pub(in crate::message) count: usize,
}

/// Finds the first three elements of a list in the same pass that checks all of its text.
/// Nothing when the next value is no list; that is then still to be passed over.
pub(in crate::message) fn first_three<'a>(
    scanner: &mut Scanner<'a>,
) -> Result<Option<FirstThree<'a>>, JsonError> {
    if !scanner.enter(b'[') {
        return Ok(None);
    }
    let mut list = FirstThree::default();
    while scanner.has_next(list.count == 0, b']')? {
        let value = scanner.value()?;
        if let Some(place) = list.elements.get_mut(list.count) {
            *place = Some(value);
        }
        list.count += 1;
    }
    scanner.end()?;
    Ok(Some(list))
}

fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut at = 0;
    while let Some(plain) = inner[at..].find('\\') {
        out.push_str(&inner[at..at + plain]);
        at += plain;
        let (character, length) = escaped(inner, at);
        out.push(character);
        at += length;
    }
    out.push_str(&inner[at..]);
    out
}

/// The character that the escape at `at` stands for, and the octets it takes.
fn escaped(inner: &str, at: usize) -> (char, usize) {
    let short = match inner.as_bytes().get(at + 1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return escaped_unit(inner, at),
        Some(other) => char::from(*other),
        None => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (short, 2)
}

fn escaped_unit(inner: &str, at: usize) -> (char, usize) {
    let Some(unit) = unit_at(inner, at) else {
        return (char::REPLACEMENT_CHARACTER, 2);
    };
    let low = unit_at(inner, at + 6).filter(|_| is_high_surrogate(unit));
    let pair = low.and_then(|low| char::decode_utf16([unit, low]).next()?.ok());
    match pair {
        Some(character) => (character, 12),
        None => (
            char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER),
            6,
        ),
    }
}
