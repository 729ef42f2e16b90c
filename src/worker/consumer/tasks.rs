//! The step that consumes the task queues.

use super::subscription::Purpose;
use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Tasks;

impl Step<Worker> for Tasks {
    fn name(&self) -> &'static str {
        "Tasks"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Mingle"]
    }

    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.subscribe(Purpose::Tasks);
        self.poll_start(cx, hub)
    }

    fn poll_start(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        let consuming = cx.consumer.subscriptions.of(Purpose::Tasks).is_consuming();
        Ok(if consuming {
            Progress::Done
        } else {
            Progress::Pending
        })
    }

    /// The broker's answer is not waited for: a message that still comes is handed back.
    fn stop(&mut self, cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        let tasks = cx.consumer.subscriptions.of_mut(Purpose::Tasks);
        if let Some(connection) = cx.consumer.link.connection()
            && let Err(error) = tasks.cancel(connection)
        {
            log::debug!("consumer: cannot cancel: {error}");
        }
        Ok(Progress::Done)
    }
}
