//! JSON values rendered as Celery's `saferepr` renders what Python made of them.

use super::raw::{Kind, Raw};
use super::write::python_float;

/// The length, in characters, at which Celery cuts the repr of arguments and results. The text may
/// be a little longer: closing brackets are not counted.
pub const REPR_LENGTH: usize = 1024;

/// Containers nested deeper than this are shown as `[...]` and `{...}`.
const LEVELS: usize = 3;

/// The repr of a value, as in `task-succeeded` events and the success line of the log.
///
/// ```
/// use celeriac::message::json::{Raw, repr, REPR_LENGTH};
/// let value = Raw::parse(r#"{"a": [1, 1e3, null, true], "b": "it's"}"#).unwrap();
/// assert_eq!(repr(value, REPR_LENGTH), r"{'a': [1, 1000.0, None, True], 'b': 'it\'s'}");
/// ```
pub fn repr(value: Raw<'_>, length: usize) -> String {
    let mut repr = Repr::new(length);
    repr.value(value, 0);
    repr.out
}

/// The repr of a list of arguments, shown as the tuple that a caller passed: `(1, 2)`, `(1,)`.
pub fn repr_tuple(arguments: Raw<'_>, length: usize) -> String {
    let mut repr = Repr::new(length);
    let close = if arguments.elements().nth(1).is_none() && arguments.elements().next().is_some() {
        ",)"
    } else {
        ")"
    };
    repr.sequence(arguments, 0, "(", close);
    repr.out
}

/// A string in single quotes, as `saferepr` shows one: only the quote itself is escaped.
pub fn repr_str(text: &str) -> String {
    let mut repr = Repr::new(usize::MAX);
    repr.quoted(text);
    repr.out
}

/// The text so far and what may still come.
struct Repr {
    out: String,
    /// Characters left before the text is cut; tokens are shown while it is positive.
    left: usize,
    /// The limit was met: only the brackets still open are to be closed.
    cut: bool,
}

impl Repr {
    fn new(length: usize) -> Self {
        Self {
            out: String::new(),
            left: length,
            cut: false,
        }
    }

    fn value(&mut self, value: Raw<'_>, level: usize) {
        match value.kind() {
            Kind::Array if level >= LEVELS => self.token("[...]"),
            Kind::Object if level >= LEVELS => self.token("{...}"),
            Kind::Array => self.sequence(value, level, "[", "]"),
            Kind::Object => self.mapping(value, level),
            Kind::String => self.quoted(&value.as_str().unwrap_or_default()),
            Kind::Null => self.truncated("None"),
            Kind::Boolean => self.truncated(if value.text() == "true" {
                "True"
            } else {
                "False"
            }),
            Kind::Number => self.number(value),
        }
    }

    fn sequence(&mut self, list: Raw<'_>, level: usize, open: &str, close: &str) {
        if !self.open(open) {
            return;
        }
        for (index, element) in list.elements().enumerate() {
            if index > 0 {
                self.token(", ");
            }
            if self.cut {
                break;
            }
            self.value(element, level + 1);
        }
        self.close(close);
    }

    fn mapping(&mut self, mapping: Raw<'_>, level: usize) {
        if !self.open("{") {
            return;
        }
        for (index, (key, value)) in mapping.members().enumerate() {
            if index > 0 {
                self.token(", ");
            }
            if self.cut {
                break;
            }
            self.quoted(&key.as_str().unwrap_or_default());
            self.token(": ");
            self.value(value, level + 1);
        }
        self.close("}");
    }

    fn number(&mut self, number: Raw<'_>) {
        let text = number.text();
        if text == "-0" {
            self.truncated("0");
        } else if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            self.truncated(text);
        } else {
            self.truncated(&python_float(number.as_f64().unwrap_or(f64::NAN)));
        }
    }

    fn quoted(&mut self, text: &str) {
        if self.spent() {
            return;
        }
        let text = truncate(text, self.left).replace('\'', "\\'");
        self.token(&format!("'{text}'"));
    }

    fn truncated(&mut self, text: &str) {
        if !self.spent() {
            self.token(&truncate(text, self.left));
        }
    }

    /// Shows a token whole, if any room is left before it.
    fn token(&mut self, text: &str) {
        if self.spent() {
            return;
        }
        self.out.push_str(text);
        self.left = self.left.saturating_sub(text.chars().count());
    }

    /// Returns whether the bracket is shown, and so needs its counterpart.
    fn open(&mut self, bracket: &str) -> bool {
        self.token(bracket);
        !self.cut
    }

    /// Closes a bracket that is shown, whatever room is left.
    fn close(&mut self, bracket: &str) {
        self.out.push_str(bracket);
        self.left = self.left.saturating_sub(bracket.len());
    }

    /// Whether nothing more is to be shown; says so in the text the first time.
    fn spent(&mut self) -> bool {
        if self.left == 0 && !self.cut {
            self.out.push_str(", ...");
            self.cut = true;
        }
        self.cut
    }
}

/// Celery's `truncate`: cut at `length` characters, then back to the last blank.
fn truncate(text: &str, length: usize) -> std::borrow::Cow<'_, str> {
    if text.len() < length || text.chars().count() < length {
        return text.into();
    }
    let end = text
        .char_indices()
        .nth(length)
        .map_or(text.len(), |(end, _)| end);
    let kept = &text[..end];
    let kept = kept.rsplit_once(' ').map_or(kept, |(before, _)| before);
    format!("{kept}...").into()
}
