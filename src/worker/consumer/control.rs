//! The step that answers remote control.

use super::subscription::Purpose;
use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Control;

impl Step<Worker> for Control {
    fn name(&self) -> &'static str {
        "Control"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Tasks"]
    }

    fn conditional(&self) -> bool {
        true
    }

    fn include_if(&self, cx: &Worker) -> bool {
        cx.settings.monitoring.remote_control
    }

    /// The mailbox is the node's alone: another worker of this name shows here, before `ready.` is said.
    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.subscribe(Purpose::Control);
        self.poll_start(cx, hub)
    }

    fn poll_start(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        let control = cx.consumer.subscriptions.of(Purpose::Control);
        Ok(Progress::done_if(control.is_consuming()))
    }

    // It is not stopped: a worker answers until its connection is closed.
}
