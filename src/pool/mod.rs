//! The pool: child processes that run the tasks, one job each at a time. (A child whose jobs are very short has
//! a few more in its pipe; see `ahead`.)
//!
//! Main starts a [`zygote`] before it opens anything, and never forks again: the zygote makes the
//! children, main adopts them. Each child has two pipes for its whole life, one for its jobs and one for
//! its answers, which carry the records of [`message::record`](crate::message::record). A Rust child is
//! a fork of this program ([`native`]); a child in another language needs only a zygote that speaks the
//! same protocol.
//!
//! [`Pool`] performs no waiting. It names the files to watch ([`PoolEvent::SourceAdded`]), and its owner
//! calls it when one of them is ready ([`Pool::handle_ready`]), when a child was reaped
//! ([`Pool::handle_exit`]) and when time has come ([`Pool::deadline`], [`Pool::handle_deadline`]); what
//! follows is fetched with [`Pool::poll_event`]. After any call, poll events until there are none.
//!
//! ```no_run
//! use celeriac::hub::{Hub, Interest, Mode, Next};
//! use celeriac::message::record::{Done, JobHead, Outcome};
//! use celeriac::pool::native::{self, Main, NativeChild};
//! use celeriac::pool::{Pool, PoolEvent, PoolSettings, Progress};
//!
//! struct Tasks;
//! impl NativeChild for Tasks {
//!     fn run_job(&mut self, job: &JobHead<'_>, _body: &[u8], _main: &mut Main<'_>) -> Done {
//!         Done::new(job.job, Outcome::Success, 0.0)
//!     }
//! }
//!
//! struct Owner { pool: Pool }
//! impl Owner {
//!     fn take_events(&mut self, hub: &mut Hub<Self>) {
//!         while let Some(event) = self.pool.poll_event() {
//!             if let PoolEvent::SourceAdded(source, fd) = event {
//!                 let interest = if source.is_written() { Interest::WRITE } else { Interest::READ };
//!                 let key = hub.add(fd, interest, Mode::Drain, move |owner: &mut Self, hub, _| {
//!                     let progress = owner.pool.handle_ready(source, hub.now());
//!                     owner.take_events(hub);
//!                     match progress {
//!                         Progress::Drained => Next::Wait,
//!                         Progress::Again => Next::Again,
//!                     }
//!                 });
//!                 // Keep the key by source, and remove it at `SourceRemoved`.
//!                 # let _ = key;
//!             }
//!         }
//!     }
//! }
//!
//! let zygote = native::start(Tasks)?; // before anything else
//! let mut hub = Hub::new()?;
//! let mut owner = Owner { pool: Pool::new(zygote, PoolSettings::default(), hub.now()) };
//! owner.take_events(&mut hub);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The owner also reads `SIGCHLD`, reaps (`sys::process::reap`) until there is nothing more, and hands
//! each exit over.
//!
//! Invariants:
//!
//! - **exactly one [`Finish`]** for each accepted job, in whatever order answers, deaths and kills come
//!   (see [`scheduler`]);
//! - a job is given to another child only when it certainly has not begun: part of its record was still
//!   in our hands or in the pipe when the child died;
//! - nothing a child does or fails to do stalls main or another child: no pipe end of main blocks, a
//!   turn's work on one child is bounded, and a child that garbles its pipe or is overdue is killed;
//! - when a child dies its pipe is read before its job is settled, so an answer it had written counts. It
//!   is read until it is *empty*, not until its end: a grandchild may hold the pipe open.
//!
//! What it does not do: time limits, acknowledgements, results. The [`worker`](crate::worker) decides
//! those, and calls [`Pool::signal_job`] and [`Pool::kill_job`].

mod ahead;
mod child;
mod event;
#[doc(hidden)]
pub mod fuzz;
mod member;
pub mod native;
pub mod python;
pub mod scheduler;
mod supervision;
pub mod zygote;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

pub use event::{
    ChildName, Finish, Job, JobKey, Loss, Missed, PoolEvent, PoolSource, Progress, StartMethod,
};

use child::{Child, READ_SIZE, Running};
use scheduler::{Policy, Scheduler};
use zygote::Zygote;

use crate::sys::process::{Exit, Pid};
use crate::sys::signal::{self, Signal};

/// So many children in a row that were of no use are a pool in trouble.
const DEGRADED: u32 = 5;

/// How long a child that has not come up in time may take to say what it is doing, before it is killed.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How many bytes are read from one child per turn.
const TURN: usize = 4 * READ_SIZE;

/// What a [`Pool`] keeps to.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How many children there should be (`worker_concurrency`).
    pub concurrency: usize,
    /// After how many jobs a child is replaced (`worker_max_tasks_per_child`); `None`: never.
    pub max_tasks_per_child: Option<NonZeroU32>,
    /// How children are made, which is part of their names.
    pub method: StartMethod,
    /// How long a new child may take to say that it is up (`worker_proc_alive_timeout`).
    pub up_timeout: Duration,
    /// How long a child may take to read on in its job record before it counts as wedged. It is killed
    /// then, and the job given to another.
    pub take_timeout: Duration,
    /// How long a child that was told to stop, or has closed its pipe, may take to end.
    pub stop_timeout: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            concurrency: 1,
            max_tasks_per_child: None,
            method: StartMethod::Fork,
            up_timeout: Duration::from_secs(60),
            take_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// The children, their jobs, and the zygote that makes more of them; see the [module page](self).
