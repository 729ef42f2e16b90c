//! The step that stands for events in the order of things: they are sent from its start on.

use crate::boot::Step;
use crate::worker::Worker;

pub(super) struct Events;

impl Step<Worker> for Events {
    fn name(&self) -> &'static str {
        "Events"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Connection"]
    }
}
