//! From a job to what is logged and what main is told.

use std::time::Duration;

use log::Level;
use serde_json::{Value, json};

use super::*;
use crate::app::{App, TaskError, TaskResult};
use crate::message::record::Outcome;

const ID: &str = "8a75c803-4071-4598-8a89-55c82dc2ea4b";

fn app() -> App {
    App::new("tasks")
        .task("tasks.add", |_: &Context, (x, y): (i64, i64)| Ok(x + y))
        .task("tasks.fail", |_: &Context, (): ()| -> TaskResult<()> {
            Err(Exception::new("ValueError", "boom")
                .module("builtins")
                .into())
        })
        .task("tasks.parse", |_: &Context, text: String| {
            Ok(text.parse::<i64>()?)
        })
        .task("tasks.ignore", |_: &Context, (): ()| -> TaskResult<()> {
            Err(TaskError::Ignore)
        })
        .task(
            "tasks.reject",
            |_: &Context, requeue: bool| -> TaskResult<()> {
                Err(TaskError::reject("not mine", requeue))
            },
        )
        .task(
            "tasks.retry",
            |context: &Context, seconds: Option<f64>| -> TaskResult<()> {
                let retry = context.retry();
                Err(match seconds {
                    None => retry,
                    Some(seconds) => {
                        let cause = Exception::new("KeyError", "again").module("builtins");
                        retry
                            .countdown(Duration::from_secs_f64(seconds))
                            .exception(cause)
                    }
                })?
            },
        )
        .task_with(
            "tasks.quiet",
            |_: &Context, (): ()| Ok("unheard"),
            TaskOptions::new().ignore_result(true),
        )
        .task("tasks.who", |context: &Context, (): ()| {
            Ok(json!({
                "id": context.id(),
                "name": context.name(),
                "hostname": context.hostname(),
                "retries": context.retries(),
                "root_id": context.root_id(),
                "parent_id": context.parent_id(),
                "group": context.group_id(),
                "args": context.args_repr(),
                "mine": context.header("my-header"),
                "headers": context.headers().len(),
                "routing_key": context.delivery_info().routing_key,
                "redelivered": context.delivery_info().redelivered,
                "correlation_id": context.correlation_id(),
                "reply_to": context.reply_to(),
                "eta": context.eta().is_some(),
                "expires": context.expires().is_some(),
            }))
        })
}

/// Runs one call; `headers` are merged over the least a message has.
fn run(task: &str, body: &str, headers: Value) -> Report {
    let mut all =
        json!({"task": task, "id": ID, "retries": 0, "argsrepr": "(1,)", "kwargsrepr": "{}"});
    for (name, value) in headers.as_object().unwrap() {
        all[name] = value.clone();
    }
    let head = json!({
        "job": 7,
        "task": task,
        "id": ID,
        "headers": all,
        "properties": {"content_type": "application/json", "correlation_id": ID, "reply_to": "replies"},
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": false},
        "hostname": "celery@host",
    })
    .to_string();
    let job: JobHead<'_> = serde_json::from_str(&head).unwrap();
    let runner = Runner::new(app().into_registry(), |_| {});
    let context = Context::new(&job);
    let report = runner
        .run(&job, body.as_bytes(), &context, || {})
        .expect("JSON");
    assert_eq!(report.done.job, 7);
    report
}

fn meta(report: &Report) -> Value {
    assert!(report.done.store);
    serde_json::from_slice(&report.done.meta).unwrap()
}

/// The log line, with the run time, which differs each time, cut out.
fn line(report: &Report) -> String {
    let line = report.line.strip_prefix("Task ").unwrap().replace(ID, "id");
    match line.split_once("succeeded in ") {
        Some((name, rest)) => {
            let (runtime, value) = rest.split_once("s: ").unwrap();
            assert!(runtime.parse::<f64>().unwrap() >= 0.0);
            format!("{name}succeeded: {value}")
        }
        None => line,
    }
}

#[test]
fn success() {
    let report = run(
        "tasks.add",
        "[[2, 3], {}, {}]",
        json!({"group": "g", "parent_id": "p"}),
    );
    assert_eq!(
        (report.level, line(&report)),
        (Level::Info, "tasks.add[id] succeeded: 5".to_owned())
    );
    assert_eq!(report.done.outcome, Outcome::Success);
    assert_eq!(report.done.result.as_deref(), Some("5"));
    let meta = meta(&report);
    assert!(meta["date_done"].is_string());
    for (key, value) in [
        ("status", json!("SUCCESS")),
        ("result", json!(5)),
        ("traceback", Value::Null),
        ("group_id", json!("g")),
        ("parent_id", json!("p")),
        ("task_id", json!(ID)),
    ] {
        assert_eq!(meta[key], value, "{key}");
    }
}

