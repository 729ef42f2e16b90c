//! The memory of children: one that uses too much is replaced once it has no task, or killed if it uses far too much.
//!
//! It is looked at live, every second, so what a child has given back counts no more: Celery looks at the highest mark,
//! and only when a task has ended. The successor comes up while the last task of the one it replaces still runs.
//!
//! A limit below what every child begins with would have each replaced after its first task, for ever: it is named in a
//! warning, and counts from there on.

use std::time::Duration;

use super::Worker;
use crate::hub::Hub;
use crate::pool::{ChildInfo, Pool};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;

/// How often memory is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// What children begin with.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    /// The largest so far, in octets.
    octets: u64,
    told: bool,
}

impl Baseline {
    /// Takes note of a child that has come up.
    fn see(&mut self, octets: u64) {
        self.octets = self.octets.max(octets);
    }

    /// The limit that is meant.
    fn limit(&self, given: u64) -> u64 {
        match given > self.octets {
            true => given,
            false => self.octets.saturating_add(given),
        }
    }
}

impl Worker {
    /// Looks after the children's memory from now on, if there is a limit.
    pub(super) fn watch_memory(&mut self, hub: &mut Hub<Self>) {
        if self.memory_limits().into_iter().flatten().next().is_some() {
            hub.call_repeatedly(PERIOD, Self::check_memory);
        }
    }

    /// Above the first a child is replaced, above the second killed; in octets.
    fn memory_limits(&self) -> [Option<u64>; 2] {
        let life = &self.settings.life;
        [life.max_memory_per_child, life.max_memory_kill]
    }

    /// A child has come up: so much memory each has.
    pub(super) fn see_memory(&mut self, pid: Pid) {
        let limits = self.memory_limits().into_iter().flatten();
        let (Some(least), Ok(used)) = (limits.min(), process::resident_memory(pid)) else {
            return;
        };
        let baseline = &mut self.pool.baseline;
        baseline.see(used);
        if used >= least && !std::mem::replace(&mut baseline.told, true) {
            log::warn!(
                "pool: a child begins with {}KiB, and its memory limit is {}KiB: the limit is taken for what may be added to that",
                used / 1024,
                least / 1024
            );
        }
    }

    fn check_memory(&mut self, hub: &mut Hub<Self>) {
        let [replaced, killed] = self
            .memory_limits()
            .map(|given| given.map_or(u64::MAX, |given| self.pool.baseline.limit(given)));
        let Some(pool) = &mut self.pool.pool else {
            return;
        };
        let children: Vec<(ChildInfo, u64)> = pool
            .children()
            .filter_map(|child| Some((child, process::resident_memory(child.pid?).ok()?)))
            .filter(|(_, used)| *used > replaced.min(killed))
            .collect();
        for (child, used) in children {
            relieve(pool, &child, used, (replaced, killed), hub);
        }
        self.handle_pool_events(hub);
    }
}

/// Replaces a child that uses too much, or kills it.
fn relieve(
    pool: &mut Pool,
    child: &ChildInfo,
    used: u64,
    (replaced, killed): (u64, u64),
    hub: &Hub<Worker>,
) {
    let ChildInfo { name, job, .. } = *child;
    let kib = |octets: u64| octets / 1024;
    if used > killed
        && let Some(job) = job
    {
        if pool.kill_job(job, Signal::SIGKILL, hub.now()) {
            let (used, limit) = (kib(used), kib(killed));
            log::error!(
                "{name} exceeds its memory limit by far ({used}KiB / {limit}KiB): it is killed"
            );
        }
    } else if pool.replace_child(name, hub.now()) {
        let (used, limit) = (kib(used), kib(replaced.min(killed)));
        log::warn!(
            "{name} exceeds its memory limit ({used}KiB / {limit}KiB): it is replaced once its task has ended"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T14.1: no limit is below what every child begins with.
    #[test]
    fn a_limit_below_the_beginning_counts_from_there() {
        let mut baseline = Baseline::default();
        for octets in [40, 50, 45] {
            baseline.see(octets);
        }
        assert_eq!(
            [10, 50, 51, 1000].map(|given| baseline.limit(given)),
            [60, 100, 51, 1000]
        );
        assert_eq!(baseline.limit(u64::MAX), u64::MAX);
    }
}
