//! Header tables as JSON text, and back.
//!
//! A table goes to text straight from its octets, without a tree in between. What JSON lacks is
//! written as kombu's JSON writes it, so that a Python child reads it with `kombu.utils.json`:
//!
//! | in the table | in JSON |
//! |---|---|
//! | `x`, or `S` that is not UTF-8 | `{"__type__": "bytes" or "base64", "__value__": ".."}` |
//! | timestamp | `{"__type__": "datetime", "__value__": "2030-01-02T03:04:05"}` |
//! | decimal | `{"__type__": "decimal", "__value__": "314E-2"}` |
//! | infinity | `1e999`, which Python reads as infinity |
//! | NaN | `null` |
//!
//! Back in a table, a string is `S`, an integer `I` or `l`, a float `d`, as py-amqp writes them.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use super::json::{JsonError, Kind, Raw, push_string, push_utf8, python_float};
use super::{base64, moment};
use crate::amqp::ShortStr;
use crate::amqp::table::{Array, ArrayBuf, Table, TableBuf, Value};
use crate::amqp::wire::{DecodeError, EncodeError};

/// The headers of a message, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Headers<'a> {
    /// The AMQP table of a protocol 2 message.
    Table(Table<'a>),
    /// The text of a JSON object of protocol 2: what an older message became.
    Json(String),
}

impl Headers<'_> {
    /// Appends them as the text of a JSON object.
    ///
    /// # Errors
    /// When the table is malformed. What was appended by then is of no use.
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self {
            Self::Table(table) => write_table(*table, out),
            Self::Json(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }

    /// The text of a JSON object.
    ///
    /// # Errors
    /// When the table is malformed.
    pub fn to_json(&self) -> Result<String, DecodeError> {
        let mut out = Vec::with_capacity(512);
        self.write_json(&mut out)?;
        Ok(String::from_utf8(out).unwrap_or_default()) // only ASCII was written
    }
}

