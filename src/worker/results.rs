//! Results that leave main: those a child has written, and those of tasks that no child can speak for.
//!
//! With `rpc://` a result is a message to the caller's reply queue. Without `reply_to` nobody waits for one.

use std::time::{Duration, Instant};

use super::books::Books;
use super::producer::Producer;
use super::publication::Publication;
use super::request::Request;
use super::settings::ResultBackend;
use crate::amqp::table::TableBuf;
use crate::message::canvas::{self, Followers, Parent};
use crate::message::headers::HeadersError;
use crate::message::json::Raw;
use crate::message::pidbox::Arguments;
use crate::message::properties::MessageProperties;
use crate::message::record::{About, Publish, Record};
use crate::message::result::{Exception, ResultMeta, State};
use crate::message::signature;
use crate::pool::python::clerk::Weight;
use crate::sys::clock;
use crate::sys::process::{self, Pid};
use crate::util::slots::Key;

/// What main itself reports of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending<'a> {
    /// A child has begun it.
    Started {
        /// The child.
        pid: Pid,
        /// The worker's node name.
        node: &'a str,
    },
    /// No task has this name.
    NotRegistered(String),
    /// It came too late.
    Expired,
    /// It was revoked before it began.
    Revoked,
    /// It was revoked, and ended by the signal of this number.
    Terminated(i32),
    /// It has run into its hard limit.
    TimedOut(Duration),
    /// Its child is gone.
    WorkerLost {
        /// How.
        text: &'a str,
        /// It is not handed back any more, whatever the task says.
        last: bool,
    },
    /// A cold shutdown took it from its child.
    Cancelled,
}

/// Sends results where the worker's settings say.
#[derive(Debug)]
pub(super) struct Reporter {
    backend: ResultBackend,
    /// Of a Python app: what main itself has to report goes through its clerk.
    pub(super) books: Option<Books>,
}

impl Reporter {
    /// `patience` is how long a hook of a Python app may take.
    pub(super) fn new(backend: ResultBackend, patience: Duration) -> Self {
        Self {
            backend,
            books: (backend == ResultBackend::App).then(|| Books::new(patience)),
        }
    }

    /// Tasks were revoked that have not begun here: a Python app's backend says so.
    pub(super) fn flag(&mut self, ids: &[String]) {
        if let Some(books) = &mut self.books
            && !ids.is_empty()
        {
            books.tell(About::Flagged { ids }, Weight::Result, &[]);
        }
    }

    /// Whether so many results wait to be stored that no more should be made.
    pub(super) fn is_congested(&self) -> bool {
        self.books.as_ref().is_some_and(Books::is_congested)
    }

    /// When something of this is due, with or without a zygote.
    pub(super) fn deadline(&self, zygote: bool) -> Option<Instant> {
        self.books.as_ref()?.deadline(zygote)
    }

    /// Sends what became of a request, to those who want to know. How many messages that takes.
    pub(super) fn report(
        &mut self,
        request: &Request,
        ending: &Ending<'_>,
        waits: Option<Key>,
        producer: &mut Producer,
    ) -> usize {
        if let Some(books) = &mut self.books {
            books.report(request, ending, waits);
            return 1;
        }
        let (state, result) = match ending {
            Ending::Started { pid, node } => {
                let node = serde_json::Value::from(*node);
                (
                    State::Started,
                    format!("{{\"pid\": {pid}, \"hostname\": {node}}}"),
                )
            }
            Ending::NotRegistered(name) => failure(&Exception::not_registered(name)),
            Ending::Expired => revoked("expired"),
            Ending::Revoked => revoked("revoked"),
            Ending::Terminated(_) => revoked("terminated"),
            Ending::TimedOut(limit) => failure(&Exception::time_limit_exceeded(*limit)),
            Ending::WorkerLost { text, .. } => failure(&Exception::worker_lost(text)),
            Ending::Cancelled => (State::Retry, cancelled().to_json()),
        };
        let followers = match ending {
            Ending::TimedOut(_) | Ending::WorkerLost { .. } => {
                self.fail_followers(request, &result, waits, producer)
            }
            _ => 0,
        };
        followers + self.store(request, state, &result, waits, producer)
    }

