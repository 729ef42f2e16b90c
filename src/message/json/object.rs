//! JSON objects and lists that are written piece by piece, in Python's style and in the order given.

use super::write::{push_string, python_float};

/// A value to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// `null`
    Null,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Another number; one that JSON does not know is null.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// Any value, as JSON.
    Json(&'a str),
}

impl Field<'_> {
    /// Appends the value.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Flag(true) => out.extend_from_slice(b"true"),
            Self::Flag(false) => out.extend_from_slice(b"false"),
            Self::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Number(value) if value.is_finite() => {
                out.extend_from_slice(python_float(value).as_bytes());
            }
            Self::Null | Self::Number(_) => out.extend_from_slice(b"null"),
            Self::Text(text) => push_string(out, text),
            Self::Json(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Field<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Field<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Field<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Field<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<T: Into<Self>> From<Option<T>> for Field<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A JSON object under construction.
///
/// ```
/// use celeriac::message::json::{Field, Object};
/// let mut object = Object::new();
/// object.push("ok", "pong").push("pid", 7).push("eta", Field::Null);
/// assert_eq!(object.into_json(), r#"{"ok": "pong", "pid": 7, "eta": null}"#);
/// ```
#[derive(Debug)]
pub struct Object(Vec<u8>);

impl Default for Object {
    fn default() -> Self {
        Self::new()
    }
}

impl Object {
    /// `{}`
    pub fn new() -> Self {
        Self(b"{".to_vec())
    }

    /// Adds a member.
    pub fn push<'a>(&mut self, name: &str, value: impl Into<Field<'a>>) -> &mut Self {
        if self.0.len() > 1 {
            self.0.extend_from_slice(b", ");
        }
        push_string(&mut self.0, name);
        self.0.extend_from_slice(b": ");
        value.into().write(&mut self.0);
        self
    }

    /// Its text.
    pub fn into_json(mut self) -> String {
        self.0.push(b'}');
        text(self.0)
    }
}

/// The text of a JSON list.
///
/// ```
/// use celeriac::message::json::list;
/// assert_eq!(list(["a", "b"]), r#"["a", "b"]"#);
/// ```
pub fn list<'a, T: Into<Field<'a>>>(values: impl IntoIterator<Item = T>) -> String {
    let mut out = b"[".to_vec();
    for value in values {
        if out.len() > 1 {
            out.extend_from_slice(b", ");
        }
        value.into().write(&mut out);
    }
    out.push(b']');
    text(out)
}

/// All that is written here is text, or came as text.
fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_default()
}
