//! The scanner: one iterative pass that finds where values begin and end.

use std::fmt;

use super::nesting::{Container, Nesting};
use super::raw::Raw;

/// How deep values may nest. The scanner needs one bit a level, so this is no guard of our stack;
/// it only refuses what no reader of the other side could take either.
pub const MAX_DEPTH: usize = 100_000;

/// A forward-only reader of values in one JSON text.
///
/// It accepts exactly what Python's `json.loads` accepts, and remembers the first token that
/// stricter readers do not ([`Scanner::oddity`]).
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    /// The next octet to look at; `at <= text.len()`, always on a character boundary when a
    /// method returns.
    at: usize,
    nesting: Nesting,
    oddity: Option<Oddity<'a>>,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            nesting: Nesting::default(),
            oddity: None,
        }
    }

    /// A scanner over a message body, which Python reads as UTF-8 whatever its declared encoding.
    ///
    /// # Errors
    /// [`Problem::NotUtf8`] at the first octet that is not UTF-8.
    pub fn from_bytes(body: &'a [u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self::new(text)),
            Err(error) => Err(JsonError {
                offset: error.valid_up_to(),
                problem: Problem::NotUtf8,
            }),
        }
    }

    /// The first token that Python reads and strict parsers refuse, if one was passed.
    pub fn oddity(&self) -> Option<Oddity<'a>> {
        self.oddity
    }

    /// Passes over one value, however deep, and returns its text.
    ///
    /// # Errors
    /// Where the text is not JSON as Python understands it.
    pub fn value(&mut self) -> Result<Raw<'a>, JsonError> {
        self.whitespace();
        let start = self.at;
        loop {
            let closed = self.scalar_or_opening()?;
            if closed && self.after_value()? {
                return Ok(Raw::checked(&self.text[start..self.at]));
            }
        }
    }

    /// Enters the container that begins with `open` (`[` or `{`), if one is next.
    pub(super) fn enter(&mut self, open: u8) -> bool {
        self.whitespace();
        let entered = self.peek() == Some(open);
        self.at += usize::from(entered);
        entered
    }

    /// Inside an entered container: whether another element follows. Passes over the comma, or
    /// over the closing bracket when there is none.
    pub(super) fn has_next(&mut self, first: bool, close: u8) -> Result<bool, JsonError> {
        self.whitespace();
        match self.peek() {
            Some(octet) if octet == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.error(Problem::ExpectedCommaOrClose)),
        }
    }

    /// Passes over a key and its colon.
    pub(super) fn key(&mut self) -> Result<Raw<'a>, JsonError> {
        self.whitespace();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.error(Problem::ExpectedKey));
        }
        self.string()?;
        let key = Raw::checked(&self.text[start..self.at]);
        self.whitespace();
        if self.peek() != Some(b':') {
            return Err(self.error(Problem::ExpectedColon));
        }
        self.at += 1;
        Ok(key)
    }

    /// Checks that nothing but white space follows.
    ///
    /// # Errors
    /// [`Problem::TrailingData`] otherwise.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.whitespace();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.error(Problem::TrailingData))
        }
    }

    /// Reads a scalar, an empty container, or the opening of one. Returns whether that completed
    /// a value.
    fn scalar_or_opening(&mut self) -> Result<bool, JsonError> {
        self.whitespace();
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'[') => return self.opening(Container::Array),
            Some(b'{') => return self.opening(Container::Object),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'n') => self.literal("null")?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'N') => self.not_a_number("NaN")?,
            Some(b'I') => self.not_a_number("Infinity")?,
            _ => return Err(self.error(Problem::ExpectedValue)),
        }
        Ok(true)
    }

    fn opening(&mut self, container: Container) -> Result<bool, JsonError> {
        self.at += 1;
        self.whitespace();
        if self.peek() == Some(container.close()) {
            self.at += 1;
            return Ok(true);
        }
        if self.nesting.depth() == MAX_DEPTH {
            return Err(self.error(Problem::TooDeep));
        }
        self.nesting.push(container);
        if container == Container::Object {
            self.key()?;
        }
        Ok(false)
    }

    /// After a complete value: closes what ends here. Returns whether the outermost value is
    /// complete; otherwise the next element follows.
    fn after_value(&mut self) -> Result<bool, JsonError> {
        while let Some(container) = self.nesting.innermost() {
            if self.has_next(false, container.close())? {
                if container == Container::Object {
                    self.key()?;
                }
                return Ok(false);
            }
            self.nesting.pop();
        }
        Ok(true)
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error(Problem::ExpectedValue));
        }
        self.at += word.len();
        Ok(())
    }

    fn not_a_number(&mut self, word: &'static str) -> Result<(), JsonError> {
        let start = self.at;
        self.literal(word)?;
        self.note(OddityKind::NotFinite, start);
        Ok(())
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`, or `-Infinity`.
    ///
    /// A fraction or exponent without digits ends the number before it, as in Python; what is
    /// left over is then no comma, and an error in its own place.
    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let digits = |from: usize| {
            from + bytes
                .get(from..)
                .unwrap_or_default()
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
        };
        let integer = start + usize::from(bytes[start] == b'-');
        let mut end = match bytes.get(integer) {
            Some(b'0') => integer + 1,
            Some(b'1'..=b'9') => digits(integer),
            Some(b'I') if integer > start => {
                self.at = integer;
                self.literal("Infinity")?;
                self.note(OddityKind::NotFinite, start);
                return Ok(());
            }
            _ => return Err(self.error(Problem::ExpectedValue)),
        };
        let mut float = false;
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > end + 1 {
            end = digits(end + 1);
            float = true;
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if digits(end + 1 + sign) > end + 1 + sign {
                end = digits(end + 1 + sign);
                float = true;
            }
        }
        self.at = end;
        self.note_size(start, float);
        Ok(())
    }

    /// Notes a number that fits neither 64 bits nor a double. Short tokens always fit.
    fn note_size(&mut self, start: usize, float: bool) {
        let token = &self.text[start..self.at];
        if !float {
            let fits =
                token.len() < 19 || token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
            if !fits {
                self.note(OddityKind::HugeInteger, start);
            }
        } else if (token.len() > 300 || token.contains(['e', 'E']))
            && token.parse::<f64>().is_ok_and(f64::is_infinite)
        {
            self.note(OddityKind::NotFinite, start);
        }
    }

    /// A string, from its opening quote to its closing one.
    fn string(&mut self) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(plain) = rest
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))
            else {
                self.at = bytes.len();
                return Err(self.error(Problem::UnterminatedString));
            };
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                _ => return Err(self.error(Problem::ControlCharacter)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            _ => Err(self.error(Problem::BadEscape)),
        }
    }

    fn unicode_escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let unit = unit_at(self.text, start).ok_or_else(|| self.error(Problem::BadEscape))?;
        self.at += 6;
        if is_high_surrogate(unit)
            && unit_at(self.text, self.at).is_some_and(|low| (0xdc00..0xe000).contains(&low))
        {
            self.at += 6;
        } else if (0xd800..0xe000).contains(&unit) {
            self.note(OddityKind::LoneSurrogate, start);
        }
        Ok(())
    }

    fn note(&mut self, kind: OddityKind, start: usize) {
        if self.oddity.is_none() {
            self.oddity = Some(Oddity {
                kind,
                token: &self.text[start..self.at],
                offset: start,
            });
        }
    }

    fn whitespace(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, problem: Problem) -> JsonError {
        JsonError {
            offset: self.at,
            problem,
        }
    }
}

/// The UTF-16 unit written as `\uXXXX` at `at`, if there is one.
pub(super) fn unit_at(text: &str, at: usize) -> Option<u16> {
    let digits = text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0u16, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

pub(super) fn is_high_surrogate(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

/// A token that Python reads and strict JSON readers refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oddity<'a> {
    /// What is odd about it.
    pub kind: OddityKind,
    /// The token as written.
    pub token: &'a str,
    /// Its place in the text, in octets.
    pub offset: usize,
}

/// What is odd about an [`Oddity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddityKind {
    /// An integer beyond 64 bits.
    HugeInteger,
    /// Half of a surrogate pair, alone.
    LoneSurrogate,
    /// `NaN`, `Infinity`, `-Infinity`, or a number too large for a double.
    NotFinite,
}

impl fmt::Display for Oddity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            OddityKind::HugeInteger => "an integer beyond 64 bits",
            OddityKind::LoneSurrogate => "a lone surrogate",
            OddityKind::NotFinite => "not a finite number",
        };
        let (token, cut) = match self.token.char_indices().nth(40) {
            Some((end, _)) => (&self.token[..end], "..."),
            None => (self.token, ""),
        };
        write!(f, "{token}{cut} at octet {} is {what}", self.offset)
    }
}

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The place in the text, in octets.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a text that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A backslash that begins no escape.
    BadEscape,
    /// A control character inside a string.
    ControlCharacter,
    /// Neither a comma nor the closing bracket after an element.
    ExpectedCommaOrClose,
    /// No colon after a key.
    ExpectedColon,
    /// No string where a key belongs.
    ExpectedKey,
    /// No value where one belongs.
    ExpectedValue,
    /// An octet that is not UTF-8.
    NotUtf8,
    /// More than [`MAX_DEPTH`] containers inside each other.
    TooDeep,
    /// Something after the value.
    TrailingData,
    /// A string without its closing quote.
    UnterminatedString,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::BadEscape => "invalid escape",
            Problem::ControlCharacter => "control character in a string",
            Problem::ExpectedColon => "expected a colon",
            Problem::ExpectedCommaOrClose => "expected a comma or a closing bracket",
            Problem::ExpectedKey => "expected a key in double quotes",
            Problem::ExpectedValue => "expected a value",
            Problem::NotUtf8 => "invalid UTF-8",
            Problem::TooDeep => "nested too deep",
            Problem::TrailingData => "unexpected data after the value",
            Problem::UnterminatedString => "unterminated string",
        };
        write!(f, "{problem} at octet {}", self.offset)
    }
}

impl std::error::Error for JsonError {}
