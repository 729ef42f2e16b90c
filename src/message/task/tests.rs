use proptest::prelude::*;

use super::*;
use crate::amqp::table::{ArrayBuf, TableBuf, Value};
use crate::amqp::wire::DecodeError;
use crate::message::body::ShapeError;
use crate::message::json::{JsonError, Kind, Problem};

const BODY: &[u8] =
    br#"[[1, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;

fn properties(headers: &TableBuf) -> Properties<'_> {
    Properties {
        content_type: Some(JSON.into()),
        headers: Some(headers.as_table()),
        ..Properties::default()
    }
}

/// The headers without which nothing runs, and one more.
fn with<'v>(key: &'v str, value: impl Into<Value<'v>>) -> TableBuf {
    let mut table = TableBuf::new();
    table.insert("task", "tasks.add").unwrap();
    table.insert("id", "an-id").unwrap();
    table.insert(key, value).unwrap();
    table
}

fn refusal(headers: &TableBuf, body: &[u8]) -> Refusal {
    receive(&properties(headers), body, &Accept::default()).unwrap_err()
}

fn array<'v>(values: impl IntoIterator<Item = Value<'v>>) -> ArrayBuf {
    let mut array = ArrayBuf::new();
    values
        .into_iter()
        .for_each(|value| array.push(value).unwrap());
    array
}