#[derive(Debug)]
pub struct Pool {
    /// `None` from its death until it is replaced.
    zygote: Option<Zygote>,
    scheduler: Scheduler<Child, Running>,
    settings: PoolSettings,
    events: VecDeque<PoolEvent>,
    /// No child's deadline is earlier than this; it may be too early, never too late.
    next_check: Option<Instant>,
    /// What was read last, from whichever child.
    scratch: Vec<u8>,
    names: u32,
    jobs: u64,
    closed: bool,
}

/// One child, for `inspect stats` and the like.
#[derive(Clone, Copy, Debug)]
pub struct ChildInfo {
    /// Its name.
    pub name: ChildName,
    /// Its process, once known.
    pub pid: Option<Pid>,
    /// The job it has.
    pub job: Option<JobKey>,
    /// How many jobs it was given so far.
    pub writes: u64,
}

/// The pool in numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolStats {
    /// How many children there should be.
    pub concurrency: usize,
    /// How many are ready and have no job.
    pub idle: usize,
    /// How many jobs wait for a child, or lie ahead of one.
    pub waiting: usize,
    /// How many jobs were accepted since the start.
    pub submitted: u64,
    /// How many children in a row ended, or could not be made, before any had done work. While this is
    /// not 0 new children are made ever more slowly.
    pub failed_starts: u32,
    /// How many answers came for a job that the child did not have.
    pub strays: u64,
}

impl PoolStats {
    /// Whether the pool is in trouble: so many children in a row were of no use that it is hardly chance.
    pub fn is_degraded(&self) -> bool {
        self.failed_starts >= DEGRADED
    }
}

impl Pool {
    /// A pool over `zygote`, and the first requests for children.
    pub fn new(zygote: Zygote, settings: PoolSettings, now: Instant) -> Self {
        let policy = Policy {
            target: settings.concurrency,
            max_tasks_per_child: settings.max_tasks_per_child,
        };
        let socket = zygote.socket();
        let mut pool = Self {
            zygote: Some(zygote),
            scheduler: Scheduler::new(policy),
            settings,
            events: VecDeque::from([PoolEvent::SourceAdded(PoolSource::Zygote, socket)]),
            next_check: None,
            scratch: vec![0; READ_SIZE],
            names: 0,
            jobs: 0,
            closed: false,
        };
        pool.advance(now);
        pool
    }

    /// Takes a job in. It is written to an idle child at once, or waits for one, first come, first served.
    ///
    /// # Errors
    /// Gives the job back when the pool is closed.
    pub fn submit(&mut self, job: Job, now: Instant) -> Result<(), Job> {
        let running = Running::new(job.key, self.jobs, job.record);
        match self.scheduler.submit(running) {
            Ok(()) => {
                self.jobs += 1;
                self.advance(now);
                Ok(())
            }
            Err(running) => Err(running.into_job()),
        }
    }

    /// Takes back a job that no child has read yet; it finishes as [`Finish::NotStarted`]. False when
    /// there is none of that key waiting.
    pub fn cancel(&mut self, key: JobKey, now: Instant) -> bool {
        if let Some(child) = self.scheduler.holder(|job| job.key == key) {
            self.take_back(child, now);
        }
        let cancelled = self.scheduler.cancel(|job| job.key == key);
        if let Some(job) = &cancelled {
            self.finish(job.key, Finish::NotStarted);
        }
        self.advance(now);
        cancelled.is_some()
    }

    /// Sends a signal to the child that has this job, such as the soft time limit's `SIGUSR1`. False when
    /// no child has it, or it turns out to be done.
    pub fn signal_job(&mut self, key: JobKey, signal: Signal, now: Instant) -> bool {
        let child = self.child_still_at(key, now);
        let pid = child.and_then(|child| self.scheduler.process(child)?.pid);
        let sent = pid.is_some_and(|pid| signal::kill(pid, signal).is_ok());
        self.advance(now);
        sent
    }

    /// Ends a job by sending a signal to its child and to all that child has started (its process group).
    /// The child gets no other job and is replaced; the job finishes when the child has ended, or has
    /// answered in spite of it. A job that still waits is [cancelled](Self::cancel). False when there is
    /// no such job, or it turns out to be done.
    ///
    /// No other job can be hit: the answers the child has written are heard first, and it is given
    /// nothing in between.
    pub fn kill_job(&mut self, key: JobKey, signal: Signal, now: Instant) -> bool {
        if self.cancel(key, now) {
            return true;
        }
        let Some(child) = self.child_still_at(key, now) else {
            return false;
        };
        if let Some((process, Some(job))) = self.scheduler.process_and_job_mut(child) {
            job.killed = true;
            process.leaving = true;
            process.signal_group(signal);
        }
        self.scheduler.doom(child, now);
        self.advance(now);
        true
    }

