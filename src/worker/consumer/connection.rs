//! The step that has the connection to the broker.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Connection;

impl Step<Worker> for Connection {
    fn name(&self) -> &'static str {
        "Connection"
    }

    /// The link reconnects by itself, so after a loss it may be on its way already.
    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.consumer.link.connect(hub.now());
        self.poll_start(cx, hub)
    }

    fn poll_start(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        Ok(Progress::done_if(cx.consumer.link.is_up()))
    }

    /// The last acknowledgements leave before the connection is closed.
    fn shutdown(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        let now = hub.now();
        let _ = cx.consumer.flush(None, now); // what does not leave at once leaves before the close
        cx.consumer.link.close(now);
        Ok(Progress::Pending)
    }

    fn poll_stop(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        Ok(Progress::done_if(cx.consumer.closed))
    }
}
