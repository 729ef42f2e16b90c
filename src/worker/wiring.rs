//! Components in the Hub: what a component shows, registered; what it registered last, remembered.

use std::io;
use std::time::Instant;

use super::Worker;
use crate::hub::{Hub, Interest, Mode, Next, Ready, TimerKey};
use crate::sys::fd::SharedFd;
use crate::util::slots::Key;

/// The earliest of some deadlines.
pub(super) fn earliest<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}

/// The one file of a component that shows different ones over time, each under its own id: a link.
#[derive(Debug, Default)]
pub(super) struct Wire {
    current: Option<(Key, u64)>,
}

impl Wire {
    /// Registers `shown` unless it is registered already, and lets go of the one before it.
    pub(super) fn sync(
        &mut self,
        hub: &mut Hub<Worker>,
        shown: Option<(SharedFd, u64)>,
        handler: fn(&mut Worker, &mut Hub<Worker>, Ready) -> Next,
    ) -> io::Result<()> {
        let shown_id = shown.as_ref().map(|(_, id)| *id);
        if self.current.map(|(_, id)| id) == shown_id {
            return Ok(());
        }
        if let Some((key, _)) = self.current.take() {
            hub.remove(key);
        }
        if let Some((fd, id)) = shown {
            let key = hub.add(fd, Interest::BOTH, Mode::Drain, handler)?;
            self.current = Some((key, id));
        }
        Ok(())
    }
}

/// The one timer of all components that only show a deadline.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    current: Option<(TimerKey, Instant)>,
}

impl Alarm {
    /// Sets the timer for `deadline`, unless it is set for that already.
    pub(super) fn sync(
        &mut self,
        hub: &mut Hub<Worker>,
        deadline: Option<Instant>,
        handler: fn(&mut Worker, &mut Hub<Worker>),
    ) {
        if self.current.map(|(_, at)| at) == deadline {
            return;
        }
        if let Some((key, _)) = self.current.take() {
            hub.cancel(key);
        }
        self.current = deadline.map(|at| (hub.call_at_deadline(at, 0, handler), at));
    }

    /// The timer has rung.
    pub(super) fn rang(&mut self) {
        self.current = None;
    }
}
