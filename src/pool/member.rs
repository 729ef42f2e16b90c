//! One child as the [`scheduler`](super::scheduler) sees it.

use std::collections::VecDeque;
use std::time::Instant;

/// What the scheduler knows of a child.
#[derive(Debug)]
pub(super) struct Member<P, J> {
    pub(super) process: P,
    pub(super) state: State<J>,
    /// The jobs it was given ahead, in the order in which it will run them; none unless it is busy.
    pub(super) ahead: VecDeque<J>,
    /// Whether its last job was short.
    pub(super) swift: bool,
    /// When its current job became its current job.
    pub(super) since: Instant,
    /// Whether it is in `roomy`.
    pub(super) listed: bool,
    /// Whether it stands for one of the `target` children: false once it is on its way out.
    pub(super) counted: bool,
    /// Jobs it has done.
    pub(super) completed: u32,
    /// After so many jobs it goes if no other child is coming up; see [`Policy::max_tasks_per_child`].
    pub(super) share: u32,
    /// Whether it is being killed.
    pub(super) doomed: bool,
    pub(super) made: Instant,
}

/// What a child is doing.
#[derive(Debug)]
pub(super) enum State<J> {
    /// Made, and has not said yet that it is up.
    Starting,
    /// Waits for a job.
    Idle,
    /// Was given this job.
    Busy(J),
    /// Is to be told to stop.
    Retiring,
    /// Was told to stop, or is being killed while it had no job.
    Stopping,
}

impl<J> State<J> {
    pub(super) fn job(self) -> Option<J> {
        match self {
            Self::Busy(job) => Some(job),
            _ => None,
        }
    }
}