#[test]
fn failure() {
    let report = run("tasks.fail", "[[], {}, {}]", json!({}));
    assert_eq!(report.level, Level::Error);
    assert_eq!(
        line(&report),
        "tasks.fail[id] raised unexpected: ValueError('boom')"
    );
    let text = report.traceback.as_deref().unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Traceback (most recent call last):"));
    assert_eq!(lines.next_back(), Some("ValueError: boom"));
    assert_eq!(report.done.outcome, Outcome::Failure);
    assert_eq!(report.done.exception.as_deref(), Some("ValueError('boom')"));
    let meta = meta(&report);
    assert_eq!(meta["status"], "FAILURE");
    assert_eq!(
        meta["result"],
        json!({"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"})
    );
    assert_eq!(meta["traceback"].as_str(), report.done.traceback.as_deref());
}

#[test]
fn what_cannot_be_called_fails() {
    for (task, body, exception) in [
        (
            "tasks.parse",
            "[[\"x\"], {}, {}]",
            "ParseIntError('invalid digit found in string')",
        ),
        (
            "tasks.add",
            "[[1], {}, {}]",
            "TypeError('add() takes 2 positional arguments but 1 was given')",
        ),
        (
            "tasks.add",
            "[[1, NaN], {}, {}]",
            "ValueError('add() argument 2: NaN at octet 0 is not a finite number')",
        ),
        ("tasks.none", "[[], {}, {}]", "NotRegistered('tasks.none')"),
    ] {
        let report = run(task, body, json!({}));
        assert_eq!(report.done.exception.as_deref(), Some(exception));
        assert_eq!(report.done.outcome, Outcome::Failure);
    }
    let report = run("tasks.add", "{}", json!({}));
    assert_eq!(report.done.outcome, Outcome::Failure);
}

#[test]
fn an_oddity_outside_the_arguments_is_nobodys_business() {
    let report = run("tasks.add", "[[2, 3], {}, {\"chain\": [NaN]}]", json!({}));
    assert_eq!(report.done.outcome, Outcome::Success);
}

#[test]
fn a_reject_for_good_is_a_failure_and_ignore_stores_nothing() {
    let report = run("tasks.ignore", "[[], {}, {}]", json!({}));
    assert_eq!(
        (report.level, line(&report)),
        (Level::Info, "tasks.ignore[id] ignored".to_owned())
    );
    assert_eq!(
        (report.done.outcome, report.done.store),
        (Outcome::Ignored, false)
    );

    for (requeue, word) in [(true, "True"), (false, "False")] {
        let report = run(
            "tasks.reject",
            &format!("[[{requeue}], {{}}, {{}}]"),
            json!({}),
        );
        let expected = format!("tasks.reject[id] reject requeue={word}: not mine");
        assert_eq!((report.level, line(&report)), (Level::Warn, expected));
        assert_eq!(
            (report.done.outcome, report.done.store),
            (Outcome::Rejected, !requeue)
        );
        assert_eq!(report.done.requeue, requeue);
    }
}

#[test]
fn a_retry_publishes_the_same_message_once_more() {
    let body = "[[1.5], {}, {\"callbacks\": [\"kept\"]}]";
    let report = run(
        "tasks.retry",
        body,
        json!({"retries": 2, "my-header": "kept"}),
    );
    let expected = "tasks.retry[id] retry: Retry in 1.5s: KeyError('again')";
    assert_eq!(
        (report.level, line(&report)),
        (Level::Info, expected.to_owned())
    );
    assert_eq!(report.done.outcome, Outcome::Retry);
    let [again] = report.done.publish.as_slice() else {
        panic!("one message")
    };
    assert_eq!(
        (again.exchange.as_str(), again.routing_key.as_str()),
        ("", "celery")
    );
    assert_eq!(again.body, body.as_bytes());
    let headers: Value = serde_json::from_str(&again.headers).unwrap();
    assert_eq!(
        (&headers["retries"], &headers["my-header"]),
        (&json!(3), &json!("kept"))
    );
    assert!(headers["eta"].is_string());
    let meta = meta(&report);
    assert_eq!(
        (&meta["status"], &meta["date_done"]),
        (&json!("RETRY"), &Value::Null)
    );
    assert_eq!(meta["result"]["exc_type"], "KeyError");
}

