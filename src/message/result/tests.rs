use std::time::Duration;

use super::*;

/// Texts captured from Celery's Redis backend, with and without `result_extended`.
#[test]
fn writes_what_celery_writes() {
    let done = moment::parse("2026-11-20T12:11:38.170342+00:00").unwrap();
    let expired = Exception::task_revoked("expired").to_json();
    let mut meta = ResultMeta {
        date_done: Some(done),
        parent_id: Some("p"),
        group_id: Some("g"),
        ..ResultMeta::new(State::Revoked, "ext-expired-hdr", &expired)
    };
    assert_eq!(
        meta.to_json(),
        r#"{"status": "REVOKED", "result": {"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": "celery.exceptions"}, "traceback": null, "children": [], "date_done": "2026-11-20T12:11:38.170342+00:00", "group_id": "g", "parent_id": "p", "task_id": "ext-expired-hdr"}"#
    );
    (meta.group_id, meta.parent_id) = (None, None);
    meta.extended = Some(Extended::default());
    assert!(meta.to_json().ends_with(
        r#""name": null, "args": null, "kwargs": null, "worker": null, "retries": null, "queue": null, "task_id": "ext-expired-hdr"}"#
    ));
    meta.extended = Some(Extended {
        name: Some("wproj.add"),
        args: Some("[3, 4]"),
        kwargs: Some("{}"),
        worker: Some("x1@lab"),
        retries: Some(0),
        queue: Some("celery"),
        stamps: Some((
            Raw::parse(r#"["mon"]"#).unwrap(),
            Raw::parse(r#"{"other": 1, "mon": "m1"}"#).unwrap(),
        )),
    });
    assert!(meta.to_json().ends_with(
        r#""name": "wproj.add", "args": [3, 4], "kwargs": {}, "worker": "x1@lab", "retries": 0, "queue": "celery", "stamped_headers": ["mon"], "mon": "m1", "task_id": "ext-expired-hdr"}"#
    ));
}

#[test]
fn only_final_states_have_a_date() {
    let now = Some(SystemTime::UNIX_EPOCH);
    for state in [
        State::Failure,
        State::Retry,
        State::Revoked,
        State::Started,
        State::Success,
    ] {
        let text = ResultMeta {
            date_done: now,
            ..ResultMeta::new(state, "x", "null")
        }
        .to_json();
        assert_eq!(
            text.contains("\"date_done\": null"),
            !state.is_ready(),
            "{text}"
        );
        let back = ReceivedMeta::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (&*back.status, back.is_ready()),
            (state.as_str(), state.is_ready())
        );
    }
}

#[test]
fn words_what_main_reports_as_celery_does() {
    let table = [
        (
            Exception::worker_lost("Worker exited prematurely: signal 9 (SIGKILL) Job: 3."),
            "WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 3.')",
        ),
        (
            Exception::time_limit_exceeded(Duration::from_secs(10)),
            "TimeLimitExceeded(10)",
        ),
        (
            Exception::time_limit_exceeded(Duration::from_millis(1500)),
            "TimeLimitExceeded(1.5)",
        ),
        (
            Exception::not_registered("no.such.task"),
            "NotRegistered('no.such.task')",
        ),
        (
            Exception::task_revoked("revoked"),
            "TaskRevokedError('revoked')",
        ),
    ];
    for (exception, repr) in table {
        assert_eq!(exception.repr(), repr);
        let meta = ResultMeta {
            traceback: Some("Traceback\n"),
            ..ResultMeta::new(State::Failure, "é", "0")
        };
        let json = exception.to_json();
        let text = ResultMeta {
            result: &json,
            ..meta
        }
        .to_json();
        let back = ReceivedMeta::parse(text.as_bytes()).unwrap();
        assert_eq!(back.exception(), Some(exception));
        assert_eq!(back.traceback.as_deref(), Some("Traceback\n"));
        assert_eq!(back.task_id.as_deref(), Some("é"));
    }
}

#[test]
fn arguments_are_shown_as_python_shows_them() {
    let exception = |args: &'static str| Exception {
        type_name: "E".into(),
        module: None,
        args: args.into(),
    };
    assert_eq!(exception("[]").repr(), "E()");
    assert_eq!(exception("[1, \"a\"]").repr(), "E(1, 'a')");
    assert_eq!(exception("[[1]]").repr(), "E([1])");
}
