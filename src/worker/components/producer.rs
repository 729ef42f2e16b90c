//! The step that has the publishing connection. It starts before the pool, whose results it carries, and stops
//! after it.

use std::time::{Duration, Instant};

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

#[derive(Default)]
pub(super) struct Producer {
    /// When it stops to wait for the broker.
    patience: Option<Instant>,
    /// The connection is being closed.
    closing: bool,
}

/// How long a stop waits for confirms once no task runs any more; Celery gives its sockets as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same while the broker takes no publications, which may be for hours.
const PATIENCE_BLOCKED: Duration = Duration::from_millis(250);

impl Step<Worker> for Producer {
    fn name(&self) -> &'static str {
        "Producer"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Hub"]
    }

    /// Tasks may come before this connection stands; results wait for it.
    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.producer.link.connect(hub.now());
        Ok(Progress::Done)
    }

    /// Waits until the broker has confirmed everything, but not for ever.
    fn stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        let patience = match cx.producer.is_blocked() {
            true => PATIENCE_BLOCKED,
            false => PATIENCE,
        };
        let deadline = hub.now() + patience;
        self.patience = Some(deadline);
        hub.call_at_deadline(deadline, 0, Worker::advance);
        self.poll_stop(cx, hub)
    }

    fn poll_stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if self.closing {
            return Ok(match cx.producer.closed {
                true => Progress::Done,
                false => Progress::Pending,
            });
        }
        if cx.producer.is_idle() {
            return Ok(Progress::Done);
        }
        if self.patience.is_some_and(|deadline| hub.now() < deadline) {
            return Ok(Progress::Pending);
        }
        let backlog = cx.producer.backlog();
        log::error!(
            "producer: {backlog} messages were not confirmed by the broker and may be lost"
        );
        Ok(Progress::Done)
    }

    /// The broker has to answer, or it logs a client that died; the link sees to it that this does not take long.
    fn shutdown(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.producer.close(hub.now());
        self.closing = true;
        Ok(Progress::Pending)
    }
}
