//! The step that greets other workers.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Mingle;

impl Step<Worker> for Mingle {
    fn name(&self) -> &'static str {
        "Mingle"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Events"]
    }

    fn conditional(&self) -> bool {
        true
    }

    fn include_if(&self, cx: &Worker) -> bool {
        cx.settings.monitoring.mingle && cx.settings.monitoring.remote_control
    }

    /// Nobody waits for the answers.
    fn start(&mut self, cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.start_mingle();
        Ok(Progress::Done)
    }
}