#[test]
fn a_retry_without_more_waits_the_default_delay() {
    let report = run("tasks.retry", "[[], {}, {}]", json!({}));
    assert_eq!(line(&report), "tasks.retry[id] retry: Retry in 180s");
    assert_eq!(meta(&report)["result"], Value::Null);
    let at_once = run("tasks.retry", "[[0.0], {}, {}]", json!({}));
    let headers: Value = serde_json::from_str(&at_once.done.publish[0].headers).unwrap();
    assert_eq!(headers["eta"], Value::Null);
}

#[test]
fn used_up_retries_fail_with_the_cause_or_say_so() {
    let last = json!({"retries": 3});
    let report = run("tasks.retry", "[[1.5], {}, {}]", last.clone());
    assert_eq!(report.done.exception.as_deref(), Some("KeyError('again')"));
    assert!(report.done.publish.is_empty());
    let report = run("tasks.retry", "[[], {}, {}]", last);
    assert_eq!(meta(&report)["status"], "FAILURE");
    let exception = &meta(&report)["result"];
    assert_eq!(exception["exc_type"], "MaxRetriesExceededError");
    let text = format!("Can't retry tasks.retry[{ID}] args:(1,) kwargs:{{}}");
    assert_eq!(exception["exc_message"], json!([text]));
}

#[test]
fn a_result_nobody_wants_is_not_stored() {
    assert!(!run("tasks.quiet", "[[], {}, {}]", json!({})).done.store);
    assert!(
        run(
            "tasks.quiet",
            "[[], {}, {}]",
            json!({"ignore_result": false})
        )
        .done
        .store
    );
    let ignored = json!({"ignore_result": true});
    assert!(
        !run("tasks.add", "[[2, 3], {}, {}]", ignored.clone())
            .done
            .store
    );
    assert!(!run("tasks.fail", "[[], {}, {}]", ignored).done.store);
}

#[test]
fn the_log_shows_the_shadow_name() {
    let report = run("tasks.add", "[[2, 3], {}, {}]", json!({"shadow": "sum"}));
    assert_eq!(line(&report), "sum[id] succeeded: 5");
}

#[test]
fn a_task_knows_its_call() {
    let headers = json!({
        "retries": 2, "root_id": "r", "parent_id": "p", "group": "g", "my-header": [1],
        "eta": "2026-11-20T12:02:12+00:00", "expires": "no date",
    });
    let report = run("tasks.who", "[[], {}, {}]", headers);
    assert_eq!(
        meta(&report)["result"],
        json!({
            "id": ID, "name": "tasks.who", "hostname": "celery@host", "retries": 2,
            "root_id": "r", "parent_id": "p", "group": "g", "args": "(1,)", "mine": [1], "headers": 11,
            "routing_key": "celery", "redelivered": false, "correlation_id": ID, "reply_to": "replies",
            "eta": true, "expires": false,
        })
    );
}

#[test]
fn a_panic_is_a_failure_with_its_stack() {
    let head = json!({
        "job": 7, "task": "tasks.add", "id": ID, "headers": {}, "properties": {}, "hostname": "h",
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": null, "redelivered": false},
    })
    .to_string();
    let job: JobHead<'_> = serde_json::from_str(&head).unwrap();
    let mut runner = Runner::new(app().into_registry(), |_| {});
    let panic = Panic {
        message: "out of bounds, src/tasks.rs:7:5".to_owned(),
        backtrace: "   0: tasks::add\n".to_owned(),
        runtime: Duration::from_millis(1500),
    };
    let body = br#"[[1, 2], {}, {"callbacks": null, "errbacks": [{"task": "tasks.sorry"}], "chain": null, "chord": null}]"#;
    let done = runner.panicked(&job, body, panic);
    assert_eq!((done.outcome, done.runtime), (Outcome::Failure, 1.5));
    assert_eq!(
        done.exception.as_deref(),
        Some("Panic('out of bounds, src/tasks.rs:7:5')")
    );
    let expected = "Traceback (most recent call last):\n   0: tasks::add\nPanic: out of bounds, src/tasks.rs:7:5\n";
    assert_eq!(done.traceback.as_deref(), Some(expected));
    let [errback] = &done.publish[..] else {
        panic!("no errback: {done:?}");
    };
    assert!(errback.headers.contains(r#""task":"tasks.sorry""#));
}
