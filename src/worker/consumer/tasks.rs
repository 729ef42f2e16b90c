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
        cx.subscribe(Purpose::LongTasks);
        self.poll_start(cx, hub)
    }

    fn poll_start(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        Ok(Progress::done_if(cx.consumer.subscriptions.consume_tasks()))
    }

    /// The broker's answer is not waited for: a message that still comes is handed back.
    fn stop(&mut self, cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        for tasks in cx.consumer.subscriptions.to_tasks_mut() {
            if let Some(connection) = cx.consumer.link.connection()
                && let Err(error) = tasks.cancel(connection)
            {
                log::debug!("consumer: cannot cancel: {error}");
            }
        }
        Ok(Progress::Done)
    }
}
