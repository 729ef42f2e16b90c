//! The body of the fuzz target `scheduler`: a world of children that do anything in any order, and a
//! second bookkeeping of what each job and child is doing. The unit tests run it on random input too.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

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
    With(Key),
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
        match (operation % 12, child) {
            (0..=2, _) => self.submit(),
            (3, Some(child)) => {
                self.scheduler.up(child);
            }
            (4 | 5, Some(child)) => self.done(child),
            (6, Some(child)) => {
                // Of a job that never was: nothing may come of it.
                assert_eq!(self.scheduler.done(child, |job| *job == usize::MAX), None);
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
        assert_eq!(
            self.scheduler.done(child, |job| Some(*job) == expected),
            expected
        );
        if let Some(job) = expected {
            self.over(job);
        }
    }

    fn exit(&mut self, child: Key, again: bool) {
        let had = self.job_of(child);
        let departed = self.scheduler.exited(child, again, self.now);
        assert_eq!(departed.is_some(), self.alive.contains(&child));
        self.alive.retain(|key| *key != child);
        let Some(departed) = departed else { return };
        match (had, departed.job) {
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
        while let Some(child) = self.scheduler.assign() {
            let job = *self.scheduler.job(child).expect("assigned without a job");
            assert!(
                !self.closed && !self.stopped.contains(&child) && !self.doomed.contains(&child)
            );
            assert_eq!(self.queue.pop_front(), Some(job), "out of turn");
            assert_eq!(self.jobs[job], Whereabouts::Waiting);
            self.jobs[job] = Whereabouts::With(child);
        }
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
            assert_eq!(job.copied(), self.job_of(child));
        }
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
        self.jobs
            .iter()
            .position(|job| *job == Whereabouts::With(child))
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
