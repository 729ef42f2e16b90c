//! The step that ends the clerk of a Python app: after the children, whose loss it has to note.

use std::time::{Duration, Instant};

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

#[derive(Default)]
pub(super) struct Clerk {
    /// When a stop no longer waits for the app's hooks.
    patience: Option<Instant>,
}

/// How long a stop waits for the app's hooks.
const PATIENCE: Duration = Duration::from_secs(10);

impl Step<Worker> for Clerk {
    fn name(&self) -> &'static str {
        "Clerk"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Hub"]
    }

    fn include_if(&self, cx: &Worker) -> bool {
        cx.tasks.reporter.books.is_some()
    }

    /// The process is made when there is something to note.
    fn start(&mut self, _cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }

    fn stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.send_signal("worker_shutdown");
        let deadline = hub.now() + PATIENCE;
        self.patience = Some(deadline);
        hub.call_at_deadline(deadline, 0, Worker::advance);
        self.poll_stop(cx, hub)
    }

    fn poll_stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        let late = self.patience.is_some_and(|deadline| hub.now() >= deadline);
        let Some(books) = &mut cx.tasks.reporter.books else {
            return Ok(Progress::Done);
        };
        if !books.is_closed() && !late {
            return Ok(Progress::Pending);
        }
        if late {
            log::error!("clerk: still busy; its notes are given up");
        }
        books.stop();
        Ok(Progress::Done)
    }
}
