//! One part of a program that can be started and stopped.

use std::error::Error;
use std::fmt;

use crate::hub::Hub;

/// Whether something a step began is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Finished: the next step may go on.
    Done,
    /// Not yet: ask again.
    Pending,
}

impl Progress {
    /// Finished if `done`, otherwise not yet.
    pub const fn done_if(done: bool) -> Self {
        if done { Self::Done } else { Self::Pending }
    }
}

/// One part of a program: a pool, a connection, a subscription.
///
/// Every call is lent the context `C`, where the step keeps whatever others need to see, and the
/// event loop, where it registers files and timers. None may block. A call may wish for something
/// of its own blueprint (`worker.blueprint.restart()`); the wish is seen to after the call.
///
/// The calls come in this order, as often as the blueprint restarts:
/// `start`, `poll_start` until done, (`close`,) `stop` or `terminate`, `poll_stop` until done;
/// and `shutdown` once at the end.
pub trait Step<C> {
    /// What others call this step: unique within its blueprint, as in Celery (`Pool`).
    fn name(&self) -> &'static str;

    /// The names of the steps that must be started before this one, and stopped after it.
    fn requires(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether this step starts after all others, whatever they are. At most one per blueprint.
    fn last(&self) -> bool {
        false
    }

    /// Whether [`include_if`](Self::include_if) may say no. Only drawings of the graph show it.
    fn conditional(&self) -> bool {
        false
    }

    /// Whether this step takes part in this program. Asked once, before the first start.
    fn include_if(&self, _cx: &C) -> bool {
        true
    }

    /// Begins. `Ok` means that [`stop`](Self::stop) (or `terminate`) will be called.
    ///
    /// # Errors
    /// An error says that nothing of this step needs to be stopped. The blueprint unwinds.
    fn start(&mut self, _cx: &mut C, _hub: &mut Hub<C>) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }

    /// Called until done after [`start`](Self::start) answered [`Progress::Pending`].
    ///
    /// # Errors
    /// The step is stopped like one that had started, and the blueprint unwinds.
    fn poll_start(&mut self, _cx: &mut C, _hub: &mut Hub<C>) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }

    /// The blueprint is about to be stopped for good: take no new work. Called in starting order,
    /// before the first `stop`; not called on a restart.
    ///
    /// # Errors
    /// Logged, as with every call on the way down: nothing may keep the others from stopping.
    fn close(&mut self, _cx: &mut C, _hub: &mut Hub<C>) -> Result<(), StepError> {
        Ok(())
    }

    /// Ends in an orderly way, which may take as long as it takes.
    ///
    /// # Errors
    /// Logged; the step counts as stopped.
    fn stop(&mut self, _cx: &mut C, _hub: &mut Hub<C>) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }

    /// Ends as fast as possible; also called when the owner loses patience while a `stop` is still
    /// pending. The same as `stop` unless a step knows a faster way.
    ///
    /// # Errors
    /// Logged; the step counts as stopped.
    fn terminate(&mut self, cx: &mut C, hub: &mut Hub<C>) -> Result<Progress, StepError> {
        self.stop(cx, hub)
    }

    /// Lets go of what `stop` had to leave open because others still needed it (the connection on
    /// which the last results are acknowledged). Called for each step that has ever been started.
    ///
    /// # Errors
    /// Logged; the step counts as shut down.
    fn shutdown(&mut self, _cx: &mut C, _hub: &mut Hub<C>) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }

    /// Called until done after `stop`, `terminate` or `shutdown` answered [`Progress::Pending`].
    ///
    /// # Errors
    /// Logged; the step counts as stopped.
    fn poll_stop(&mut self, _cx: &mut C, _hub: &mut Hub<C>) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }
}

/// Why a step could not do what it was asked, in words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError(String);

impl StepError {
    /// An error that reads as `reason` does.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for StepError {}

impl From<std::io::Error> for StepError {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}
