//! The step that has the children.

use std::collections::HashMap;
use std::time::Duration;

use crate::boot::{Progress, Step, StepError};
use crate::hub::{Hub, Interest, Mode, Next};
use crate::pool::{self, ChildName, Missed, PoolEvent, PoolSettings, PoolSource};
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::Signal;
use crate::util::slots::Key;
use crate::worker::Worker;
use crate::worker::memory::Baseline;

pub(super) struct Pool;

/// The pool of a worker and its files in the Hub.
#[derive(Debug, Default)]
pub(in crate::worker) struct PoolPart {
    /// There from the step's start on.
    pub(in crate::worker) pool: Option<pool::Pool>,
    sources: HashMap<PoolSource, Key>,
    /// Children that have come up so far.
    ups: usize,
    closed: bool,
    /// It was said that the pool is in trouble.
    degraded: bool,
    /// How much memory children begin with.
    pub(in crate::worker) baseline: Baseline,
    /// How many processes had been killed for want of memory when last looked at.
    out_of_memory: Option<u64>,
}

/// How long a child has to end once the worker's time is up.
const HURRIED: Duration = Duration::from_millis(500);

impl PoolPart {
    /// A child was killed, and not by us: says so if it was the kernel, for want of memory.
    fn tell_of_memory(&mut self) {
        let now = process::out_of_memory_kills();
        if now > std::mem::replace(&mut self.out_of_memory, now) {
            log::error!(
                "pool: the kernel has killed it because there was no memory left in this worker's control group: \
                 see --max-memory-per-child"
            );
        }
    }
}

impl Step<Worker> for Pool {
    fn name(&self) -> &'static str {
        "Pool"
    }

    fn requires(&self) -> &'static [&'static str] {
        &["Hub", "Producer"]
    }

    fn start(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        let zygote = cx
            .zygote
            .take()
            .ok_or_else(|| StepError::new("no zygote"))?;
        if let Some(exit) = cx.first_zygote_ended() {
            return Err(StepError::new(format!("the zygote exited with '{exit}'")));
        }
        let settings = PoolSettings {
            concurrency: cx.settings.concurrency,
            max_tasks_per_child: cx.settings.max_tasks_per_child,
            method: cx.settings.start_method,
            up_timeout: cx.settings.life.up_timeout,
            ..PoolSettings::default()
        };
        cx.pool.pool = Some(pool::Pool::new(zygote, settings, hub.now()));
        cx.pool.out_of_memory = process::out_of_memory_kills();
        cx.watch_memory(hub);
        Ok(Progress::Pending)
    }

    /// The first children have to come up; what happens to later ones is the pool's own business.
    fn poll_start(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        if cx.pool.closed {
            return Err(StepError::new("Could not start worker processes"));
        }
        let up = cx.pool.ups >= cx.settings.concurrency;
        Ok(Progress::done_if(up))
    }

    /// Running tasks may take as long as they take.
    fn stop(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if let Some(pool) = &mut cx.pool.pool {
            pool.close(hub.now());
        }
        Ok(Progress::Pending)
    }

    fn terminate(&mut self, cx: &mut Worker, hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        cx.tasks.cancel_running();
        let term = cx.settings.pool_term();
        if let Some(pool) = &mut cx.pool.pool {
            let patience = cx.hurried.then_some(HURRIED);
            pool.terminate(term, patience, hub.now());
        }
        Ok(Progress::Pending)
    }

    fn poll_stop(
        &mut self,
        cx: &mut Worker,
        _hub: &mut Hub<Worker>,
    ) -> Result<Progress, StepError> {
        Ok(Progress::done_if(cx.pool.closed))
    }
}

impl Worker {
    /// One of the pool's files is ready.
    fn handle_pool(&mut self, source: PoolSource, hub: &mut Hub<Self>) -> Next {
        let Some(pool) = &mut self.pool.pool else {
            return Next::Remove;
        };
        let progress = pool.handle_ready(source, hub.now());
        self.handle_pool_events(hub);
        match progress {
            pool::Progress::Drained => Next::Wait,
            pool::Progress::Again => Next::Again,
        }
    }

