//! Results: the mapping that a client reads, whatever backend keeps it.
//!
//! [`ResultMeta`] writes it with the keys in Celery's order and the octets of Python's `json.dumps`.
//! Values that a task produced are JSON text and go through untouched. [`Exception`] is how a failure
//! looks inside it; its constructors word what main itself reports as Celery words it.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use super::headers::push_integer;
use super::json::{self, JsonError, Raw, Scanner, push_string, python_float};
use super::moment;

/// The state of a task that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It failed.
    Failure,
    /// It is to run again.
    Retry,
    /// It was revoked, or had expired.
    Revoked,
    /// It runs; stored only for tasks that ask for it.
    Started,
    /// It returned.
    Success,
}

impl State {
    /// Celery's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Failure | Self::Revoked | Self::Success)
    }
}

/// A result as a backend stores it.
///
/// ```
/// use celeriac::message::result::{ResultMeta, State};
/// let meta = ResultMeta::new(State::Success, "an-id", "20");
/// let text = r#"{"status": "SUCCESS", "result": 20, "traceback": null, "children": [], "date_done": null, "task_id": "an-id"}"#;
/// assert_eq!(meta.to_json(), text);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ResultMeta<'a> {
    /// What became of the task.
    pub state: State,
    /// The text of a JSON value: what was returned, or [`Exception::to_json`].
    pub result: &'a str,
    /// The traceback's text.
    pub traceback: Option<&'a str>,
    /// The text of a JSON list: the result tuples of what the task started.
    pub children: &'a str,
    /// When it ended; written only for a state that is final.
    pub date_done: Option<SystemTime>,
    /// The group it belongs to.
    pub group_id: Option<&'a str>,
    /// The task that started it.
    pub parent_id: Option<&'a str>,
    /// More about the task, with the setting `result_extended`.
    pub extended: Option<Extended<'a>>,
    /// The task's id.
    pub task_id: &'a str,
}

/// What `result_extended` adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extended<'a> {
    /// The task's name.
    pub name: Option<&'a str>,
    /// The text of a JSON list: the positional arguments.
    pub args: Option<&'a str>,
    /// The text of a JSON object: the keyword arguments.
    pub kwargs: Option<&'a str>,
    /// The worker's node name.
    pub worker: Option<&'a str>,
    /// How often it was tried before.
    pub retries: Option<i64>,
    /// The routing key of the delivery.
    pub queue: Option<&'a str>,
    /// The names of the stamps, a JSON list, and the stamps, a JSON object.
    pub stamps: Option<(Raw<'a>, Raw<'a>)>,
}

impl<'a> ResultMeta<'a> {
    /// The least that a result says.
    pub fn new(state: State, task_id: &'a str, result: &'a str) -> Self {
        Self {
            state,
            result,
            traceback: None,
            children: "[]",
            date_done: None,
            group_id: None,
            parent_id: None,
            extended: None,
            task_id,
        }
    }

    /// The mapping as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(self.result.len() + 256);
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default() // ASCII, and the text given
    }

    /// Appends the mapping as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut members = Members(out);
        members.text("{\"status\": ", Some(self.state.as_str()));
        members.raw(", \"result\": ", Some(self.result));
        members.text(", \"traceback\": ", self.traceback);
        members.raw(", \"children\": ", Some(self.children));
        let date_done = self
            .date_done
            .filter(|_| self.state.is_ready())
            .map(moment::format);
        members.text(", \"date_done\": ", date_done.as_deref());
        if self.group_id.is_some() {
            members.text(", \"group_id\": ", self.group_id);
        }
        if self.parent_id.is_some() {
            members.text(", \"parent_id\": ", self.parent_id);
        }
        if let Some(extended) = &self.extended {
            extended.write(&mut members);
        }
        members.text(", \"task_id\": ", Some(self.task_id));
        out.push(b'}');
    }
}

impl Extended<'_> {
    fn write(&self, members: &mut Members<'_>) {
        members.text(", \"name\": ", self.name);
        members.raw(", \"args\": ", self.args);
        members.raw(", \"kwargs\": ", self.kwargs);
        members.text(", \"worker\": ", self.worker);
        match self.retries {
            Some(retries) => {
                members.raw(", \"retries\": ", Some(""));
                push_integer(members.0, retries);
            }
            None => members.raw(", \"retries\": ", None),
        }
        members.text(", \"queue\": ", self.queue);
        if let Some((names, stamps)) = self.stamps {
            members.raw(", \"stamped_headers\": ", Some(names.text()));
            for (key, value) in stamps.members() {
                if names.elements().any(|name| name.as_str() == key.as_str()) {
                    members.raw(", ", Some(key.text()));
                    members.raw(": ", Some(value.text()));
                }
            }
        }
    }
}

/// Appends members of an object. What is absent is null.
struct Members<'a>(&'a mut Vec<u8>);

impl Members<'_> {
    fn raw(&mut self, key: &str, json: Option<&str>) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(json.unwrap_or("null").as_bytes());
    }

    fn text(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => {
                self.raw(key, Some(""));
                push_string(self.0, text);
            }
            None => self.raw(key, None),
        }
    }
}

