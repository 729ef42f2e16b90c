//! The step that ties signals to the event loop.

use crate::boot::{Progress, Step, StepError};
use crate::hub::{self, Next};
use crate::sys::signal::{Signal, SignalFd};
use crate::worker::Worker;

pub(super) struct Hub;

/// What main reads from a descriptor instead of being interrupted by.
const SIGNALS: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGCHLD,
];

impl Step<Worker> for Hub {
    fn name(&self) -> &'static str {
        "Hub"
    }

    fn start(
        &mut self,
        _cx: &mut Worker,
        hub: &mut hub::Hub<Worker>,
    ) -> Result<Progress, StepError> {
        let signals = SignalFd::new(&SIGNALS)?;
        hub.add_reader(signals.clone(), move |worker, hub, _| {
            while let Ok(Some(signal)) = signals.read() {
                worker.handle_signal(signal, hub);
            }
            Next::Wait
        })?;
        Ok(Progress::Done)
    }

    fn shutdown(
        &mut self,
        _cx: &mut Worker,
        hub: &mut hub::Hub<Worker>,
    ) -> Result<Progress, StepError> {
        hub.stop();
        Ok(Progress::Done)
    }
}
