//! The step that consumes the task queues.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Tasks;

impl Step<Worker> for Tasks {
    fn name(&self) -> &'static str {
        "Tasks"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Connection"]
    }

    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.open_task_channel();
        self.poll_start(cx, hub)
    }

    fn poll_start(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        let consuming = cx.consumer.subscription.is_consuming();
        Ok(if consuming {
            Progress::Done
        } else {
            Progress::Pending
        })
    }

    /// The broker's answer is not waited for: a message that still comes is handed back.
    fn stop(&mut self, cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if let Some(connection) = cx.consumer.link.connection()
            && let Err(error) = cx.consumer.subscription.cancel(connection)
        {
            log::debug!("consumer: cannot cancel: {error}");
        }
        Ok(Progress::Done)
    }
}
