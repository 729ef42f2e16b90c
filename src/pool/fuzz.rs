//! The body of the fuzz target `scheduler`: a world of children that do anything in any order, and a
//! second bookkeeping of what each job and child is doing. The unit tests run it on random input too.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::ahead;
use super::scheduler::{Policy, Scheduler};
use crate::sys::clock;
use crate::util::slots::Key;

/// After an operation of this number or above, the next one happens before anything is carried out.
const SEVERAL_AT_ONCE: u8 = 192;

/// Runs the operations that `data` spells, two bytes each, and checks the scheduler's laws after each.
///
/// # Panics
/// When a law is broken.
pub fn fuzz_scheduler(data: &[u8]) {
    let Some((&[target, most], operations)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut world = World::new(
        usize::from(target % 8),
        NonZeroU32::new(u32::from(most % 4)),
    );
    world.carry_out();
    for &[operation, argument] in operations.as_chunks::<2>().0 {
        world.operate(operation, usize::from(argument));
        if operation < SEVERAL_AT_ONCE {
            world.carry_out();
            world.check();
        }
    }
    world.wind_up();
}

/// What became of a job, as the world saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whereabouts {
    Waiting,
    Given,
    Over,
}

struct World {
    scheduler: Scheduler<(), usize>,
    now: Instant,
    /// Every child there ever was; the dead ones too, for late news of them.
    children: Vec<Key>,
    alive: Vec<Key>,
    /// By job number.
    jobs: Vec<Whereabouts>,
    /// The jobs that wait, in the order in which they must be given out.
    queue: VecDeque<usize>,
    /// The jobs each child has, in the order in which it runs them.
    given: HashMap<Key, VecDeque<usize>>,
    /// How many jobs each child has done.
    completed: HashMap<Key, usize>,
    most: Option<usize>,
    stopped: Vec<Key>,
    doomed: Vec<Key>,
    closed: bool,
}

impl World {
    fn new(target: usize, max_tasks_per_child: Option<NonZeroU32>) -> Self {
        Self {
            scheduler: Scheduler::new(Policy {
                target,
                max_tasks_per_child,
            }),
            now: clock::now(),
            children: Vec::new(),
            alive: Vec::new(),
            jobs: Vec::new(),
            queue: VecDeque::new(),
            given: HashMap::new(),
            completed: HashMap::new(),
            most: max_tasks_per_child.map(|most| most.get() as usize),
            stopped: Vec::new(),
            doomed: Vec::new(),
            closed: false,
        }
    }

    fn operate(&mut self, operation: u8, argument: usize) {
        let child = self
            .children
            .get(argument % self.children.len().max(1))
            .copied();
        match (operation % 13, child) {
            (0..=2, _) => self.submit(),
            (3, Some(child)) => {
                self.scheduler.up(child);
            }
            (4 | 5, Some(child)) => self.done(child),
            (6, Some(child)) => {
                // Of a job that never was: nothing may come of it.
                let never = |job: &usize| *job == usize::MAX;
                assert_eq!(self.scheduler.done(child, never, self.now), None);
            }
            (7, Some(child)) => self.exit(child, argument.is_multiple_of(2)),
            (8, Some(child)) => {
                self.scheduler.doom(child, self.now);
                self.doomed.push(child);
            }
            (9, _) => self.cancel(argument),
            (10, _) => self.scheduler.resize(argument % 8),
            (11, _) if argument == 0 => self.close(),
            (11, _) if argument == 1 => self.scheduler.not_added(self.now),
            (12, Some(child)) => self.take_back(child, argument % 6),
            (11, _) => self.now += Duration::from_millis(argument as u64 * 300),
            _ => {}
        }
    }

    fn submit(&mut self) {
        let job = self.jobs.len();
        match self.scheduler.submit(job) {
            Ok(()) => {
                assert!(!self.closed, "a closed scheduler has taken a job");
                self.jobs.push(Whereabouts::Waiting);
                self.queue.push_back(job);
            }
            Err(returned) => assert!(self.closed && returned == job),
        }
    }

    fn done(&mut self, child: Key) {
        let expected = self.job_of(child);
        let is_it = |job: &usize| Some(*job) == expected;
        assert_eq!(self.scheduler.done(child, is_it, self.now), expected);
        if let Some(job) = expected {
            self.given.entry(child).or_default().pop_front();
            *self.completed.entry(child).or_default() += 1;
            self.over(job);
        }
    }

    fn exit(&mut self, child: Key, again: bool) {
        let mut had = self.given.remove(&child).unwrap_or_default();
        let departed = self.scheduler.exited(child, again, self.now);
        assert_eq!(departed.is_some(), self.alive.contains(&child));
        self.alive.retain(|key| *key != child);
        let Some(departed) = departed else { return };
        match (had.pop_front(), departed.job) {
            (Some(job), Some(returned)) => {
                assert!(job == returned && (!again || self.closed));
                self.over(job);
            }
            (Some(job), None) => {
                assert!(
                    again && !self.closed,
                    "job {job} has vanished with its child"
                );
                self.jobs[job] = Whereabouts::Waiting;
                self.queue.push_front(job);
            }
            (None, returned) => assert_eq!(returned, None),
        }
        assert_eq!(departed.ahead, had);
        had.into_iter().for_each(|job| self.over(job));
    }

