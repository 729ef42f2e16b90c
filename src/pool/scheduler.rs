//! Which child runs which job, and when children are made, told to stop and replaced: policy only.
//!
//! The scheduler holds no file descriptor and reads no clock. It is told what happened (`up`, `done`,
//! `exited`, …) and asked what to do next (`wanted`, `assign`, `next_to_stop`); [`Pool`](super::Pool)
//! carries that out. A child's pipes and pid ride along as `P`, a job as `J`, so that everything
//! known about one process is in one slot under one generation key.
//!
//! **Exactly one outcome per job** is held by ownership: a job is moved in by [`Scheduler::submit`]
//! and is always in one place, the queue or the child it was given to, until exactly one of `done`,
//! `exited`, `cancel` and `close` moves it out again. What remains to be tested, and is
//! by model and by fuzzing, is that it does come out.
//!
//! Assignment is Celery's `fair`: jobs wait here, first come, first served, until a child is idle. Of several
//! idle children the one that worked last is taken, for its caches are warm. Only a child whose jobs are very
//! short has some `ahead` of time, and they can be taken back.
//!
//! ```text
//!            up            assign
//!  Starting ────▶ Idle ───────────────▶ Busy(job)
//!     │            │  ◀─────────────────   │  done
//!     │            │ surplus, closing      │ done, and surplus, closing or tasks used up
//!     │            ▼                       ▼
//!     │         Retiring ──next_to_stop──▶ Stopping
//!     ▼            ▼          exited       ▼
//!     ────────────────── gone ──────────────
//! ```

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::ahead;
use super::member::{Member, State};
use crate::util::slots::{Key, Slots};

/// How long to wait after the first child that died without work; doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest wait between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A child that lives this long is sound, even if there was no work for it.
const SOUND_AGE: Duration = LONGEST_DELAY;

/// The golden ratio's fraction of 2^32.
const GOLDEN: u32 = 0x9e37_79b9;

/// What the scheduler keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How many children there should be.
    pub target: usize,
    /// After how many jobs a child is replaced (`worker_max_tasks_per_child`); `None`: never. Children are made
    /// together and work alike: so that they do not go together as well, up to a tenth of the number is taken off for
    /// each in turn, and one whose share is done goes on, up to the whole number, while another is coming up.
    pub max_tasks_per_child: Option<NonZeroU32>,
}

impl Policy {
    /// The share of the child that is made as number `number`: multiples of the golden ratio are far apart.
    fn share(&self, number: u32) -> u32 {
        let most = self.max_tasks_per_child.map_or(u32::MAX, NonZeroU32::get);
        let place = u64::from(number.wrapping_mul(GOLDEN));
        let off = (place * u64::from(most / 10 + 1)) >> 32;
        most - off as u32
    }
}

/// Children of type `P` and jobs of type `J`; see the [module page](self).
#[derive(Debug)]
pub struct Scheduler<P, J> {
    pub(super) children: Slots<Member<P, J>>,
    /// Jobs no child has been given yet, oldest first.
    pub(super) waiting: VecDeque<J>,
    /// Exactly the children in [`State::Idle`], the one that worked last at the end.
    pub(super) idle: Vec<Key>,
    /// Children that may be given jobs ahead, each once; whether one still may is seen when it is its turn.
    pub(super) roomy: VecDeque<Key>,
    /// How many jobs children have ahead, in all.
    pub(super) ahead: usize,
    /// Exactly the children in [`State::Retiring`].
    retiring: Vec<Key>,
    /// How many children are `counted`.
    pub(super) counted: usize,
    /// How many children have a job and are not being killed.
    pub(super) busy: usize,
    /// How many children were made so far.
    made: u32,
    pub(super) policy: Policy,
    pub(super) phase: Phase,
    /// No child is made before this instant, because the last ones died without doing any work.
    not_before: Option<Instant>,
    failed_starts: u32,
    strays: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Running,
    /// No new jobs; what runs may finish.
    Closing,
}

