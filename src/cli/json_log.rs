//! The log as JSON: one object a line, for machines. The scripts of Python's children write the same.
//!
//! | key | |
//! |---|---|
//! | `timestamp` | ISO 8601, milliseconds, with the zone |
//! | `level` | `INFO`, ... `CRITICAL` |
//! | `process`, `pid` | `MainProcess`, `ForkPoolWorker-3` |
//! | `logger` | the module, or Python's logger |
//! | `message` | the line without anything before it |
//! | `task_id`, `name`, `root_id`, `retries` | of the task that the line is about, or that the process runs |
//! | `traceback` | where there is one |
//!
//! What the program gives a line beside (key-values of the `log` crate, `extra` in Python) follows.

use jiff::ZonedDateTime;
use log::Record;
use log::kv::{Error, Key, Source, Value, VisitSource};

use crate::app::runner;
use crate::message::json::{Field, Object};
use crate::sys::process;

/// What every line has, so that nothing else can have the name.
const OWN: [&str; 6] = ["timestamp", "level", "process", "pid", "logger", "message"];

/// One record.
pub(super) fn line(record: &Record<'_>, level: &str, process: &str, at: &ZonedDateTime) -> String {
    let text = record.args().to_string();
    let mut pairs = Pairs::default();
    runner::with_running(|context| {
        if let Some(context) = context {
            let _ = context.log_line().visit(&mut pairs); // it does not fail
        }
    });
    let _ = record.key_values().visit(&mut pairs); // what a program's own value cannot say is left out
    let stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string();
    let mut object = Object::new();
    object
        .push("timestamp", &stamp)
        .push("level", level)
        .push("process", process)
        .push("pid", i64::from(process::current().raw()))
        .push("logger", record.target())
        .push("message", text.trim_end());
    for (key, value) in &pairs.0 {
        object.push(key, Field::Json(value));
    }
    object.into_json()
}

/// Key-values, of each key the last, as JSON.
#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if OWN.contains(&key.as_str()) {
            return Ok(());
        }
        self.0.retain(|(known, _)| known != key.as_str());
        let mut json = Vec::new();
        if let Some(number) = value.to_i64() {
            Field::Integer(number).write(&mut json);
        } else if let Some(number) = value.to_f64() {
            Field::Number(number).write(&mut json);
        } else if let Some(flag) = value.to_bool() {
            Field::Flag(flag).write(&mut json);
        } else {
            Field::Text(&value.to_string()).write(&mut json);
        }
        let json = String::from_utf8(json).unwrap_or_default(); // only ASCII was written
        self.0.push((key.as_str().to_owned(), json));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::worker::OfTask;

    fn shown(key_values: &dyn Source, text: fmt::Arguments<'_>) -> String {
        let at = "2026-11-20T11:52:24.188999+01:00[+01:00]".parse().unwrap();
        let record = Record::builder()
            .level(log::Level::Info)
            .target("celeriac")
            .key_values(&key_values)
            .args(text)
            .build();
        let text = line(&record, "INFO", "MainProcess", &at);
        text.replace(&format!("{}", process::current()), "PID")
    }

    #[test]
    fn t27_2_a_line_has_its_fields_and_those_of_its_task() {
        let task = OfTask {
            id: "id",
            name: "tasks.add",
            root_id: "root",
            retries: 2,
            traceback: Some("Traceback:\n  \"x\""),
        };
        assert_eq!(
            shown(&task, format_args!("two\nlines\n")),
            r#"{"timestamp": "2026-11-20T11:52:24.188+01:00", "level": "INFO", "process": "MainProcess", "pid": PID, "#
                .to_owned()
                + r#""logger": "celeriac", "message": "two\nlines", "task_id": "id", "name": "tasks.add", "#
                + r#""root_id": "root", "retries": 2, "traceback": "Traceback:\n  \"x\""}"#
        );
    }

    #[test]
    fn what_a_program_adds_has_its_own_type_and_no_name_that_is_taken() {
        let pairs = [
            ("level", Value::from("loud")),
            ("count", Value::from(7)),
            ("share", Value::from(0.5)),
            ("odd", Value::from(f64::NAN)),
            ("done", Value::from(true)),
        ];
        let text = shown(&pairs.as_slice(), format_args!("x"));
        assert!(
            text.ends_with(
                r#""message": "x", "count": 7, "share": 0.5, "odd": null, "done": true}"#
            ),
            "{text}"
        );
    }
}