    /// Sends a task's state, unless nobody wants it.
    pub(super) fn store(
        &self,
        request: &Request,
        state: State,
        result: &str,
        waits: Option<Key>,
        producer: &mut Producer,
    ) -> usize {
        if request.ignore_result {
            return 0;
        }
        let meta = ResultMeta {
            date_done: Some(clock::wall()),
            group_id: request.group_id.as_deref(),
            parent_id: request.parent_id.as_deref(),
            ..ResultMeta::new(state, &request.id, result)
        };
        usize::from(self.send(request, meta.to_json().into_bytes(), waits, producer))
    }

    /// Sends what its message wants to happen after a failure, which the child would have told us otherwise.
    fn fail_followers(
        &self,
        request: &Request,
        result: &str,
        waits: Option<Key>,
        producer: &mut Producer,
    ) -> usize {
        let record = Record::first(&request.record).ok().flatten();
        let Some((record, job)) = record.and_then(|record| Some((record, record.job().ok()?)))
        else {
            return 0;
        };
        let Some(followers) = Followers::of(record.body) else {
            return 0;
        };
        let root_id = Raw::parse(job.headers.get()).ok();
        let root_id = root_id.and_then(|headers| Arguments::of(headers).given("root_id")?.as_str());
        let parent = Parent {
            id: &request.id,
            root_id: root_id.as_deref(),
            delivery_info: &job.delivery_info,
            origin: &signature::origin(process::current(), &process::host_name()),
            now: clock::wall(),
        };
        let failure = canvas::Failure {
            result,
            traceback: None,
            stored: !request.ignore_result,
        };
        let next = followers.failed(&parent, &failure);
        if let Some(warning) = next.warning() {
            let (name, id) = (&request.name, &request.id);
            request.warn(format_args!("Task {name}[{id}] {warning}"));
        }
        let sent = next.publish.into_iter();
        sent.map(|publish| usize::from(self.publish(request, publish, waits, producer)))
            .sum()
    }

    /// Sends a message that comes of a task. False when it cannot be sent.
    pub(super) fn publish(
        &self,
        request: &Request,
        publish: Publish,
        waits: Option<Key>,
        producer: &mut Producer,
    ) -> bool {
        if publish.optional && !self.sends() {
            return false;
        }
        match task_message(publish, waits) {
            Ok(publication) => producer.publish(publication),
            Err(error) => {
                let (name, id) = (&request.name, &request.id);
                request.error(format_args!(
                    "Task {name}[{id}] cannot be published: {error}"
                ));
                return false;
            }
        }
        true
    }

    /// Whether results leave as messages of main's.
    pub(super) fn sends(&self) -> bool {
        self.backend == ResultBackend::Rpc
    }

    /// Sends a result meta that is complete. Whether a message was sent.
    pub(super) fn send(
        &self,
        request: &Request,
        meta: Vec<u8>,
        waits: Option<Key>,
        producer: &mut Producer,
    ) -> bool {
        let Some(reply_to) = request.reply_to.as_ref().filter(|queue| !queue.is_empty()) else {
            return false;
        };
        if !self.sends() {
            return false;
        }
        producer.publish(Publication {
            exchange: String::new(),
            routing_key: reply_to.clone(),
            mandatory: false,
            properties: MessageProperties::of_result(request.correlation_id()),
            headers: TableBuf::new(),
            body: meta,
            request: waits,
        });
        true
    }
}

/// A message that a child wants published; a task's has to reach a queue.
///
/// # Errors
/// When its headers are not what AMQP can carry.
pub(super) fn task_message(
    publish: Publish,
    waits: Option<Key>,
) -> Result<Publication, HeadersError> {
    Ok(Publication {
        headers: publish.header_table()?,
        exchange: publish.exchange,
        routing_key: publish.routing_key,
        mandatory: !publish.optional,
        properties: publish.properties,
        body: publish.body,
        request: waits,
    })
}

/// Celery stores this exception for a task that a cold shutdown ends.
fn cancelled() -> Exception<'static> {
    Exception {
        type_name: "Retry".into(),
        module: Some("celery.exceptions".into()),
        args: "[\"cancelled by Celery\", null, null]".into(),
    }
}

fn revoked(reason: &str) -> (State, String) {
    (State::Revoked, Exception::task_revoked(reason).to_json())
}

fn failure(exception: &Exception<'_>) -> (State, String) {
    (State::Failure, exception.to_json())
}