/// What [`Scheduler::exited`] gives back.
#[derive(Debug)]
pub struct Departed<P, J> {
    /// The pipes and pid of the child.
    pub process: P,
    /// Its job, unless it had none or the job waits for another child now.
    pub job: Option<J>,
    /// The jobs it still had ahead: it may have begun them.
    pub ahead: VecDeque<J>,
}

impl<P, J> Scheduler<P, J> {
    /// A scheduler without children.
    pub fn new(policy: Policy) -> Self {
        Self {
            children: Slots::new(),
            waiting: VecDeque::new(),
            idle: Vec::new(),
            roomy: VecDeque::new(),
            ahead: 0,
            retiring: Vec::new(),
            counted: 0,
            busy: 0,
            made: 0,
            policy,
            phase: Phase::Running,
            not_before: None,
            failed_starts: 0,
            strays: 0,
        }
    }

    /// Takes a job in; gives it back when the scheduler is closed.
    pub fn submit(&mut self, job: J) -> Result<(), J> {
        if self.phase != Phase::Running {
            return Err(job);
        }
        self.waiting.push_back(job);
        Ok(())
    }

    /// How many children are to be made now. An instant that was waited for is over with this, whether or not they can
    /// be made: a zygote that is too busy to be asked would keep the owner awake otherwise.
    pub fn wanted(&mut self, now: Instant) -> usize {
        self.not_before = self.not_before.filter(|instant| now < *instant);
        match self.not_before {
            Some(_) => 0,
            None => self.missing(),
        }
    }

