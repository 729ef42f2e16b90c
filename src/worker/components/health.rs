//! The step by which others learn how the worker is: its HTTP endpoint and its heartbeat file.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Health;

impl Step<Worker> for Health {
    fn name(&self) -> &'static str {
        "Health"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Hub"]
    }

    fn conditional(&self) -> bool {
        true
    }

    fn include_if(&self, cx: &Worker) -> bool {
        let monitoring = &cx.settings.monitoring;
        monitoring.http.is_some() || monitoring.heartbeat_file.is_some()
    }

    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if let Some(address) = cx.settings.monitoring.http {
            cx.tasks.events.metrics.on = true;
            cx.start_http(address, hub)
                .map_err(|error| StepError::new(format!("--http {address}: {error}")))?;
        }
        cx.start_health(hub)
            .map_err(|error| StepError::new(format!("--heartbeat-file: {error}")))?;
        Ok(Progress::Done)
    }

    fn stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.stop_http(hub);
        cx.stop_health(hub);
        Ok(Progress::Done)
    }
}