    fn take_back(&mut self, child: Key, count: usize) {
        let unread = |job: &usize| job % 7 >= count;
        let returned = self.scheduler.take_back(child, unread);
        let given = self.given.remove(&child).unwrap_or_default();
        let (taken, kept): (VecDeque<_>, VecDeque<_>) = given.into_iter().partition(unread);
        self.given.insert(child, kept);
        if self.closed {
            assert_eq!(returned, Vec::from(taken.clone()));
            return taken.into_iter().for_each(|job| self.over(job));
        }
        assert_eq!(returned, [0; 0]);
        for job in taken.into_iter().rev() {
            self.jobs[job] = Whereabouts::Waiting;
            self.queue.push_front(job);
        }
    }

    fn cancel(&mut self, job: usize) {
        let waits = self.jobs.get(job) == Some(&Whereabouts::Waiting);
        assert_eq!(self.scheduler.cancel(|it| *it == job), waits.then_some(job));
        if waits {
            self.queue.retain(|it| *it != job);
            self.over(job);
        }
    }

    fn close(&mut self) {
        self.closed = true;
        let returned = self.scheduler.close();
        assert_eq!(returned, std::mem::take(&mut self.queue));
        returned.into_iter().for_each(|job| self.over(job));
    }

    /// What the pool does after each call.
    fn carry_out(&mut self) {
        for _ in 0..self.scheduler.wanted(self.now) {
            let child = self.scheduler.add((), self.now);
            self.children.push(child);
            self.alive.push(child);
        }
        while let Some(child) = self.scheduler.next_to_stop() {
            assert_eq!(self.job_of(child), None, "told to stop with a job");
            assert!(!self.stopped.contains(&child), "told to stop twice");
            assert!(self.alive.contains(&child), "told to stop after its death");
            self.stopped.push(child);
        }
        while let Some(child) = self.scheduler.assign(self.now) {
            assert_eq!(self.job_of(child), None, "assigned to a busy child");
            self.give(child);
        }
        while let Some(child) = self.scheduler.assign_ahead(self.now, |()| true, |_| true) {
            assert!(
                self.job_of(child).is_some(),
                "ahead of a child without a job"
            );
            self.give(child);
        }
    }

    /// The child was given the job whose turn it was.
    fn give(&mut self, child: Key) {
        assert!(!self.closed && !self.stopped.contains(&child) && !self.doomed.contains(&child));
        let job = self.queue.pop_front().expect("a job out of nowhere");
        assert_eq!(self.jobs[job], Whereabouts::Waiting);
        self.jobs[job] = Whereabouts::Given;
        let given = self.given.entry(child).or_default();
        given.push_back(job);
        assert!(given.len() <= 1 + ahead::MOST);
        let completed = self.completed.get(&child).copied().unwrap_or(0);
        let planned = completed + given.len();
        assert!(
            self.most.is_none_or(|most| planned <= most),
            "more jobs than it may do"
        );
    }

    fn check(&mut self) {
        assert_eq!(self.scheduler.waiting(), self.queue.len());
        assert!(
            self.scheduler.waiting() == 0 || self.scheduler.idle() == 0,
            "idle beside waiting"
        );
        assert_eq!(self.scheduler.wanted(self.now), 0);
        assert_eq!(self.scheduler.next_to_stop(), None);
        for (child, (), job) in self.scheduler.children() {
            assert!(self.alive.contains(&child));
            let has = job.into_iter().chain(self.scheduler.jobs_ahead(child));
            let given = self.given.get(&child).into_iter().flatten();
            assert!(has.eq(given), "out of turn");
        }
        let given: usize = self.given.values().map(VecDeque::len).sum();
        let (children, ahead) = (self.scheduler.children(), self.scheduler.ahead());
        assert_eq!(
            children.filter(|(.., job)| job.is_some()).count() + ahead,
            given
        );
        let missing = self.scheduler.deadline().is_some();
        assert!(!missing || self.scheduler.deadline() > Some(self.now));
        let enough = missing || self.alive.len() >= self.scheduler.target();
        assert!(enough || self.closed, "too few children, and none coming");
    }

    /// Closes, and lets every child end: nothing may be left.
    fn wind_up(&mut self) {
        self.close();
        for child in self.alive.clone() {
            assert!(!self.scheduler.is_finished());
            self.exit(child, false);
        }
        assert!(self.scheduler.is_finished());
        assert_eq!(
            self.jobs.iter().find(|job| **job != Whereabouts::Over),
            None
        );
    }

    fn job_of(&self, child: Key) -> Option<usize> {
        self.given.get(&child)?.front().copied()
    }

    /// The law: once, and only once.
    fn over(&mut self, job: usize) {
        assert_ne!(
            self.jobs[job],
            Whereabouts::Over,
            "job {job} has ended twice"
        );
        self.jobs[job] = Whereabouts::Over;
    }
}
