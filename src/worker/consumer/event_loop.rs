//! The last step: from here on the Hub only serves events.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct EventLoop;

impl Step<Worker> for EventLoop {
    fn name(&self) -> &'static str {
        "event loop"
    }

    fn last(&self) -> bool {
        true
    }

    fn start(&mut self, cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if !std::mem::replace(&mut cx.consumer.ready_said, true) {
            log::info!("{} ready.", cx.settings.node_name);
            cx.send_signal("worker_ready");
        }
        Ok(Progress::Done)
    }
}
