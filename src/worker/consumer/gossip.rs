//! The step that listens to other workers.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Gossip;

impl Step<Worker> for Gossip {
    fn name(&self) -> &'static str {
        "Gossip"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Mingle"]
    }

    fn conditional(&self) -> bool {
        true
    }

    fn include_if(&self, cx: &Worker) -> bool {
        cx.settings.monitoring.gossip
    }

    /// Nobody waits until the broker has agreed.
    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.start_gossip(hub);
        Ok(Progress::Done)
    }

    fn stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.stop_gossip(hub);
        Ok(Progress::Done)
    }
}