    /// When [`wanted`](Self::wanted) will answer differently without anything having happened.
    pub fn deadline(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.missing() > 0)
    }

    fn missing(&self) -> usize {
        match self.phase {
            Phase::Running => self.policy.target.saturating_sub(self.counted),
            Phase::Closing => 0,
        }
    }

    /// A child was made: it counts from now on and gets jobs once it is [`up`](Self::up).
    pub fn add(&mut self, process: P, now: Instant) -> Key {
        self.counted += 1;
        let share = self.policy.share(self.made);
        self.made = self.made.wrapping_add(1);
        self.children.insert(Member {
            process,
            state: State::Starting,
            ahead: VecDeque::new(),
            swift: false,
            since: now,
            listed: false,
            counted: true,
            completed: 0,
            share,
            doomed: false,
            made: now,
        })
    }

    /// A child could not be made.
    pub fn not_added(&mut self, now: Instant) {
        self.failed_start(now);
    }

    /// The child is ready for work. False when nobody waited for that (said twice, or too late).
    pub fn up(&mut self, child: Key) -> bool {
        match self.children.get_mut(child) {
            Some(member) if matches!(member.state, State::Starting) => {
                self.rest(child);
                true
            }
            _ => false,
        }
    }

    /// Gives the oldest waiting job to an idle child; the caller writes it. No more children have jobs than there should
    /// be children: one that comes up before the one it replaces has done its last job waits for that.
    pub fn assign(&mut self, now: Instant) -> Option<Key> {
        let none = self.waiting.is_empty() || self.busy >= self.policy.target;
        if self.phase != Phase::Running || none {
            return None;
        }
        let child = self.idle.pop()?;
        let member = self.children.get_mut(child)?;
        member.state = State::Busy(self.waiting.pop_front()?);
        member.since = now;
        self.busy += 1;
        self.enlist(child);
        Some(child)
    }

    /// The child answered for a job that satisfies `is_it`. `None`, and counted as a stray, when that is
    /// not the job it has. Its next job is the first it had ahead, if any: see [`job`](Self::job).
    pub fn done(&mut self, child: Key, is_it: impl FnOnce(&J) -> bool, now: Instant) -> Option<J> {
        if !self.job(child).is_some_and(is_it) {
            self.strays += 1;
            return None;
        }
        self.sound_child();
        let member = self.children.get_mut(child)?;
        member.completed = member.completed.saturating_add(1);
        member.swift = now.saturating_duration_since(member.since) <= ahead::SHORT;
        member.since = now;
        match member.ahead.pop_front() {
            None => self.rest(child),
            Some(next) => {
                self.ahead -= 1;
                let done = std::mem::replace(&mut member.state, State::Busy(next));
                self.enlist(child);
                done.job()
            }
        }
    }

    /// The child has nothing to do: it is idle, or on its way out when it has outlived its use. Moves out
    /// the job it had.
    pub(super) fn rest(&mut self, child: Key) -> Option<J> {
        let member = self.children.get_mut(child)?;
        let job = std::mem::replace(&mut member.state, State::Idle).job();
        self.busy -= usize::from(job.is_some() && !member.doomed);
        let (completed, share) = (member.completed, member.share);
        let surplus = !member.counted || self.counted > self.policy.target;
        let most = self.policy.max_tasks_per_child;
        let used_up = most.is_some_and(|most| completed >= most.get())
            || completed >= share && !self.is_renewing();
        if used_up || surplus || self.phase == Phase::Closing {
            self.retire(child);
        } else {
            self.idle.push(child);
        }
        job
    }

    /// Whether a child is coming up, or is to be made.
    fn is_renewing(&self) -> bool {
        let mut children = self.children.iter();
        self.missing() > 0 || children.any(|(_, member)| matches!(member.state, State::Starting))
    }

    /// A child to be told to stop; it is not named again.
    pub fn next_to_stop(&mut self) -> Option<Key> {
        let child = self.retiring.pop()?;
        self.children.get_mut(child)?.state = State::Stopping;
        Some(child)
    }

    /// The child is being killed: it gets no further job, and its replacement need not wait for its end.
    /// Its job, if it has one, is settled when it has [`exited`](Self::exited). One that is killed before
    /// it was up has failed to start.
    pub fn doom(&mut self, child: Key, now: Instant) {
        self.withdraw(child);
        let Some(member) = self.children.get_mut(child) else {
            return;
        };
        match member.state {
            State::Busy(_) => {
                self.busy -= usize::from(!std::mem::replace(&mut member.doomed, true))
            }
            State::Starting => {
                member.state = State::Stopping;
                self.failed_start(now);
            }
            State::Idle | State::Retiring | State::Stopping => member.state = State::Stopping,
        }
    }

    /// The child is gone, and everything it said has been heard. `again`: its job has certainly not begun
    /// and may be given to another child, ahead of all that wait.
    pub fn exited(&mut self, child: Key, again: bool, now: Instant) -> Option<Departed<P, J>> {
        let unasked = self.withdraw(child);
        let member = self.children.remove(child)?;
        self.busy -= usize::from(matches!(member.state, State::Busy(_)) && !member.doomed);
        let began = matches!(member.state, State::Busy(_)) && !again;
        if unasked && !began && member.completed == 0 {
            if now.saturating_duration_since(member.made) < SOUND_AGE {
                self.failed_start(now);
            } else {
                self.sound_child();
            }
        }
        let job = match member.state {
            State::Busy(job) if again && self.phase == Phase::Running => {
                self.waiting.push_front(job);
                None
            }
            state => state.job(),
        };
        self.ahead -= member.ahead.len();
        Some(Departed {
            process: member.process,
            job,
            ahead: member.ahead,
        })
    }

    /// Takes the first waiting job that satisfies `is_it` out of the queue.
    pub fn cancel(&mut self, is_it: impl FnMut(&J) -> bool) -> Option<J> {
        let position = self.waiting.iter().position(is_it)?;
        self.waiting.remove(position)
    }

    /// Another child is to take the place of this one, which goes once it has no job. False when it is on its way out
    /// already, or has not come up yet.
    pub fn replace(&mut self, child: Key) -> bool {
        let Some(member) = self.children.get(child).filter(|member| member.counted) else {
            return false;
        };
        match member.state {
            State::Idle => self.retire(child),
            State::Busy(_) => drop(self.withdraw(child)),
            State::Starting | State::Retiring | State::Stopping => return false,
        }
        true
    }

    /// Sets how many children there should be. Surplus children are told to stop: idle ones now, others
    /// when their job is done.
    pub fn resize(&mut self, target: usize) {
        self.policy.target = target;
        while self.counted > target
            && let Some(child) = self.idle.first().copied()
        {
            self.retire(child);
        }
    }

    /// No job is given out and no child made from now on; children are told to stop once they are idle.
    /// The jobs no child was given come back.
    pub fn close(&mut self) -> VecDeque<J> {
        self.phase = Phase::Closing;
        while let Some(child) = self.idle.first().copied() {
            self.retire(child);
        }
        std::mem::take(&mut self.waiting)
    }

    /// Whether it was closed and the last child is gone.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Closing && self.children.is_empty()
    }

    /// An idle or busy child goes: it no longer counts and is to be told to stop.
    fn retire(&mut self, child: Key) {
        self.withdraw(child);
        if let Some(member) = self.children.get_mut(child) {
            member.state = State::Retiring;
            self.retiring.push(child);
        }
    }

    /// Strikes the child off the lists and off the count; says whether it had counted until now.
    fn withdraw(&mut self, child: Key) -> bool {
        self.roomy.retain(|key| *key != child);
        self.idle.retain(|key| *key != child);
        self.retiring.retain(|key| *key != child);
        let Some(member) = self.children.get_mut(child) else {
            return false;
        };
        let counted = std::mem::replace(&mut member.counted, false);
        self.counted -= usize::from(counted);
        counted
    }

    /// A child has shown that children can live.
    fn sound_child(&mut self) {
        self.failed_starts = 0;
        self.not_before = None;
    }

    fn failed_start(&mut self, now: Instant) {
        let doubled = FIRST_DELAY.saturating_mul(1 << self.failed_starts.min(16));
        self.not_before = Some(now + doubled.min(LONGEST_DELAY));
        self.failed_starts = self.failed_starts.saturating_add(1);
    }

    /// The pipes and pid of a child.
    pub fn process(&self, child: Key) -> Option<&P> {
        Some(&self.children.get(child)?.process)
    }

    /// The pipes and pid of a child, to be worked on.
    pub fn process_mut(&mut self, child: Key) -> Option<&mut P> {
        Some(&mut self.children.get_mut(child)?.process)
    }

    /// The job a child has.
    pub fn job(&self, child: Key) -> Option<&J> {
        match &self.children.get(child)?.state {
            State::Busy(job) => Some(job),
            _ => None,
        }
    }

    /// A child and the job it has, to be worked on together.
    pub fn process_and_job_mut(&mut self, child: Key) -> Option<(&mut P, Option<&mut J>)> {
        let member = self.children.get_mut(child)?;
        let job = match &mut member.state {
            State::Busy(job) => Some(job),
            _ => None,
        };
        Some((&mut member.process, job))
    }

    /// All children, those on their way out included.
    pub fn children(&self) -> impl Iterator<Item = (Key, &P, Option<&J>)> {
        self.children.iter().map(|(key, member)| {
            let job = match &member.state {
                State::Busy(job) => Some(job),
                _ => None,
            };
            (key, &member.process, job)
        })
    }

    /// How many children there should be.
    pub fn target(&self) -> usize {
        self.policy.target
    }

    /// How many children are ready and have no job.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// How many jobs wait for a child.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many children in a row went soon, or could not be made, before any of them had done work.
    pub fn failed_starts(&self) -> u32 {
        self.failed_starts
    }

    /// How many answers came for a job the child did not have.
    pub fn strays(&self) -> u64 {
        self.strays
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