    /// A child is being killed for what it has not done. One that does not come up has a moment to say what it is doing.
    fn tell_overdue(&self, name: ChildName, pid: Option<Pid>, missed: Missed) {
        match missed {
            Missed::Up => {
                log::error!("Timed out waiting for UP message from {name}");
                self.ask_for_stack(pid);
            }
            Missed::Take => log::error!(
                "pool: {name} does not take its job: it is killed, and another gets the job"
            ),
            Missed::Stop => log::error!("pool: {name} does not end: it is killed"),
        }
    }

    /// Says it when the pool has come into trouble, and when it is out of it.
    fn tell_degraded(&mut self) {
        let stats = self.pool.pool.as_ref().map(pool::Pool::stats);
        let degraded = stats.is_some_and(|stats| stats.is_degraded());
        match (
            std::mem::replace(&mut self.pool.degraded, degraded),
            degraded,
        ) {
            (false, true) => log::error!(
                "pool: degraded: children end, or do not come up, before they have done any work. \
                 Others are tried, ever more slowly"
            ),
            (true, false) => log::warn!("pool: children work again"),
            _ => {}
        }
    }

    /// Reads what the pool has to tell; to be called after every call on it.
    pub(in crate::worker) fn handle_pool_events(&mut self, hub: &mut Hub<Self>) {
        while let Some(event) = self.pool.pool.as_mut().and_then(pool::Pool::poll_event) {
            self.handle_pool_event(event, hub);
        }
    }

    fn handle_pool_event(&mut self, event: PoolEvent, hub: &mut Hub<Self>) {
        if matches!(event, PoolEvent::Finished { .. }) {
            // A native task ends itself at its soft limit, and may be heard before the timer has rung.
            self.enforce_limits(hub);
        }
        let Self {
            tasks,
            consumer,
            producer,
            pool,
            ..
        } = self;
        match event {
            PoolEvent::Assigned { job, pid, at } => {
                tasks.assigned(job, pid, at, &mut consumer.acks, producer);
            }
            PoolEvent::Finished { job, finish } => {
                tasks.finished(job, finish, &mut consumer.acks, producer);
                if pool.degraded {
                    self.tell_degraded();
                }
            }
            PoolEvent::Started { job, .. } => tasks.begun(job, &mut consumer.acks),
            PoolEvent::SourceAdded(source, fd) => {
                let interest = if source.is_written() {
                    Interest::WRITE
                } else {
                    Interest::READ
                };
                let handler = move |worker: &mut Self, hub: &mut Hub<Self>, _| {
                    worker.handle_pool(source, hub)
                };
                match hub.add(fd, interest, Mode::Drain, handler) {
                    Ok(key) => drop(pool.sources.insert(source, key)),
                    Err(error) => log::error!("pool: cannot watch {source:?}: {error}"),
                }
            }
            PoolEvent::SourceRemoved(source) => {
                if let Some(key) = pool.sources.remove(&source) {
                    hub.remove(key);
                }
            }
            PoolEvent::ChildUp { name, pid } => {
                log::debug!("pool: {name} pid:{pid} is up");
                pool.ups += 1;
                self.see_memory(pid);
                self.advance(hub);
            }
            PoolEvent::ChildExited {
                name,
                pid,
                exit,
                expected,
            } => {
                let [retired, lost] = &mut tasks.events.metrics.children_ended;
                *(if expected { retired } else { lost }) += 1;
                if expected {
                    log::debug!("Process '{name}' pid:{pid} exited with '{exit}'");
                } else {
                    log::error!("Process '{name}' pid:{pid} exited with '{exit}'");
                    if exit == Exit::Signal(Signal::SIGKILL as i32) {
                        pool.tell_of_memory();
                    }
                }
                self.tell_degraded();
            }
            PoolEvent::ChildGarbled { name, error } => log::error!("pool: {name}: {error}"),
            PoolEvent::ChildOverdue { name, pid, missed } => self.tell_overdue(name, pid, missed),
            PoolEvent::SpawnFailed { name, reason } => {
                log::error!("pool: cannot start {name}: {reason}");
                self.tell_degraded();
            }
            PoolEvent::ZygoteLost { exit } => {
                self.replace_zygote(exit, hub);
            }
            PoolEvent::Closed => {
                pool.closed = true;
                self.advance(hub);
            }
        }
    }
}
