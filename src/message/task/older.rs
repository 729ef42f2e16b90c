//! Messages of protocol 1, and hybrids, turned into protocol 2.
//!
//! Their body is one mapping with the task's fields and arguments. Each value moves as the slice
//! of text it is, so whatever Python wrote into the arguments reaches the task unchanged.

use std::borrow::Cow;

use super::draft::Draft;
use super::field::Field;
use super::{InvalidTask, Protocol, Refusal, TaskMessage};
use crate::amqp::table::Table;
use crate::message::body::ShapeError;
use crate::message::headers::{Headers, write_value};
use crate::message::json::{Kind, REPR_LENGTH, Raw, Scanner, push_string, repr};

/// The fields of the body that become headers.
const HEADERS: [&str; 16] = [
    "lang",
    "task",
    "id",
    "shadow",
    "eta",
    "expires",
    "group",
    "group_index",
    "retries",
    "timelimit",
    "root_id",
    "parent_id",
    "argsrepr",
    "kwargsrepr",
    "origin",
    "meth",
];

pub(super) fn read<'a>(
    protocol: Protocol,
    table: Table<'a>,
    mut draft: Draft<'a>,
    body: &'a [u8],
) -> Result<TaskMessage<'a>, Refusal> {
    let mut scanner = Scanner::from_bytes(body).map_err(Refusal::Undecodable)?;
    let mapping = scanner.value().map_err(Refusal::Undecodable)?;
    scanner.end().map_err(Refusal::Undecodable)?;
    let fields = Fields(mapping);
    match protocol {
        Protocol::Hybrid if fields.find("args").is_none() => {
            return Err(InvalidTask::Shape(ShapeError::NotAList(mapping.kind())).into());
        }
        Protocol::One if fields.find("task").is_none() => return Err(Refusal::Unknown),
        _ => {}
    }
    let arguments = fields.arguments()?;
    let headers = fields
        .headers(table, &mut draft, arguments)
        .map_err(InvalidTask::Headers)?;
    let body = fields.body(arguments);
    Ok(draft.finish(protocol, Headers::Json(headers), Cow::Owned(body), true)?)
}

/// The body's mapping. For values of other kinds nothing is ever found.
#[derive(Clone, Copy)]
struct Fields<'a>(Raw<'a>);

impl<'a> Fields<'a> {
    /// The last value under a key, as in a Python dict.
    fn find(self, key: &str) -> Option<Raw<'a>> {
        let found = self
            .0
            .members()
            .filter(|(name, _)| name.as_str().as_deref() == Some(key));
        found.last().map(|(_, value)| value)
    }

    /// Positional and keyword arguments. Absent ones are empty.
    fn arguments(self) -> Result<[&'a str; 2], InvalidTask> {
        let of_kind = |key, kind, wrong: fn(Kind) -> ShapeError| match self.find(key) {
            Some(value) if value.kind() == kind => Ok(Some(value.text())),
            Some(value) => Err(InvalidTask::Shape(wrong(value.kind()))),
            None => Ok(None),
        };
        let args = of_kind("args", Kind::Array, ShapeError::Args)?;
        let kwargs = of_kind("kwargs", Kind::Object, ShapeError::Kwargs)?;
        Ok([args.unwrap_or("[]"), kwargs.unwrap_or("{}")])
    }

    /// The headers of protocol 2. What stands in the message's own headers wins over its body.
    fn headers(
        self,
        table: Table<'a>,
        draft: &mut Draft<'a>,
        [args, kwargs]: [&'a str; 2],
    ) -> Result<String, crate::amqp::wire::DecodeError> {
        let mut out = vec![b'{'];
        for pair in table {
            let (key, value) = pair?;
            push_key(&mut out, &key.to_string_lossy());
            write_value(value, &mut out)?;
        }
        for key in HEADERS {
            // `taskset` is what protocol 1 called a group, and counts whenever it is there.
            let renamed = if key == "group" {
                self.find("taskset")
            } else {
                None
            };
            let Some(value) = renamed.or_else(|| self.find(key)) else {
                continue;
            };
            if table.find(key)?.is_none() {
                draft.set(key.as_bytes(), Field::Json(value));
                push_key(&mut out, key);
                out.extend_from_slice(value.text().as_bytes());
            }
        }
        for (key, text, shown) in [
            ("argsrepr", args, &mut draft.argsrepr),
            ("kwargsrepr", kwargs, &mut draft.kwargsrepr),
        ] {
            if shown.is_none() {
                let text = Raw::parse(text)
                    .map(|raw| repr(raw, REPR_LENGTH))
                    .unwrap_or_default();
                push_key(&mut out, key);
                push_string(&mut out, &text);
                *shown = Some(text.into());
            }
        }
        out.push(b'}');
        Ok(String::from_utf8(out).unwrap_or_default()) // slices of text and ASCII
    }

    /// The body of protocol 2.
    fn body(self, [args, kwargs]: [&str; 2]) -> Vec<u8> {
        let embedded = |key| self.find(key).map_or("null", Raw::text);
        let (callbacks, errbacks) = (embedded("callbacks"), embedded("errbacks"));
        let chord = embedded("chord");
        format!(
            "[{args}, {kwargs}, {{\"callbacks\": {callbacks}, \"errbacks\": {errbacks}, \
             \"chain\": null, \"chord\": {chord}}}]"
        )
        .into_bytes()
    }
}

fn push_key(out: &mut Vec<u8>, key: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    push_string(out, key);
    out.push(b':');
}
