//! One child process, seen from main: the mechanism under the pool's policy.
//!
//! A child has one pid, one pair of pipes and one life. Its pipes are made with it and closed after its
//! death, so nothing of one life can reach the next. Main's ends never block. The pipe with the jobs keeps
//! writes apart, and main has a reading end of it too: what the child has not read can be taken back.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::message::record::{self, Decoder, Kind, RecordError};
use crate::sys::fd::{self, SharedFd};
use crate::sys::pipe;
use crate::sys::process::Pid;
use crate::sys::signal::{self, Signal};

use super::event::{ChildName, Job, JobKey};

/// How much is read at once: what a pipe holds, so that one read empties it.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// A job record larger than a pipe is let go once it is written; see [`Running::start_over`].
const KEPT: usize = READ_SIZE;

/// Main's side of one child.
#[derive(Debug)]
pub(super) struct Child {
    pub name: ChildName,
    /// Known once the zygote has answered. What the child says of itself is not relied upon: main may
    /// have rights that a child has given up, and will send signals to this process.
    pub pid: Option<Pid>,
    pub jobs: SharedFd,
    /// The other end of `jobs`, as an open file of our own; without it nothing is given ahead.
    unread: Option<SharedFd>,
    pub results: SharedFd,
    decoder: Decoder,
    /// When the child must have come up, taken its job or ended; looked at only in
    /// `Pool::handle_deadline`.
    pub deadline: Option<Instant>,
    /// Whether the owner was told that it is overdue: it is killed at its deadline.
    pub overdue: bool,
    /// Whether it was told to stop or is being killed, so that its end is no surprise.
    pub leaving: bool,
    /// Whether its answers are read no further: they ended, or were garbled.
    pub mute: bool,
    /// How many jobs it was given.
    pub writes: u64,
}

/// What a child says.
pub(super) enum Word {
    Up,
    Started(JobKey),
    Done(record::Done),
}

/// A job on its way through the pool.
#[derive(Debug)]
pub(super) struct Running {
    pub key: JobKey,
    /// In order of submission.
    pub number: u64,
    record: Vec<u8>,
    length: usize,
    /// How much of the record has been written to the child it is with now.
    sent: usize,
    /// Whether the owner wants it killed: it must not run again.
    pub killed: bool,
}

/// The child's ends of its pipes, both blocking.
pub(super) struct ChildEnds {
    pub jobs: OwnedFd,
    pub results: OwnedFd,
}

impl Child {
    /// The pipes of a child that is yet to be made, and its ends of them.
    pub(super) fn new(name: ChildName, deadline: Instant) -> io::Result<(Self, ChildEnds)> {
        let (child_jobs, jobs) = pipe::packets()?;
        let unread = fd::open_again(&child_jobs).ok().map(SharedFd::new);
        let (results, child_results) = pipe::pipe()?;
        // The two ends of a pipe are two open files, so this does not concern ours.
        fd::set_nonblocking(&child_jobs, false)?;
        fd::set_nonblocking(&child_results, false)?;
        let child = Self {
            name,
            pid: None,
            jobs: SharedFd::new(jobs),
            unread,
            results: SharedFd::new(results),
            decoder: Decoder::new(),
            deadline: Some(deadline),
            overdue: false,
            leaving: false,
            mute: false,
            writes: 0,
        };
        Ok((
            child,
            ChildEnds {
                jobs: child_jobs,
                results: child_results,
            },
        ))
    }

    /// Writes of the job as much as the pipe takes now; says whether that was anything.
    ///
    /// One call is enough: a write that comes back short has filled the pipe, and the child's next
    /// read makes it writable again, which the owner is told.
    pub(super) fn write(&self, job: &mut Running) -> bool {
        let rest = job.record.get(job.sent..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        // An error is a full pipe, or one that nobody reads any more, which the child's exit will tell.
        let count = self.jobs.write(rest).unwrap_or(0);
        job.sent += count;
        if job.sent == job.length && job.length > KEPT {
            job.record = Vec::new();
        }
        count > 0
    }

    /// Whether the child cannot have begun the job, for part of it has not reached it: there is more in the pipe
    /// than the `ahead` octets of the jobs behind it.
    pub(super) fn has_not_begun(&self, job: &Running, ahead: usize) -> bool {
        job.sent < job.length || self.jobs.pending().is_ok_and(|unread| unread > ahead)
    }

    /// Whether what lies in its pipe can be taken back.
    pub(super) fn gives_back(&self) -> bool {
        self.unread.is_some()
    }

    /// Takes the oldest packet that the child has not read out of its pipe.
    pub(super) fn take_packet<'a>(&self, packet: &'a mut [u8; pipe::PACKET]) -> Option<&'a [u8]> {
        let count = self.unread.as_ref()?.read(packet).ok()?;
        packet.get(..count).filter(|packet| !packet.is_empty())
    }

    /// Reads once, and takes in what came. `None`: the pipe is empty, or not listened to; `Some(0)`: its
    /// end.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Option<usize> {
        if self.mute {
            return None;
        }
        match self.results.read(scratch) {
            Ok(count) => {
                let arrived = scratch.get(..count)?;
                self.decoder
                    .space(count)
                    .get_mut(..count)?
                    .copy_from_slice(arrived);
                self.decoder.filled(count);
                Some(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0), // a pipe has no other errors; if it had, nothing would follow
        }
    }

    /// The next thing the child has completely said.
    pub(super) fn next_word(&mut self) -> Result<Option<Word>, RecordError> {
        let Some(record) = self.decoder.next_record()? else {
            return Ok(None);
        };
        Ok(Some(match record.kind {
            Kind::Up => Word::Up,
            Kind::Started => Word::Started(JobKey(record.started()?.job)),
            Kind::Done => Word::Done(record.done()?),
            kind @ (Kind::Job | Kind::Stop | Kind::Note | Kind::Reply) => {
                return Err(RecordError::Unexpected(kind));
            }
        }))
    }

    /// Tells it to leave. It has no job, so its pipe is empty and takes the record whole.
    pub(super) fn stop(&self) {
        let mut stop = Vec::new();
        record::encode_stop(&mut stop);
        let _ = self.jobs.write(&stop); // if it cannot be told, its deadline will pass
    }

    /// Sends a signal to it and to whatever it has started.
    pub(super) fn signal_group(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        // A child that was forked just now leads no group yet.
        if signal::kill_group(pid, signal).is_err() {
            let _ = signal::kill(pid, signal);
        }
    }
}

impl Running {
    pub(super) fn new(key: JobKey, number: u64, record: Vec<u8>) -> Self {
        let length = record.len();
        Self {
            key,
            number,
            record,
            length,
            sent: 0,
            killed: false,
        }
    }

    /// Whether its record is one packet, which the child has either read or not.
    pub(super) fn is_a_packet(&self) -> bool {
        self.length <= pipe::PACKET
    }

    /// Its record, unless that was let go.
    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    /// How much of it has been written to the child it is with now.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// Whether that is all of it.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.length
    }

    /// It is written from its beginning, for it is with another child now.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Makes it ready for another child, now that this one has not begun it. False when it may not
    /// go to another, because it is to be killed, or cannot, because its record was let go.
    pub(super) fn start_over(&mut self) -> bool {
        self.rewind();
        !self.killed && self.record.len() == self.length
    }

    /// The job as it was submitted, if nothing of it was written.
    pub(super) fn into_job(self) -> Job {
        Job {
            key: self.key,
            record: self.record,
        }
    }
}