/// Each of these ends a Python worker, or is passed on by it to fail somewhere else.
#[test]
fn headers_of_unexpected_types_are_refused_by_name() {
    let short = array([Value::F64(1.0)]);
    let long = array([Value::Void, Value::Void, Value::Void]);
    let negative = array([Value::I32(-1), Value::Void]);
    let text = array([Value::from("30"), Value::Void]);
    let table: &[(&str, Value<'_>, InvalidTask)] = &[
        (
            "task",
            Value::Bytes(b"tasks.add"),
            InvalidTask::NotAString("task"),
        ),
        (
            "task",
            Value::LongStr(b"\xff"),
            InvalidTask::NotAString("task"),
        ),
        ("task", Value::Void, InvalidTask::NotAString("task")),
        (
            "task",
            Value::Table(Table::default()),
            InvalidTask::NotAString("task"),
        ),
        ("id", Value::I32(7), InvalidTask::NotAString("id")),
        ("id", Value::Void, InvalidTask::NotAString("id")),
        (
            "root_id",
            Value::Bool(true),
            InvalidTask::NotAString("root_id"),
        ),
        (
            "group_index",
            Value::from("0"),
            InvalidTask::NotAnInteger("group_index"),
        ),
        (
            "retries",
            Value::F64(0.5),
            InvalidTask::NotAnInteger("retries"),
        ),
        (
            "ignore_result",
            Value::from("no"),
            InvalidTask::NotABoolean("ignore_result"),
        ),
        ("timelimit", Value::from("30"), InvalidTask::TimeLimit),
        ("timelimit", Value::I32(30), InvalidTask::TimeLimit),
        (
            "timelimit",
            Value::Array(short.as_array()),
            InvalidTask::TimeLimit,
        ),
        (
            "timelimit",
            Value::Array(long.as_array()),
            InvalidTask::TimeLimit,
        ),
        (
            "timelimit",
            Value::Array(negative.as_array()),
            InvalidTask::TimeLimit,
        ),
        (
            "timelimit",
            Value::Array(text.as_array()),
            InvalidTask::TimeLimit,
        ),
    ];
    for (key, value, error) in table {
        assert_eq!(
            refusal(&with(key, *value), BODY),
            error.clone().into(),
            "{key} {value:?}"
        );
    }
}

#[test]
fn moments_that_are_none_are_shown() {
    let table = [
        (
            "eta",
            Value::from("it's soon"),
            r"invalid ETA value 'it\'s soon': not a date and time of ISO 8601",
        ),
        (
            "expires",
            Value::I32(60),
            "invalid expires value 60: not a date and time of ISO 8601",
        ),
        (
            "eta",
            Value::Bool(true),
            "invalid ETA value True: not a date and time of ISO 8601",
        ),
    ];
    for (key, value, text) in table {
        let error = refusal(&with(key, value), BODY);
        assert!(matches!(
            error,
            Refusal::Invalid(InvalidTask::Moment { .. })
        ));
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_task_needs_an_id_and_nothing_else() {
    let mut headers = TableBuf::new();
    headers.insert("task", "tasks.add").unwrap();
    assert_eq!(refusal(&headers, BODY), InvalidTask::Missing("id").into());
    headers.insert("id", "an-id").unwrap();
    let task = receive(&properties(&headers), BODY, &Accept::default()).unwrap();
    assert_eq!(
        (task.retries, task.hard_limit, &task.eta, &task.root_id),
        (0, None, &None, &None)
    );
    assert_eq!((&*task.argsrepr, task.display_name()), ("", "tasks.add"));
}

#[test]
fn null_and_empty_headers_are_absent_ones() {
    for value in [Value::Void, Value::from("")] {
        for key in [
            "eta",
            "expires",
            "shadow",
            "root_id",
            "parent_id",
            "group",
            "compression",
        ] {
            let headers = with(key, value);
            let task = receive(&properties(&headers), BODY, &Accept::default()).unwrap();
            assert!(task.eta.is_none() && task.expires.is_none() && task.root_id.is_none());
            assert_eq!(task.display_name(), "tasks.add");
        }
    }
}

#[test]
fn limits_are_hard_then_soft_and_zero_is_none() {
    let limits = array([Value::I32(30), Value::F64(20.5)]);
    let headers = with("timelimit", limits.as_array());
    let task = receive(&properties(&headers), BODY, &Accept::default()).unwrap();
    assert_eq!(task.hard_limit, Some(Duration::from_secs(30)));
    assert_eq!(task.soft_limit, Some(Duration::from_millis(20_500)));
    let limits = array([Value::I32(0), Value::Void]);
    let headers = with("timelimit", limits.as_array());
    let task = receive(&properties(&headers), BODY, &Accept::default()).unwrap();
    assert_eq!((task.hard_limit, task.soft_limit), (None, None));
}

#[test]
fn what_is_only_shown_is_never_a_reason_to_refuse() {
    for key in [
        "shadow",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "lang",
        "stamps",
        "my-header",
    ] {
        for value in [Value::LongStr(b"\xff("), Value::I32(1), Value::Bytes(b"x")] {
            let headers = with(key, value);
            receive(&properties(&headers), BODY, &Accept::default()).unwrap();
        }
    }
    let headers = with("argsrepr", Value::LongStr(b"\xff("));
    let task = receive(&properties(&headers), BODY, &Accept::default()).unwrap();
    assert_eq!(task.argsrepr, "\u{fffd}(");
}

#[test]
fn the_last_of_two_headers_counts() {
    let headers = with("id", "another");
    let task = receive(&properties(&headers), BODY, &Accept::default()).unwrap();
    assert_eq!(task.id, "another");
}

#[test]
fn broken_header_tables_are_refused() {
    let properties = Properties {
        content_type: Some(JSON.into()),
        headers: Some(Table::from_bytes(b"\x04task?")),
        ..Properties::default()
    };
    let refusal = receive(&properties, BODY, &Accept::default()).unwrap_err();
    assert_eq!(
        refusal,
        InvalidTask::Headers(DecodeError::UnknownTag(b'?')).into()
    );
}

#[test]
fn content_types_are_checked_before_bodies() {
    let headers = with("lang", "py");
    let receive_as = |content_type: Option<&'static str>, accept: &Accept| {
        let content_type = content_type.map(Into::into);
        receive(
            &Properties {
                content_type,
                ..properties(&headers)
            },
            b"\x80",
            accept,
        )
        .map(drop)
    };
    let pickle = "application/x-python-serialize";
    assert_eq!(
        receive_as(Some(pickle), &Accept::default()),
        Err(Refusal::NotAccepted(pickle.into()))
    );
    assert_eq!(receive_as(Some(pickle), &Accept::new(["pickle"])), Ok(()));
    let data = InvalidTask::NotDecoded("application/data".into());
    assert_eq!(
        receive_as(None, &Accept::default()),
        Err(data.clone().into())
    );
    assert_eq!(
        receive_as(Some("application/data"), &Accept::default()),
        Err(data.into())
    );
    assert_eq!(
        receive_as(Some("application/data"), &Accept::new(["auth"])),
        Ok(())
    );
}

#[test]
fn bodies_are_checked_only_where_they_are_plain_json() {
    let plain = with("lang", "py");
    let task = receive(&properties(&plain), b"null", &Accept::default()).unwrap();
    let shape = ShapeError::NotAList(Kind::Null);
    assert_eq!(task.check_body(), Err(InvalidTask::Shape(shape).into()));
    let task = receive(&properties(&plain), b"[[], {}", &Accept::default()).unwrap();
    let error = JsonError {
        offset: 7,
        problem: Problem::ExpectedCommaOrClose,
    };
    assert_eq!(task.check_body(), Err(Refusal::Undecodable(error)));
    let packed = with("compression", "application/x-gzip");
    let task = receive(&properties(&packed), b"x\x9c", &Accept::default()).unwrap();
    assert_eq!(task.check_body(), Ok(()));
}

/// What has no header `task` is decoded first, and only then known to be a task or not.
#[test]
fn without_a_header_the_body_decides() {
    let none = TableBuf::new();
    assert_eq!(refusal(&none, b"[1, 2]"), Refusal::Unknown);
    assert_eq!(refusal(&none, b"{\"id\": 1}"), Refusal::Unknown);
    assert_eq!(refusal(&none, b"\"task\""), Refusal::Unknown);
    assert_eq!(
        refusal(&none, b"{\"task\": 1, \"id\": \"x\"}"),
        InvalidTask::NotAString("task").into()
    );
    assert_eq!(
        refusal(&none, b"{\"task\": \"t\"}"),
        InvalidTask::Missing("id").into()
    );
    assert_eq!(
        refusal(&none, b"{\"task\": \"t\", \"id\": \"x\", \"kwargs\": []}"),
        InvalidTask::Shape(ShapeError::Kwargs(Kind::Array)).into()
    );
    assert!(matches!(
        refusal(&none, b"{\"task\": \"t\""),
        Refusal::Undecodable(_)
    ));
    let mut packed = TableBuf::new();
    packed.insert("compression", "zlib").unwrap();
    assert_eq!(refusal(&packed, b"x\x9c"), Refusal::Foreign);
    // A wrong field matters only in a task.
    let mut other = TableBuf::new();
    other.insert("id", 5).unwrap();
    assert_eq!(refusal(&other, b"[]"), Refusal::Unknown);
}

#[test]
fn protocol_one_becomes_protocol_two() {
    let none = TableBuf::new();
    let body = br#"{"task": "t", "id": "i", "args": [NaN, "\ud800"], "kwargs": {"a": 1},
        "retries": 2, "timelimit": [9, null], "group": "old", "taskset": "g", "utc": true,
        "eta": "2030-01-02T03:04:05", "callbacks": [{"task": "cb"}], "errbacks": null}"#;
    let task = receive(&properties(&none), body, &Accept::default()).unwrap();
    assert_eq!(task.protocol, Protocol::One);
    assert_eq!((&*task.name, &*task.id, task.retries), ("t", "i", 2));
    assert_eq!(task.group.as_deref(), Some("g"));
    assert_eq!(task.hard_limit, Some(Duration::from_secs(9)));
    assert_eq!(task.eta.as_ref().unwrap().text, "2030-01-02T03:04:05");
    assert_eq!(task.argsrepr, "[nan, '\u{fffd}']");
    assert_eq!(
        std::str::from_utf8(&task.body).unwrap(),
        r#"[[NaN, "\ud800"], {"a": 1}, {"callbacks": [{"task": "cb"}], "errbacks": null, "chain": null, "chord": null}]"#
    );
    task.check_body().unwrap();
    let headers: serde_json::Value =
        serde_json::from_str(&task.headers.to_json().unwrap()).unwrap();
    assert_eq!(headers["group"], "g");
    assert_eq!(headers["retries"], 2);
    assert_eq!(headers["kwargsrepr"], "{'a': 1}");
    assert_eq!(headers.get("args"), None);
}

#[test]
fn a_null_taskset_takes_a_task_out_of_its_group() {
    let none = TableBuf::new();
    let body = br#"{"task": "t", "id": "i", "group": "old", "taskset": null}"#;
    let task = receive(&properties(&none), body, &Accept::default()).unwrap();
    assert_eq!(task.group, None);
    assert_eq!(
        &*task.body,
        br#"[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#
    );
}

#[test]
fn a_hybrid_has_its_headers_over_its_body() {
    let mut headers = with("retries", 3);
    headers.insert("custom", "kept").unwrap();
    let body = br#" {"task": "other", "id": "other", "args": [1], "retries": 9, "parent_id": "p"}"#;
    let task = receive(&properties(&headers), body, &Accept::default()).unwrap();
    assert_eq!(task.protocol, Protocol::Hybrid);
    assert_eq!(
        (&*task.name, &*task.id, task.retries),
        ("tasks.add", "an-id", 3)
    );
    assert_eq!(task.parent_id.as_deref(), Some("p"));
    let json: serde_json::Value = serde_json::from_str(&task.headers.to_json().unwrap()).unwrap();
    assert_eq!(
        (&json["custom"], &json["id"]),
        (&"kept".into(), &"an-id".into())
    );
    let shape = ShapeError::NotAList(Kind::Object);
    assert_eq!(refusal(&headers, b"{}"), InvalidTask::Shape(shape).into());
}

proptest! {
    /// Whatever arrives, a message is a task or a refusal; and what is a task can be sent on.
    #[test]
    fn nothing_a_peer_sends_is_fatal(
        table in proptest::collection::vec(any::<u8>(), 0..60),
        body in "[\\[\\]{}:,\"\\\\a-e0-9 tasknulid]{0,40}",
    ) {
        let properties = Properties {
            content_type: Some(JSON.into()),
            headers: Some(Table::from_bytes(&table)),
            ..Properties::default()
        };
        for properties in [properties, Properties { headers: None, ..properties }] {
            if let Ok(task) = receive(&properties, body.as_bytes(), &Accept::default()) {
                let _ = task.check_body();
                task.headers.to_json().unwrap();
            }
        }
    }
}
