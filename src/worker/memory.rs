//! The memory of children: one that uses too much is replaced, once it has no task.
//!
//! It is looked at live, every second, so what a child has given back counts no more: Celery looks at the highest mark.
//! A child that has had no task yet stays, however large: where the limit is below what every child begins with, each
//! still does one task.

use std::time::Duration;

use super::Worker;
use crate::hub::Hub;
use crate::pool::ChildName;
use crate::sys::process;

/// How often memory is looked at.
const PERIOD: Duration = Duration::from_secs(1);

impl Worker {
    /// Looks after the children's memory from now on, if there is a limit.
    pub(super) fn watch_memory(&mut self, hub: &mut Hub<Self>) {
        if self.settings.life.max_memory_per_child.is_some() {
            hub.call_repeatedly(PERIOD, Self::check_memory);
        }
    }

    fn check_memory(&mut self, hub: &mut Hub<Self>) {
        let (Some(limit), Some(pool)) =
            (self.settings.life.max_memory_per_child, &mut self.pool.pool)
        else {
            return;
        };
        let too_large: Vec<(ChildName, u64)> = pool
            .children()
            .filter(|child| child.writes > 0)
            .filter_map(|child| Some((child.name, process::resident_memory(child.pid?).ok()?)))
            .filter(|(_, used)| *used > limit)
            .collect();
        for (name, used) in too_large {
            if pool.replace_child(name, hub.now()) {
                let (used, limit) = (used / 1024, limit / 1024);
                log::warn!(
                    "{name} exceeds its memory limit ({used}KiB / {limit}KiB): it is replaced once its task has ended"
                );
            }
        }
        self.handle_pool_events(hub);
    }
}
