//! How the pool carries out what the scheduler decides, and how it takes in what children do.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use super::child::{Child, READ_SIZE, Running, Word};
use super::event::{ChildName, Finish, JobKey, Loss, Missed, PoolEvent, PoolSource, Progress};
use super::zygote::Reply;
use super::{LAST_WORDS, Pool};
use crate::message::record::{Done, RecordError};
use crate::sys::process::{Exit, Pid};
use crate::sys::signal::{self, Signal};
use crate::util::slots::Key;

impl Pool {
    /// Does everything the scheduler wants done now.
    pub(super) fn advance(&mut self, now: Instant) {
        while self.scheduler.wanted(now) > 0 && self.spawn(now) {}
        while let Some(child) = self.scheduler.next_to_stop() {
            self.stop_child(child, now);
        }
        while let Some(child) = self.scheduler.assign(now) {
            self.give_job(child, now);
        }
        self.advance_ahead(now);
        if !self.closed && self.scheduler.is_finished() {
            self.closed = true;
            self.events.push_back(PoolEvent::Closed);
        }
    }

    /// Asks the zygote for one more child. False when that has to wait.
    fn spawn(&mut self, now: Instant) -> bool {
        let Some(zygote) = &self.zygote else {
            return false;
        };
        let name = ChildName {
            number: self.names + 1,
            method: self.settings.method,
        };
        let deadline = now + self.settings.up_timeout;
        let asked = Child::new(name, deadline).and_then(|(child, ends)| {
            zygote.ask(name.number, ends.jobs.as_fd(), ends.results.as_fd())?;
            Ok(child)
        });
        match asked {
            Ok(child) => {
                self.names += 1;
                let (jobs, results) = (child.jobs.clone(), child.results.clone());
                let key = self.scheduler.add(child, now);
                self.check_by(deadline);
                self.events
                    .push_back(PoolEvent::SourceAdded(PoolSource::Jobs(key), jobs));
                self.events
                    .push_back(PoolEvent::SourceAdded(PoolSource::Results(key), results));
                true
            }
            // The zygote has enough to do; its next reply brings us back here.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.scheduler.not_added(now);
                self.events.push_back(PoolEvent::SpawnFailed {
                    name,
                    reason: error.to_string(),
                });
                false
            }
        }
    }

    fn stop_child(&mut self, child: Key, now: Instant) {
        let deadline = now + self.settings.stop_timeout;
        if let Some(process) = self.scheduler.process_mut(child) {
            process.leaving = true;
            process.deadline = Some(deadline);
            process.stop();
            self.check_by(deadline);
        }
    }

    pub(super) fn give_job(&mut self, child: Key, now: Instant) {
        self.job_is_current(child, now);
        self.write_new_job(child, now);
    }

    /// Writes the last of the child's jobs, which it has been given just now.
    pub(super) fn write_new_job(&mut self, child: Key, now: Instant) {
        if let Some((process, jobs)) = self.scheduler.process_and_jobs_mut(child) {
            process.writes += 1;
            jobs.last().into_iter().for_each(Running::rewind);
        }
        self.write_jobs(child, now);
    }

    /// The child's job is the one it is to run now.
    pub(super) fn job_is_current(&mut self, child: Key, now: Instant) {
        let deadline = now + self.settings.take_timeout;
        let Some((process, Some(job))) = self.scheduler.process_and_job_mut(child) else {
            return;
        };
        process.deadline = Some(deadline);
        if let Some(pid) = process.pid {
            self.events.push_back(PoolEvent::Assigned {
                job: job.key,
                pid,
                at: now,
            });
        }
        self.check_by(deadline);
    }

    /// Goes on writing the child's jobs, as far as its pipe takes them.
    pub(super) fn write_jobs(&mut self, child: Key, now: Instant) {
        let deadline = now + self.settings.take_timeout;
        let Some((process, jobs)) = self.scheduler.process_and_jobs_mut(child) else {
            return;
        };
        for job in jobs {
            if process.write(job) {
                process.deadline = Some(deadline);
            }
            if !job.is_sent() {
                break;
            }
        }
    }

    /// Takes in all replies of the zygote.
    pub(super) fn hear_zygote(&mut self, now: Instant) {
        while let Some(zygote) = &self.zygote {
            match zygote.reply() {
                Ok(None) => return,
                Ok(Some(Reply::Forked { number, pid })) => self.forked(number, pid, now),
                Ok(Some(Reply::Failed { number, reason })) => {
                    self.not_forked(number, reason, now);
                }
                // It is dead, or may as well be; its exit follows.
                Err(_) => {
                    let _ = signal::kill(zygote.pid(), Signal::SIGKILL);
                    return;
                }
            }
        }
    }

    fn forked(&mut self, number: u32, pid: Pid, now: Instant) {
        let child = self.find(|child| child.name.number == number);
        if let Some(process) = child.and_then(|child| self.scheduler.process_mut(child)) {
            process.pid = Some(pid);
            process.deadline = Some(now + self.settings.up_timeout);
        }
    }

    fn not_forked(&mut self, number: u32, reason: String, now: Instant) {
        let name = ChildName {
            number,
            method: self.settings.method,
        };
        let child = self.child_named(name);
        if let Some(child) = child
            && self.has_no_pid(child)
        {
            self.forget(child, now);
            self.events
                .push_back(PoolEvent::SpawnFailed { name, reason });
        }
    }

    /// Gives up a child that has no pid. If it exists after all, it finds its job pipe closed and exits.
    fn forget(&mut self, child: Key, now: Instant) {
        self.scheduler.exited(child, false, now);
        self.unwatch(child);
    }

    /// Lets go of the zygote, which exits then if it is still there, and of the children it was asked
    /// for and has not named.
    pub(super) fn drop_zygote(&mut self, now: Instant) {
        self.hear_zygote(now);
        if self.zygote.take().is_none() {
            return;
        }
        self.events
            .push_back(PoolEvent::SourceRemoved(PoolSource::Zygote));
        for child in self.keys() {
            if self.has_no_pid(child) {
                self.forget(child, now);
            }
        }
    }

    /// Reads what the child has written, up to about `budget` bytes.
    pub(super) fn hear_child(&mut self, child: Key, budget: usize, now: Instant) -> Progress {
        let mut left = budget;
        while left > 0 {
            let Some(process) = self.scheduler.process_mut(child) else {
                return Progress::Drained;
            };
            match process.read(&mut self.scratch) {
                None => return Progress::Drained,
                Some(0) => {
                    self.end_of_words(child, now);
                    return Progress::Drained;
                }
                Some(count) => {
                    self.take_words(child, now);
                    if count < READ_SIZE {
                        return Progress::Drained; // a short read has emptied the pipe
                    }
                    left = left.saturating_sub(count);
                }
            }
        }
        Progress::Again
    }

    /// The child can tell nothing any more. Nearly always it is dying; its exit settles the job.
    fn end_of_words(&mut self, child: Key, now: Instant) {
        let deadline = now + self.settings.stop_timeout;
        if let Some(process) = self.scheduler.process_mut(child) {
            process.mute = true;
            process.deadline = Some(deadline);
            self.check_by(deadline);
        }
    }

    fn take_words(&mut self, child: Key, now: Instant) {
        while let Some(process) = self.scheduler.process_mut(child) {
            match process.next_word() {
                Ok(None) => return,
                Ok(Some(Word::Up)) => self.child_up(child, now),
                Ok(Some(Word::Started(job))) => self.job_started(child, job, now),
                Ok(Some(Word::Done(done))) => self.job_done(child, done, now),
                Err(error) => return self.garbled(child, error, now),
            }
        }
    }

    fn child_up(&mut self, child: Key, now: Instant) {
        if self.has_no_pid(child) {
            self.hear_zygote(now); // it has named the child, but we have not listened yet
        }
        if !self.scheduler.up(child) {
            return;
        }
        let Some(process) = self.scheduler.process_mut(child) else {
            return;
        };
        process.deadline = None;
        process.overdue = false;
        if let Some(pid) = process.pid {
            let name = process.name;
            self.events.push_back(PoolEvent::ChildUp { name, pid });
        }
    }

    fn job_started(&mut self, child: Key, job: JobKey, now: Instant) {
        let pid = self
            .scheduler
            .process(child)
            .and_then(|process| process.pid);
        if let Some(pid) = pid
            && self.has_job(child, job)
        {
            self.events
                .push_back(PoolEvent::Started { job, pid, at: now });
        }
    }

    fn job_done(&mut self, child: Key, done: Done, now: Instant) {
        let key = JobKey(done.job);
        let is_it = |job: &Running| job.key == key;
        if self.scheduler.done(child, is_it, now).is_none() {
            return; // an answer nobody waits for
        }
        self.has_no_deadline(child);
        self.finish(key, Finish::Done(done));
        self.job_is_current(child, now); // if it had one ahead
    }

    /// Nothing is expected of the child, unless that it ends.
    pub(super) fn has_no_deadline(&mut self, child: Key) {
        if let Some(process) = self.scheduler.process_mut(child)
            && !process.leaving
        {
            process.deadline = None;
        }
    }

    /// Nothing the child writes can be understood any more.
    fn garbled(&mut self, child: Key, error: RecordError, now: Instant) {
        if let Some(process) = self.scheduler.process_mut(child) {
            process.mute = true;
            self.events.push_back(PoolEvent::ChildGarbled {
                name: process.name,
                error,
            });
        }
        self.kill_child(child, now);
    }

    fn kill_child(&mut self, child: Key, now: Instant) {
        self.take_back(child, now);
        let Some(process) = self.scheduler.process_mut(child) else {
            return;
        };
        process.leaving = true;
        process.deadline = None;
        process.signal_group(Signal::SIGKILL);
        let unknown = process.pid.is_none();
        self.scheduler.doom(child, now);
        if unknown {
            self.forget(child, now);
        }
    }

    /// The child is dead: hears its last words, then settles its job.
    pub(super) fn settle(&mut self, child: Key, pid: Pid, exit: Exit, now: Instant) {
        // No more than is there now: a grandchild may go on writing.
        let unread = self
            .scheduler
            .process(child)
            .map(|process| process.results.pending());
        let _ = self.hear_child(child, unread.map_or(0, |count| count.unwrap_or(0)), now);

        let (mut not_begun, mut again) = (false, false);
        let ahead = self.octets_ahead(child);
        if let Some((process, Some(job))) = self.scheduler.process_and_job_mut(child) {
            not_begun = process.has_not_begun(job, ahead);
            again = not_begun && job.start_over();
        }
        self.take_back(child, now);
        let Some(departed) = self.scheduler.exited(child, again, now) else {
            return;
        };
        self.unwatch(child);
        let lost = |number| {
            Finish::Lost(Loss {
                exit,
                job_number: number,
            })
        };
        if let Some(job) = departed.job {
            let finish = match not_begun {
                true => Finish::NotStarted,
                false => lost(job.number),
            };
            self.finish(job.key, finish);
        }
        for job in departed.ahead {
            self.finish(job.key, lost(job.number)); // it was read, and nothing said of it
        }
        let (name, expected) = (departed.process.name, departed.process.leaving);
        self.events.push_back(PoolEvent::ChildExited {
            name,
            pid,
            exit,
            expected,
        });
    }

    /// Whether the child keeps its deadline.
    pub(super) fn check(&mut self, child: Key, now: Instant) {
        self.check_ahead(child, now);
        let ahead = self.octets_ahead(child);
        let Some((process, job)) = self.scheduler.process_and_job_mut(child) else {
            return;
        };
        let job = job.as_deref();
        let taken = job.is_some_and(|job| !process.has_not_begun(job, ahead));
        if taken && !process.leaving && !process.mute {
            process.deadline = None;
        }
        match process.deadline {
            None => {}
            Some(deadline) if deadline > now => self.check_by(deadline),
            Some(_) => {
                let missed = match job {
                    _ if process.leaving || process.mute => Missed::Stop,
                    Some(_) => Missed::Take,
                    None => Missed::Up,
                };
                let told = std::mem::replace(&mut process.overdue, true);
                let (name, pid) = (process.name, process.pid);
                if !told {
                    self.events
                        .push_back(PoolEvent::ChildOverdue { name, pid, missed });
                }
                if missed == Missed::Up && !told {
                    process.deadline = Some(now + LAST_WORDS);
                    self.check_by(now + LAST_WORDS);
                } else {
                    self.kill_child(child, now);
                }
            }
        }
    }

    /// Has the children looked at no later than `deadline`.
    pub(super) fn check_by(&mut self, deadline: Instant) {
        self.next_check = Some(
            self.next_check
                .map_or(deadline, |check| check.min(deadline)),
        );
    }

    /// The child that has the job, and has still not answered after what it has written was heard.
    pub(super) fn child_still_at(&mut self, job: JobKey, now: Instant) -> Option<Key> {
        let (child, ..) = self
            .scheduler
            .children()
            .find(|(_, _, has)| has.is_some_and(|has| has.key == job))?;
        self.take_back(child, now); // or it might be at its next job before a signal reaches it
        let _ = self.hear_child(child, READ_SIZE, now);
        self.has_job(child, job).then_some(child)
    }

    fn has_job(&self, child: Key, job: JobKey) -> bool {
        self.current(child) == Some(job)
    }

    /// The job the child runs, as far as we know.
    pub(super) fn current(&self, child: Key) -> Option<JobKey> {
        self.scheduler.job(child).map(|job| job.key)
    }

    fn has_no_pid(&self, child: Key) -> bool {
        self.scheduler
            .process(child)
            .is_some_and(|process| process.pid.is_none())
    }

    pub(super) fn finish(&mut self, job: JobKey, finish: Finish) {
        self.events.push_back(PoolEvent::Finished { job, finish });
    }

    fn unwatch(&mut self, child: Key) {
        self.events
            .push_back(PoolEvent::SourceRemoved(PoolSource::Jobs(child)));
        self.events
            .push_back(PoolEvent::SourceRemoved(PoolSource::Results(child)));
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.scheduler.children().map(|(key, ..)| key).collect()
    }

    pub(super) fn child_with(&self, pid: Pid) -> Option<Key> {
        self.find(|child| child.pid == Some(pid))
    }

    pub(super) fn child_named(&self, name: ChildName) -> Option<Key> {
        self.find(|child| child.name == name)
    }

    fn find(&self, is_it: impl Fn(&Child) -> bool) -> Option<Key> {
        let mut children = self.scheduler.children();
        children
            .find(|(_, child, _)| is_it(child))
            .map(|(key, ..)| key)
    }
}