/// Appends a table as the text of a JSON object.
///
/// # Errors
/// When the table is malformed. What was appended by then is of no use.
pub fn write_table(table: Table<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.push(b'{');
    for (index, pair) in table.iter().enumerate() {
        let (key, value) = pair?;
        if index > 0 {
            out.push(b',');
        }
        push_short(out, key);
        out.push(b':');
        write_value(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_array(array: Array<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.push(b'[');
    for (index, value) in array.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_value(value?, out)?;
    }
    out.push(b']');
    Ok(())
}

/// The recursion is as deep as tables may nest, which [`crate::amqp::table`] bounds.
pub(super) fn write_value(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    match value {
        Value::LongStr(octets) => {
            if push_utf8(out, octets).is_err() {
                push_typed(out, "base64", &base64::encode(octets));
            }
        }
        Value::Void => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Table(table) => write_table(table, out)?,
        Value::Array(array) => write_array(array, out)?,
        Value::F32(number) => push_float(out, number.into()),
        Value::F64(number) => push_float(out, number),
        Value::Decimal { scale, value } => push_typed(out, "decimal", &format!("{value}E-{scale}")),
        Value::Timestamp(seconds) => {
            let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            let text = moment.map(moment::format_naive).unwrap_or_default();
            push_typed(out, "datetime", &text);
        }
        Value::Bytes(octets) => match std::str::from_utf8(octets) {
            Ok(text) => push_typed(out, "bytes", text),
            Err(_) => push_typed(out, "base64", &base64::encode(octets)),
        },
        other => push_integer(out, other.as_i64().unwrap_or_default()),
    }
    Ok(())
}

/// A key or property; as a rule it is UTF-8, and then written as it stands.
pub(super) fn push_short(out: &mut Vec<u8>, text: ShortStr<'_>) {
    if push_utf8(out, text.as_bytes()).is_err() {
        push_string(out, &text.to_string_lossy());
    }
}

pub(super) fn push_integer(out: &mut Vec<u8>, number: i64) {
    let mut text = Digits::default();
    // A Digits is long enough for any i64.
    let _ = write!(text, "{number}");
    out.extend_from_slice(&text.octets[..text.length]);
}

/// Room for the digits of one integer, off the heap.
#[derive(Default)]
struct Digits {
    octets: [u8; 20],
    length: usize,
}

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.octets
            .get_mut(self.length..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

pub(super) fn push_float(out: &mut Vec<u8>, number: f64) {
    let text = if number.is_nan() {
        "null".into()
    } else if number.is_infinite() {
        if number > 0.0 {
            "1e999".into()
        } else {
            "-1e999".into()
        }
    } else {
        python_float(number)
    };
    out.extend_from_slice(text.as_bytes());
}

fn push_typed(out: &mut Vec<u8>, kind: &str, value: &str) {
    out.extend_from_slice(b"{\"__type__\":");
    push_string(out, kind);
    out.extend_from_slice(b",\"__value__\":");
    push_string(out, value);
    out.push(b'}');
}

/// Makes a table of the text of a JSON object, in the order written.
///
/// # Errors
/// When the text is no JSON object, or a key is longer than 255 octets.
pub fn table_from_json(text: &str) -> Result<TableBuf, HeadersError> {
    let object = Raw::parse(text).map_err(HeadersError::NotJson)?;
    if object.kind() != Kind::Object {
        return Err(HeadersError::NotAMapping(object.kind()));
    }
    table_at(object, 0).map_err(HeadersError::Table)
}

fn table_at(object: Raw<'_>, depth: u8) -> Result<TableBuf, EncodeError> {
    let mut table = TableBuf::new();
    for (key, value) in object.members() {
        let key = key.as_str().unwrap_or_default();
        with_value(value, depth, &mut |value| table.insert(key.as_ref(), value))?;
    }
    Ok(table)
}

/// Hands `value` to `put` as an AMQP value.
fn with_value(
    value: Raw<'_>,
    depth: u8,
    // Dynamic, as each nesting would otherwise be another instance of this function.
    put: &mut dyn FnMut(Value<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    match value.kind() {
        Kind::Null => put(Value::Void),
        Kind::Boolean => put(Value::Bool(value.text() == "true")),
        Kind::String => put(Value::LongStr(
            value.as_str().unwrap_or_default().as_bytes(),
        )),
        Kind::Number => put(number(value)),
        // Deeper values could not be read back; they are left out rather than sent.
        _ if depth >= MAX_DEPTH => put(Value::Void),
        Kind::Array => {
            let mut array = ArrayBuf::new();
            for element in value.elements() {
                with_value(element, depth + 1, &mut |value| array.push(value))?;
            }
            put(Value::Array(array.as_array()))
        }
        Kind::Object => match typed_octets(value) {
            Some(octets) => put(Value::LongStr(&octets)),
            None => put(Value::Table(table_at(value, depth + 1)?.as_table())),
        },
    }
}

/// One less than what a reader takes, so that what is written can be read.
const MAX_DEPTH: u8 = crate::amqp::table::MAX_DEPTH - 2;

fn number(value: Raw<'_>) -> Value<'static> {
    match value.as_i64() {
        Some(integer) => match i32::try_from(integer) {
            Ok(small) => Value::I32(small),
            Err(_) => Value::I64(integer),
        },
        None => Value::F64(value.as_f64().unwrap_or(f64::NAN)),
    }
}

/// The octets of kombu's bytes in JSON. Its other types go through as the tables they look like,
/// since nothing that a worker republishes contains them.
fn typed_octets(object: Raw<'_>) -> Option<Vec<u8>> {
    let mut members = object.members();
    let (first, second) = (members.next()?, members.next()?);
    if members.next().is_some() || first.0.text() != "\"__type__\"" {
        return None;
    }
    let text = second
        .1
        .as_str()
        .filter(|_| second.0.text() == "\"__value__\"")?;
    match first.1.text() {
        "\"base64\"" => base64::decode(&text),
        "\"bytes\"" => Some(text.into_owned().into_bytes()),
        _ => None,
    }
}

/// Text that makes no header table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadersError {
    /// It is JSON, but no object.
    NotAMapping(Kind),
    /// It is no JSON.
    NotJson(JsonError),
    /// A table cannot hold it.
    Table(EncodeError),
}

impl fmt::Display for HeadersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAMapping(kind) => write!(f, "headers must be a mapping, not {}", kind.noun()),
            Self::NotJson(error) => write!(f, "headers: {error}"),
            Self::Table(error) => write!(f, "headers: {error}"),
        }
    }
}

impl std::error::Error for HeadersError {}