    /// Has another child take the place of this one, which stops once it has no job. False when there is no such child,
    /// or it is on its way out already.
    pub fn replace_child(&mut self, name: ChildName, now: Instant) -> bool {
        let child = self.child_named(name);
        child.map(|child| self.take_back(child, now));
        let replaced = child.is_some_and(|child| self.scheduler.replace(child));
        self.advance(now);
        replaced
    }

    /// Sets how many children there should be. Surplus children stop once they are idle.
    pub fn resize(&mut self, concurrency: usize, now: Instant) {
        self.take_all_back(now);
        self.scheduler.resize(concurrency);
        self.advance(now);
    }

    /// Warm shutdown: no new jobs; those that run may finish; those that wait finish as
    /// [`Finish::NotStarted`]; idle children stop. [`PoolEvent::Closed`] comes when the last is gone.
    pub fn close(&mut self, now: Instant) {
        self.take_all_back(now);
        for job in self.scheduler.close() {
            self.finish(job.key, Finish::NotStarted);
        }
        self.advance(now);
    }

    /// Cold shutdown: as [`close`](Self::close), and every child is sent `signal`. Those that are still
    /// there after `patience`, by default the stop timeout, are killed.
    pub fn terminate(&mut self, signal: Signal, patience: Option<Duration>, now: Instant) {
        self.close(now);
        let deadline = now + patience.unwrap_or(self.settings.stop_timeout);
        for child in self.keys() {
            self.scheduler.doom(child, now);
            if let Some(process) = self.scheduler.process_mut(child) {
                process.leaving = true;
                process.deadline = Some(deadline);
                process.signal_group(signal);
            }
        }
        self.check_by(deadline);
    }

    /// The zygote, while there is one.
    pub fn zygote(&self) -> Option<&Zygote> {
        self.zygote.as_ref()
    }

    /// Uses another zygote from now on, after the first was lost or because the program to run has
    /// changed. Children of the old one go on working.
    pub fn replace_zygote(&mut self, zygote: Zygote, now: Instant) {
        self.drop_zygote(now);
        let socket = zygote.socket();
        self.zygote = Some(zygote);
        self.events
            .push_back(PoolEvent::SourceAdded(PoolSource::Zygote, socket));
        self.advance(now);
    }

    /// A source is ready, or may be: spurious calls are harmless.
    pub fn handle_ready(&mut self, source: PoolSource, now: Instant) -> Progress {
        let progress = match source {
            PoolSource::Zygote => {
                self.hear_zygote(now);
                Progress::Drained
            }
            PoolSource::Jobs(child) => {
                self.write_jobs(child, now);
                Progress::Drained
            }
            PoolSource::Results(child) => self.hear_child(child, TURN, now),
        };
        self.advance(now);
        progress
    }

    /// A process was reaped. False when it was not one of the pool's: main adopts orphaned grandchildren
    /// too.
    pub fn handle_exit(&mut self, pid: Pid, exit: Exit, now: Instant) -> bool {
        if self.child_with(pid).is_none() {
            // The zygote names a child before it can die, but we may not have listened yet.
            self.hear_zygote(now);
        }
        let ours = match self.child_with(pid) {
            Some(child) => {
                self.settle(child, pid, exit, now);
                true
            }
            None if self
                .zygote
                .as_ref()
                .is_some_and(|zygote| zygote.pid() == pid) =>
            {
                self.drop_zygote(now);
                self.events.push_back(PoolEvent::ZygoteLost { exit });
                true
            }
            None => false,
        };
        self.advance(now);
        ours
    }

    /// When to call [`handle_deadline`](Self::handle_deadline), if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let spawn = self.scheduler.deadline().filter(|_| self.zygote.is_some());
        [spawn, self.next_check].into_iter().flatten().min()
    }

    /// Looks for children that are overdue and for postponed attempts to make one. Harmless when early.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.next_check.is_some_and(|instant| instant <= now) {
            self.next_check = None;
            for child in self.keys() {
                self.check(child, now);
            }
        }
        self.advance(now);
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<PoolEvent> {
        self.events.pop_front()
    }

    /// The children, those on their way out included.
    pub fn children(&self) -> impl Iterator<Item = ChildInfo> {
        self.scheduler.children().map(|(_, child, job)| ChildInfo {
            name: child.name,
            pid: child.pid,
            job: job.map(|job| job.key),
            writes: child.writes,
        })
    }

    /// How many jobs wait for a child, or lie ahead of one.
    pub fn waiting(&self) -> usize {
        self.scheduler.waiting() + self.scheduler.ahead()
    }

    /// The pool in numbers.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            concurrency: self.scheduler.target(),
            idle: self.scheduler.idle(),
            waiting: self.waiting(),
            submitted: self.jobs,
            failed_starts: self.scheduler.failed_starts(),
            strays: self.scheduler.strays(),
        }
    }
}
