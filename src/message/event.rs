//! Events: what workers and their tasks are doing, for monitors and for other workers.
//!
//! An event is a JSON object: who says it, when by the wall clock and by Lamport's, and its type with its own
//! fields. Events of tasks travel in lists, to save messages.

use super::json::{JsonError, Kind, Raw, Scanner, push_string, python_float};

pub use super::json::Field;
use super::pidbox::Arguments;

/// The routing key of a list of task events.
pub const MULTI: &str = "task.multi";

/// The routing key of a single event: its type, with dots.
pub fn routing_key(kind: &str) -> String {
    kind.replace('-', ".")
}

/// Who sends events: the fields that are the same in all of them.
#[derive(Clone, Debug)]
pub struct Sender {
    /// `"hostname": ..., "utcoffset": ..., "pid": ...`, ready to copy.
    prefix: Vec<u8>,
}

impl Sender {
    /// The sender of this node name and process; `utcoffset` is the local time's in hours, positive west of
    /// Greenwich.
    pub fn new(node: &str, utcoffset: f64, pid: i32) -> Self {
        let mut prefix = b"{\"hostname\": ".to_vec();
        push_string(&mut prefix, node);
        let rest = format!(
            ", \"utcoffset\": {}, \"pid\": {pid}",
            python_float(utcoffset)
        );
        prefix.extend_from_slice(rest.as_bytes());
        Self { prefix }
    }

    /// Appends an event: the common fields, its own, the time and the type, in Celery's order.
    ///
    /// ```
    /// use celeriac::message::event::{Field, Sender};
    /// let mut out = Vec::new();
    /// let sender = Sender::new("w@host", -1.0, 7);
    /// sender.write(&mut out, "task-started", 12, 1.5, &[("uuid", Field::Text("a"))]);
    /// let expected = r#"{"hostname": "w@host", "utcoffset": -1.0, "pid": 7, "clock": 12, "uuid": "a", "timestamp": 1.5, "type": "task-started"}"#;
    /// assert_eq!(String::from_utf8(out).unwrap(), expected);
    /// ```
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        kind: &str,
        clock: u64,
        timestamp: f64,
        fields: &[(&str, Field<'_>)],
    ) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(b", \"clock\": ");
        out.extend_from_slice(clock.to_string().as_bytes());
        for (name, field) in fields {
            out.extend_from_slice(b", ");
            out.push(b'"');
            out.extend_from_slice(name.as_bytes()); // ours, and nothing in it to escape
            out.extend_from_slice(b"\": ");
            field.write(out);
        }
        out.extend_from_slice(b", \"timestamp\": ");
        push_timestamp(out, timestamp);
        out.extend_from_slice(b", \"type\": ");
        push_string(out, kind);
        out.push(b'}');
    }
}

/// Microseconds are what clocks tell, and their digits are found faster than those of any number.
fn push_timestamp(out: &mut Vec<u8>, timestamp: f64) {
    let micros = (timestamp * 1e6).round();
    if !(1e6..9e15).contains(&micros) {
        return out.extend_from_slice(python_float(timestamp).as_bytes());
    }
    let micros = micros as u64;
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let digits = text.trim_end_matches('0');
    out.extend_from_slice(digits.as_bytes());
    if digits.ends_with('.') {
        out.push(b'0');
    }
}

/// An event that was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// All its fields.
    pub fields: Arguments<'a>,
}

impl Event<'_> {
    /// A field that is a text.
    pub fn text(&self, name: &str) -> Option<String> {
        Some(self.fields.find(name)?.as_str()?.into_owned())
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.fields.find(name)?.as_f64()
    }

    /// Its Lamport clock; 0 when it has none.
    pub fn clock(&self) -> u64 {
        let clock = self.fields.find("clock").and_then(Raw::as_i64);
        clock
            .and_then(|clock| u64::try_from(clock).ok())
            .unwrap_or(0)
    }
}

/// Reads a message of events: one, or a list of them. What is no mapping is left out.
///
/// # Errors
/// When it is no JSON.
///
/// ```
/// use celeriac::message::event;
/// let events = event::read(br#"[{"type": "task-started", "clock": 3}, 5]"#).unwrap();
/// assert_eq!(events.len(), 1);
/// assert_eq!((events[0].text("type").as_deref(), events[0].clock()), (Some("task-started"), 3));
/// ```
pub fn read(body: &[u8]) -> Result<Vec<Event<'_>>, JsonError> {
    let mut scanner = Scanner::from_bytes(body)?;
    let value = scanner.value()?;
    scanner.end()?;
    let event = |value: Raw<'_>| value.kind() == Kind::Object;
    let of = |value| Event {
        fields: Arguments::of(value),
    };
    Ok(match value.kind() {
        Kind::Array => value.elements().filter(|v| event(*v)).map(of).collect(),
        Kind::Object => vec![of(value)],
        _ => Vec::new(),
    })
}

#[doc(hidden)]
pub fn fuzz_event(data: &[u8]) {
    let Ok(events) = read(data) else {
        return;
    };
    for event in events {
        let kind = event.text("type").unwrap_or_default();
        let fields = [("text", Field::Text(&kind)), ("flag", Field::Flag(true))];
        let mut out = Vec::new();
        Sender::new(&kind, 0.0, 1).write(&mut out, &kind, event.clock(), 1.0, &fields);
        let again = read(&out).expect("what is written is read");
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].text("type"), Some(kind.clone()));
        assert_eq!(again[0].clock(), event.clock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field_is_json() {
        let mut out = Vec::new();
        let fields = [
            ("a", Field::Null),
            ("b", Field::Flag(true)),
            ("c", Field::Integer(-3)),
            ("d", Field::Number(2.0)),
            ("e", Field::Number(f64::NAN)),
            ("f", Field::Text("\u{fc}\"")),
            ("g", Field::Json("[1]")),
        ];
        Sender::new("n", 0.0, 1).write(&mut out, "worker-heartbeat", 1, 0.5, &fields);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(
            r#""a": null, "b": true, "c": -3, "d": 2.0, "e": null, "f": "\u00fc\"", "g": [1]"#
        ));
        let events = read(text.as_bytes()).unwrap();
        assert_eq!(events[0].text("f").unwrap(), "\u{fc}\"");
        assert_eq!(events[0].number("d"), Some(2.0));
    }

    #[test]
    fn a_routing_key_has_dots() {
        assert_eq!(routing_key("worker-elect-ack"), "worker.elect.ack");
    }

    #[test]
    fn what_is_no_event_is_no_event() {
        assert!(read(b"3").unwrap().is_empty());
        assert!(read(b"[[]]").unwrap().is_empty());
        assert!(read(b"{").is_err());
        assert_eq!(read(br#"{"clock": -1}"#).unwrap()[0].clock(), 0);
    }
}
