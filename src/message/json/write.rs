//! Writing JSON with the octets of Python's `json.dumps`.

use std::io;
use std::str::Utf8Error;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Serializes `value` as `json.dumps(value)` would write it.
///
/// # Errors
/// What [`serde_json`] cannot write as JSON: keys that are no strings, or a failing `Serialize`.
///
/// ```
/// let text = celeriac::message::json::to_string(&(1, "ü", 1e16)).unwrap();
/// assert_eq!(text, r#"[1, "\u00fc", 1e+16]"#);
/// ```
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut out = Vec::with_capacity(64);
    value.serialize(&mut Serializer::with_formatter(&mut out, PythonStyle))?;
    Ok(String::from_utf8(out).unwrap_or_default()) // only ASCII was written
}

/// Appends `text` as a JSON string: ASCII only, as `json.dumps` escapes it.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(plain) = first_to_escape(rest.as_bytes()) {
        out.extend_from_slice(&rest.as_bytes()[..plain]);
        rest = &rest[plain..];
        if let Some(character) = rest.chars().next() {
            push_escaped(out, character);
            rest = &rest[character.len_utf8()..];
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// The same with text that has yet to be checked: what is plain ASCII is looked at once.
///
/// # Errors
/// When it is not UTF-8; nothing is appended then.
pub fn push_utf8(out: &mut Vec<u8>, octets: &[u8]) -> Result<(), Utf8Error> {
    match first_to_escape(octets) {
        Some(_) => push_string(out, std::str::from_utf8(octets)?),
        None => {
            out.reserve(octets.len() + 2);
            out.push(b'"');
            out.extend_from_slice(octets);
            out.push(b'"');
        }
    }
    Ok(())
}

/// Where the first octet is that cannot stand as it is. Looks at several at once, as there is mostly none.
fn first_to_escape(octets: &[u8]) -> Option<usize> {
    let is_plain = |some: &&[u8; 16]| !some.iter().fold(false, |any, it| any | needs_escape(*it));
    let (blocks, _) = octets.as_chunks();
    let plain = 16 * blocks.iter().take_while(is_plain).count();
    let rest = octets.get(plain..)?.iter();
    rest.copied()
        .position(needs_escape)
        .map(|place| plain + place)
}

fn needs_escape(octet: u8) -> bool {
    !matches!(octet, b' '..=b'~') | (octet == b'"') | (octet == b'\\')
}

fn push_escaped(out: &mut Vec<u8>, character: char) {
    let short = match character {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        other => {
            let mut units = [0; 2];
            for unit in other.encode_utf16(&mut units) {
                push_unit(out, *unit);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn push_unit(out: &mut Vec<u8>, unit: u16) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = char::from_digit(u32::from(unit >> shift & 0xf), 16).unwrap_or('0');
        out.push(digit as u8); // a hexadecimal digit is ASCII
    }
}

/// The text of a float as Python's `repr` writes it: `1.5`, `1e+16`, `inf`, `nan`.
///
/// ```
/// use celeriac::message::json::python_float;
/// assert_eq!(python_float(0.25), "0.25");
/// assert_eq!(python_float(1e22), "1e+22");
/// assert_eq!(python_float(3.0), "3.0");
/// ```
pub fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    // The shortest digits that read back as the same double, in both languages.
    if (1e-4..1e16).contains(&value.abs()) {
        let plain = value.to_string();
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        0 => format!("{value}.0"), // zero, of either sign
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

/// `, ` and `: ` between things, ASCII only, floats as Python writes them.
#[derive(Clone, Copy, Debug)]
struct PythonStyle;

impl Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        w.write_all(python_float(value).as_bytes())
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, w: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(w, f64::from(value))
    }

    /// serde_json has already taken out what JSON itself wants escaped.
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        part: &str,
    ) -> io::Result<()> {
        let mut quoted = Vec::with_capacity(part.len() + 2);
        push_string(&mut quoted, part);
        w.write_all(quoted.get(1..quoted.len() - 1).unwrap_or_default())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let character = match escape {
            CharEscape::AsciiControl(octet) => char::from(octet),
            CharEscape::Backspace => '\u{8}',
            CharEscape::CarriageReturn => '\r',
            CharEscape::FormFeed => '\u{c}',
            CharEscape::LineFeed => '\n',
            CharEscape::Quote => '"',
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Solidus => return w.write_all(b"/"),
            CharEscape::Tab => '\t',
        };
        let mut escaped = Vec::with_capacity(6);
        push_escaped(&mut escaped, character);
        w.write_all(&escaped)
    }
}
