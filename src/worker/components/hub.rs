//! The step that ties signals to the event loop.

use std::io::IsTerminal as _;

use crate::boot::{Progress, Step, StepError};
use crate::hub::{self, Next};
use crate::sys::signal::{Signal, SignalFd};
use crate::worker::Worker;

pub(super) struct Hub;

/// What main reads from a descriptor instead of being interrupted by.
const SIGNALS: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGCHLD,
    Signal::SIGUSR1,
    Signal::SIGUSR2, // Celery's debugger, which there is none of: but it is no reason to die
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
        let mut heard = SIGNALS.to_vec();
        if !std::io::stdout().is_terminal() {
            heard.push(Signal::SIGHUP); // at a terminal its end means ours, as in Celery
        }
        let signals = SignalFd::new(&heard)?;
        hub.add_reader(signals.clone(), move |worker, hub, _| {
            while let Ok(Some(signal)) = signals.read() {
                worker.handle_signal(signal, hub);
            }
            Next::Wait
        })?;
        // A program that was executed anew has children of its former life, which may have ended unheard.
        hub.call_soon(|worker, hub| worker.handle_signal(Signal::SIGCHLD, hub));
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
