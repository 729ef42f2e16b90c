//! The step that says that the worker is there.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Heart;

impl Step<Worker> for Heart {
    fn name(&self) -> &'static str {
        "Heart"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Events"]
    }

    fn conditional(&self) -> bool {
        true
    }

    fn include_if(&self, cx: &Worker) -> bool {
        cx.settings.monitoring.heartbeat.is_some()
    }

    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if let Some(every) = cx.settings.monitoring.heartbeat {
            cx.start_heart(every, hub);
        }
        Ok(Progress::Done)
    }

    fn stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.stop_heart(hub);
        Ok(Progress::Done)
    }
}
