//! What goes into a [`Pool`](super::Pool) and what comes out of it.

use std::fmt;
use std::time::Instant;

use crate::message::record;
use crate::sys::fd::SharedFd;
use crate::sys::process::{Exit, Pid};
use crate::util::slots::Key;

/// The owner's name for a job. Opaque here; two jobs in the pool at the same time never share one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobKey(pub u64);

/// One piece of work for one child.
#[derive(Clone, Debug)]
pub struct Job {
    /// Comes back with whatever becomes of the job.
    pub key: JobKey,
    /// The complete job record as [`record`] encodes it, with `key` as its `job`.
    pub record: Vec<u8>,
}

/// What became of a job: each one that was accepted gets exactly one of these.
#[derive(Debug)]
pub enum Finish {
    /// The child answered.
    Done(record::Done),
    /// The child went away, or was taken away, while it had the job; how far it came is unknown.
    Lost(Loss),
    /// No child has begun it and none will: the job was cancelled, its child was killed first, or the
    /// pool has closed.
    NotStarted,
}

/// How a job was lost. Its `Display` is the text of Celery's `WorkerLostError`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Loss {
    /// How the child ended.
    pub exit: Exit,
    /// The number of the job in order of submission, from 0, as Celery counts.
    pub job_number: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Worker exited prematurely: {} Job: {}.",
            self.exit, self.job_number
        )
    }
}

/// The name of a child, as Celery prints it: `ForkPoolWorker-3`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChildName {
    /// Numbers start at 1 and are not used again.
    pub number: u32,
    /// How it was made.
    pub method: StartMethod,
}

/// How children are made (`--pool-start-method`); their zygote sees to it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum StartMethod {
    /// They are forks of the zygote.
    #[default]
    Fork,
    /// Each is a fresh interpreter.
    Spawn,
}

impl ChildName {
    /// The name of a child that is a fork of its zygote.
    pub const fn forked(number: u32) -> Self {
        let method = StartMethod::Fork;
        Self { number, method }
    }
}

impl fmt::Display for ChildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}PoolWorker-{}", self.method, self.number)
    }
}

/// A file the owner watches for the pool: register it when it is added, edge-triggered or re-armed, and
/// call [`Pool::handle_ready`](super::Pool::handle_ready) with this name when it is ready.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PoolSource {
    /// The socket to the zygote; watched for reading.
    Zygote,
    /// The pipe that takes a child's jobs; watched for writing.
    Jobs(Key),
    /// The pipe with a child's answers; watched for reading.
    Results(Key),
}

impl PoolSource {
    /// Whether this file is to be watched for writing; the others are for reading.
    pub fn is_written(self) -> bool {
        matches!(self, Self::Jobs(_))
    }
}

/// Whether there is more to do on a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a source that is not drained must be handled again, for its edge will not come back"]
pub enum Progress {
    /// The source has nothing more for now.
    Drained,
    /// The turn's share of work is used up: call again next turn, ready or not.
    Again,
}

/// What a child has not done in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missed {
    /// To say that it is up (`PoolSettings::up_timeout`).
    Up,
    /// To read the job it was given (`PoolSettings::take_timeout`).
    Take,
    /// To end (`PoolSettings::stop_timeout`).
    Stop,
}

/// What a [`Pool`](super::Pool) tells its owner.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolEvent {
    /// Watch this file.
    SourceAdded(PoolSource, SharedFd),
    /// Watch it no longer; the pool has already let go of its handle.
    SourceRemoved(PoolSource),
    /// A child is ready for work.
    ChildUp {
        /// Its name.
        name: ChildName,
        /// Its process.
        pid: Pid,
    },
    /// A child was given the job. From here on it counts as running, unless the child dies before it
    /// has begun: then the job is assigned again, to another.
    Assigned {
        /// The job.
        job: JobKey,
        /// The child's process.
        pid: Pid,
        /// When.
        at: Instant,
    },
    /// The child says that it has begun the job; only of jobs whose record asks for it.
    Started {
        /// The job.
        job: JobKey,
        /// The child's process.
        pid: Pid,
        /// When that was read.
        at: Instant,
    },
    /// The job is over for the pool.
    Finished {
        /// The job.
        job: JobKey,
        /// What became of it.
        finish: Finish,
    },
    /// A child is gone; its job was settled just before.
    ChildExited {
        /// Its name.
        name: ChildName,
        /// Its process.
        pid: Pid,
        /// How it ended.
        exit: Exit,
        /// Whether the pool had told it to stop or was killing it.
        expected: bool,
    },
    /// A child wrote what is no record, or a record it had no business to write, and is being killed.
    ChildGarbled {
        /// Its name.
        name: ChildName,
        /// What was wrong.
        error: record::RecordError,
    },
    /// A child was too slow, and is being killed; one that has not come up in time may come up yet, or say something,
    /// until it is in a moment.
    ChildOverdue {
        /// Its name.
        name: ChildName,
        /// Its process, if that is known.
        pid: Option<Pid>,
        /// What it should have done.
        missed: Missed,
    },
    /// The zygote could not make a child; another attempt follows.
    SpawnFailed {
        /// The name it would have had.
        name: ChildName,
        /// Why.
        reason: String,
    },
    /// The zygote has ended. Children that exist go on working and their jobs finish, but no new child can
    /// be made until [`Pool::replace_zygote`](super::Pool::replace_zygote).
    ZygoteLost {
        /// How it ended.
        exit: Exit,
    },
    /// After [`Pool::close`](super::Pool::close) or [`Pool::terminate`](super::Pool::terminate): the
    /// last child is gone.
    Closed,
}
