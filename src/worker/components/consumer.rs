//! The last step of the Worker: the Consumer, which is a blueprint of its own.

use crate::boot::{self, Progress, State, Step, StepError};
use crate::hub::Hub;
use crate::worker::Worker;

pub(super) struct Consumer;

impl Step<Worker> for Consumer {
    fn name(&self) -> &'static str {
        "Consumer"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Pool"]
    }

    fn last(&self) -> bool {
        true
    }

    /// The Consumer comes up by itself, and again after each loss; the Worker does not wait for it.
    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.consumer_blueprint.start();
        cx.advance_consumer(hub)?;
        Ok(Progress::Done)
    }

    /// Consumers are cancelled before anything is handed back, or it would come straight back to us.
    fn close(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<(), StepError> {
        cx.consumer_blueprint.stop();
        cx.advance_consumer(hub)?;
        cx.tasks.close(&mut cx.consumer.acks);
        Ok(())
    }

    /// Acknowledgements of tasks that still run need the connection.
    fn stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.advance_consumer(hub)?;
        Ok(Progress::Done)
    }

    fn shutdown(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.consumer_blueprint.shutdown();
        self.poll_stop(cx, hub)
    }

    fn poll_stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        let state = boot::advance(cx, hub, |cx| &mut cx.consumer_blueprint);
        Ok(match state {
            Ok(State::Closing) => Progress::Pending,
            _ => Progress::Done,
        })
    }
}
