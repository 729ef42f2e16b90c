//! The step that has as many children as there are tasks for.

use std::time::Duration;

use crate::boot::{Progress, Step, StepError};
use crate::hub::{Hub, TimerKey};
use crate::worker::Worker;

/// How often it looks for children that have nothing to do.
const CHECK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Autoscaler {
    timer: Option<TimerKey>,
}

impl Step<Worker> for Autoscaler {
    fn name(&self) -> &'static str {
        "Autoscaler"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Pool"]
    }

    fn conditional(&self) -> bool {
        true
    }

    fn include_if(&self, cx: &Worker) -> bool {
        cx.autoscale.is_some()
    }

    fn start(&mut self, _: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        self.timer = Some(hub.call_repeatedly(CHECK, Worker::scale));
        Ok(Progress::Done)
    }

    fn stop(&mut self, _: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if let Some(timer) = self.timer.take() {
            hub.cancel(timer);
        }
        Ok(Progress::Done)
    }
}
