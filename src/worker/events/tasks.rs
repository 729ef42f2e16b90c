//! What has happened to tasks, as events with Celery's fields.

use crate::message::event::Field;
use crate::worker::Worker;
use crate::worker::events::Dispatcher;
use crate::worker::task_event::{TaskEvent, What};

impl Worker {
    /// Turns what was noted since the last turn into events.
    pub(in crate::worker) fn tell_task_events(&mut self) {
        while let Some(event) = self.tasks.events.pop() {
            self.producer.events.tell(&event);
        }
    }
}

impl Dispatcher {
    fn tell(&mut self, event: &TaskEvent) {
        let uuid = ("uuid", Field::Text(&event.id));
        let mut send = |kind, fields: &[(&str, Field<'_>)]| self.task(kind, event.at, fields);
        match &event.what {
            What::Received {
                name,
                args,
                kwargs,
                root_id,
                parent_id,
                retries,
                eta,
                expires,
            } => {
                send(
                    "task-received",
                    &[
                        uuid,
                        ("name", name.into()),
                        ("args", args.into()),
                        ("kwargs", kwargs.into()),
                        ("root_id", root_id.as_deref().into()),
                        ("parent_id", parent_id.as_deref().into()),
                        ("retries", Field::Integer(*retries)),
                        ("eta", eta.as_deref().into()),
                        ("expires", expires.as_deref().into()),
                    ],
                );
            }
            What::Started => send("task-started", &[uuid]),
            What::Succeeded { result, runtime } => {
                let runtime = Field::Number(*runtime); // exporters insist on a number
                let fields = [uuid, ("result", result.into()), ("runtime", runtime)];
                send("task-succeeded", &fields);
            }
            What::Failed {
                exception,
                traceback,
            } => send("task-failed", &failure(uuid, exception, traceback)),
            What::Retried {
                exception,
                traceback,
            } => send("task-retried", &failure(uuid, exception, traceback)),
            What::Revoked {
                terminated,
                signal,
                expired,
            } => {
                let fields = [
                    uuid,
                    ("terminated", (*terminated).into()),
                    ("signum", signal.map(i64::from).into()),
                    ("expired", (*expired).into()),
                ];
                send("task-revoked", &fields);
            }
            What::Rejected { requeue } => {
                send("task-rejected", &[uuid, ("requeue", (*requeue).into())]);
            }
            What::Cancelled => send("task-cancelled", &[uuid]),
        }
    }
}

/// The fields of an exception; of one that was not raised in a child there is no traceback.
fn failure<'a>(
    uuid: (&'a str, Field<'a>),
    exception: &'a str,
    traceback: &'a str,
) -> [(&'a str, Field<'a>); 3] {
    let traceback = Some(traceback).filter(|text| !text.is_empty());
    [
        uuid,
        ("exception", exception.into()),
        ("traceback", traceback.into()),
    ]
}
