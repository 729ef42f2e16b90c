//! JSON values as Python's `repr` and `str` print what `json.loads` makes of them.

use std::fmt::Write as _;

use super::raw::{Kind, Raw};
use super::write::python_float;

/// The whole repr of a value, as the command line prints an item of a reply: `{'id': 'a', 'eta': None}`.
///
/// ```
/// use celeriac::message::json::{Raw, python_repr};
/// let value = Raw::parse(r#"{"a": [1, null, true], "b": "it's\n"}"#).unwrap();
/// assert_eq!(python_repr(value), r#"{'a': [1, None, True], 'b': "it's\n"}"#);
/// ```
pub fn python_repr(value: Raw<'_>) -> String {
    let mut out = String::new();
    push_value(&mut out, value, LEVELS);
    out
}

/// Every level is scanned anew, so what nests deeper than this is shown as it is written.
const LEVELS: usize = 64;

fn push_value(out: &mut String, value: Raw<'_>, levels: usize) {
    match value.kind() {
        Kind::Array | Kind::Object if levels == 0 => out.push_str(value.text()),
        Kind::Array => {
            out.push('[');
            for (index, element) in value.elements().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                push_value(out, element, levels - 1);
            }
            out.push(']');
        }
        Kind::Object => {
            out.push('{');
            for (index, (key, value)) in value.members().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                push_scalar(out, key);
                out.push_str(": ");
                push_value(out, value, levels - 1);
            }
            out.push('}');
        }
        _ => push_scalar(out, value),
    }
}

/// The `str` of a value: a string as it is, anything else as its repr.
pub fn python_str(value: Raw<'_>) -> String {
    match value.as_str() {
        Some(text) => text.into_owned(),
        None => python_repr(value),
    }
}

/// A string as Python's `repr` quotes it: in single quotes unless it has some and no double ones.
pub fn python_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if letter == quote => {
                out.push('\\');
                out.push(letter);
            }
            _ if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = match u32::from(letter) {
                    code @ ..0x100 => write!(out, "\\x{code:02x}"),
                    code => write!(out, "\\u{code:04x}"),
                };
            }
            _ => out.push(letter),
        }
    }
    out.push(quote);
    out
}

fn push_scalar(out: &mut String, value: Raw<'_>) {
    match (value.kind(), value.text()) {
        (Kind::String, _) => out.push_str(&python_quoted(&value.as_str().unwrap_or_default())),
        (Kind::Null, _) => out.push_str("None"),
        (Kind::Boolean, text) => out.push_str(if text == "true" { "True" } else { "False" }),
        (_, "-0") => out.push('0'),
        (_, text)
            if text
                .bytes()
                .all(|octet| octet.is_ascii_digit() || octet == b'-') =>
        {
            out.push_str(text);
        }
        _ => out.push_str(&python_float(value.as_f64().unwrap_or(f64::NAN))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_python() {
        for (json, printed) in [
            ("[]", "[]"),
            ("{}", "{}"),
            (
                "[1, -0, 1e3, NaN, 12345678901234567890123]",
                "[1, 0, 1000.0, nan, 12345678901234567890123]",
            ),
            (
                r#"{"a": {"b": [null, false]}, "c": "x"}"#,
                "{'a': {'b': [None, False]}, 'c': 'x'}",
            ),
            (r#""it's \"so\"\u0001""#, r#"'it\'s "so"\x01'"#),
        ] {
            assert_eq!(python_repr(Raw::parse(json).unwrap()), printed);
        }
        assert_eq!(python_str(Raw::parse("\"a'b\"").unwrap()), "a'b");
        assert_eq!(python_str(Raw::parse("null").unwrap()), "None");
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(python_repr(Raw::parse(&deep).unwrap()), deep);
    }
}