/// An exception as results carry it: a type, where Python finds it, and the constructor's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception<'a> {
    /// The type's name.
    pub type_name: Cow<'a, str>,
    /// The module that defines it; a client that has not imported it makes a type up.
    pub module: Option<Cow<'a, str>>,
    /// The text of a JSON list.
    pub args: Cow<'a, str>,
}

impl Exception<'static> {
    /// The child that ran the job ended: `exit` reads like `signal 9 (SIGKILL)` or `exitcode 1`.
    pub fn worker_lost(exit: impl Display, job: u64) -> Self {
        let text = format!("Worker exited prematurely: {exit} Job: {job}.");
        Self::known("WorkerLostError", BILLIARD, &quoted(&text))
    }

    /// The child was killed because the task ran longer than its hard limit.
    pub fn time_limit_exceeded(limit: Duration) -> Self {
        Self::known("TimeLimitExceeded", BILLIARD, &seconds(limit))
    }

    /// No task has this name.
    pub fn not_registered(name: &str) -> Self {
        Self::known("NotRegistered", CELERY, &quoted(name))
    }

    /// The task was not run, or not to its end: `revoked`, `terminated` or `expired`.
    pub fn task_revoked(reason: &str) -> Self {
        Self::known("TaskRevokedError", CELERY, &quoted(reason))
    }

    fn known(type_name: &'static str, module: &'static str, arg: &str) -> Self {
        let (type_name, module) = (type_name.into(), Some(module.into()));
        Self {
            type_name,
            module,
            args: format!("[{arg}]").into(),
        }
    }
}

const BILLIARD: &str = "billiard.exceptions";
const CELERY: &str = "celery.exceptions";

impl Exception<'_> {
    /// The mapping that stands as `result` in a [`ResultMeta`].
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(128);
        let mut members = Members(&mut out);
        members.text("{\"exc_type\": ", Some(&self.type_name));
        members.raw(", \"exc_message\": ", Some(&self.args));
        members.text(", \"exc_module\": ", self.module.as_deref());
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default() // ASCII, and the text given
    }

    /// As Python shows it in logs and events: `ValueError('boom')`.
    pub fn repr(&self) -> String {
        let args = Raw::parse(&self.args).map(|args| match args.elements().nth(1) {
            Some(_) => json::repr_tuple(args, usize::MAX),
            None => match args.elements().next() {
                Some(arg) => format!("({})", json::repr(arg, usize::MAX)),
                None => "()".into(),
            },
        });
        format!("{}{}", self.type_name, args.unwrap_or_else(|_| "()".into()))
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default() // only ASCII was written
}

/// Whole seconds as an integer, as settings usually give them.
fn seconds(limit: Duration) -> String {
    if limit.subsec_nanos() == 0 {
        limit.as_secs().to_string()
    } else {
        python_float(limit.as_secs_f64())
    }
}

/// A result read back, as a client that waits for one does.
///
/// ```
/// use celeriac::message::result::ReceivedMeta;
/// let text = r#"{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["boom"]}, "task_id": "x"}"#;
/// let meta = ReceivedMeta::parse(text.as_bytes()).unwrap();
/// assert!(meta.is_ready());
/// assert_eq!(meta.exception().unwrap().repr(), "ValueError('boom')");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMeta<'a> {
    /// The state's name; there are more than [`State`] has, and tasks invent their own.
    pub status: Cow<'a, str>,
    /// The result; null when there is none.
    pub result: Option<Raw<'a>>,
    /// The traceback's text.
    pub traceback: Option<Cow<'a, str>>,
    /// The task it belongs to.
    pub task_id: Option<Cow<'a, str>>,
}

impl<'a> ReceivedMeta<'a> {
    /// Finds what matters in a result's text. What is missing reads as absent.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let mut scanner = Scanner::from_bytes(text)?;
        let mapping = scanner.value()?;
        scanner.end()?;
        let mut meta = Self {
            status: "PENDING".into(),
            result: None,
            traceback: None,
            task_id: None,
        };
        for (key, value) in mapping.members() {
            match key.text() {
                "\"status\"" => meta.status = value.as_str().unwrap_or(meta.status),
                "\"result\"" => meta.result = Some(value),
                "\"traceback\"" => meta.traceback = value.as_str(),
                "\"task_id\"" => meta.task_id = value.as_str(),
                _ => {}
            }
        }
        Ok(meta)
    }

    /// Whether the state is final.
    pub fn is_ready(&self) -> bool {
        matches!(&*self.status, "SUCCESS" | "FAILURE" | "REVOKED")
    }

    /// The exception, if the result is one.
    pub fn exception(&self) -> Option<Exception<'a>> {
        let members = || self.result.into_iter().flat_map(Raw::members);
        let find = |name| {
            members()
                .find(|(key, _)| key.text() == name)
                .map(|(_, value)| value)
        };
        let type_name = find("\"exc_type\"")?.as_str()?;
        let module = find("\"exc_module\"").and_then(Raw::as_str);
        let args = find("\"exc_message\"").map_or("[]", Raw::text);
        Some(Exception {
            type_name,
            module,
            args: args.into(),
        })
    }
}

#[cfg(test)]
mod tests {
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
                Exception::worker_lost("signal 9 (SIGKILL)", 3),
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
}
