//! Jobs that a child has in its pipe before it has answered for the one it runs.
//!
//! Between two very short jobs a child would mostly wait: for main to wake up and read its answer, and then for
//! itself to wake up. So a child whose last job was [`SHORT`] is given a few more ahead. Nobody waits longer for that:
//! a job that is ahead of a child can be taken back out of its pipe until the child has read it, and is
//!
//! - as soon as another child is idle and no other job waits ([`Scheduler::overburdened`]),
//! - as soon as the child's current job has turned out not to be short ([`Scheduler::stuck_at`]),
//! - and whenever it is cancelled, or the child is told to go.
//!
//! A job taken back waits ahead of all that wait, as if it had never been given out.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Pool;
use super::child::{Child, Running};
use super::event::Finish;
use super::member::{Member, State};
use super::scheduler::{Phase, Scheduler};
use crate::sys::pipe::PACKET;
use crate::util::slots::Key;

/// A job as short as this is worth giving the child another one ahead.
pub(super) const SHORT: Duration = Duration::from_millis(5);

/// How many jobs a child may have ahead. Their records lie in the pipe, a page each; it has 16.
pub(super) const MOST: usize = 4;

impl<P, J> Scheduler<P, J> {
    /// Gives the oldest waiting job ahead to a child whose current one may yet be short; the caller writes it. Only
    /// `small` jobs, behind small ones, can be taken back, and only from a child that `gives_back`.
    pub fn assign_ahead(
        &mut self,
        now: Instant,
        gives_back: impl Fn(&P) -> bool,
        small: impl Fn(&J) -> bool,
    ) -> Option<Key> {
        if self.waiting.front().is_none_or(|job| !small(job)) {
            return None;
        }
        while let Some(child) = self.roomy.pop_front() {
            let Some(member) = self.children.get_mut(child) else {
                continue;
            };
            member.listed = false;
            let fits = now.saturating_duration_since(member.since) <= SHORT
                && gives_back(&member.process)
                && matches!(&member.state, State::Busy(job) if small(job));
            if fits && self.has_room(child) {
                let job = self.waiting.pop_front()?;
                self.children.get_mut(child)?.ahead.push_back(job);
                self.ahead += 1;
                self.enlist(child);
                return Some(child);
            }
        }
        None
    }

    /// The child, if it can have one more job ahead, waits for one.
    pub(super) fn enlist(&mut self, child: Key) {
        if self.has_room(child)
            && let Some(member) = self.children.get_mut(child)
            && !member.listed
        {
            member.listed = true;
            self.roomy.push_back(child);
        }
    }

    fn has_room(&self, child: Key) -> bool {
        let Some(member) = self.children.get(child) else {
            return false;
        };
        let has = member.ahead.len();
        let most = self
            .policy
            .max_tasks_per_child
            .map_or(u32::MAX, NonZeroU32::get);
        let planned = member.completed.saturating_add(has as u32 + 1);
        self.phase == Phase::Running
            && matches!(member.state, State::Busy(_))
            && member.swift
            && has < MOST
            && member.counted
            && self.counted <= self.policy.target
            && planned < most.min(member.share)
    }

    /// A child that has jobs ahead while another is idle and none waits: the one with the most.
    pub fn overburdened(&self) -> Option<Key> {
        let none = self.ahead == 0 || self.idle.is_empty() || self.busy >= self.policy.target;
        if none || !self.waiting.is_empty() {
            return None;
        }
        let children = self
            .children
            .iter()
            .filter(|(_, member)| !member.ahead.is_empty());
        children
            .max_by_key(|(_, member)| member.ahead.len())
            .map(|(key, _)| key)
    }

    /// When the current job of a child that has others ahead is no longer short.
    pub fn stuck_at(&self, child: Key) -> Option<Instant> {
        let member = self.children.get(child)?;
        (!member.ahead.is_empty()).then(|| member.since + SHORT)
    }

    /// Those of the child's jobs that are `unread` wait again, in order, before all others; when the scheduler is closed,
    /// they come back. The child is given none ahead until it has done another short one.
    ///
    /// They need not be its last ones: it may read one while others before and behind it are taken back.
    pub fn take_back(&mut self, child: Key, unread: impl Fn(&J) -> bool) -> Vec<J> {
        let Some(member) = self.children.get_mut(child) else {
            return Vec::new();
        };
        member.swift = false;
        let ahead = std::mem::take(&mut member.ahead);
        let had = ahead.len();
        let (mut taken, mut kept): (VecDeque<J>, VecDeque<J>) =
            ahead.into_iter().partition(&unread);
        if matches!(&member.state, State::Busy(job) if unread(job)) {
            let current = match kept.pop_front() {
                Some(next) => std::mem::replace(&mut member.state, State::Busy(next)).job(),
                None => self.rest(child),
            };
            current.into_iter().for_each(|job| taken.push_front(job));
        }
        self.ahead = self.ahead + kept.len() - had;
        if let Some(member) = self.children.get_mut(child) {
            member.ahead = kept;
        }
        if self.phase == Phase::Running {
            for job in taken.drain(..).rev() {
                self.waiting.push_front(job);
            }
        }
        taken.into()
    }

    /// A child with the jobs it has, in the order in which it runs them, to be worked on together.
    pub fn process_and_jobs_mut(
        &mut self,
        child: Key,
    ) -> Option<(&mut P, impl Iterator<Item = &mut J>)> {
        let member = self.children.get_mut(child)?;
        let current = match &mut member.state {
            State::Busy(job) => Some(job),
            _ => None,
        };
        Some((
            &mut member.process,
            current.into_iter().chain(&mut member.ahead),
        ))
    }

    /// The child that has a job that satisfies `is_it`, as its current one or ahead.
    pub fn holder(&self, is_it: impl Fn(&J) -> bool) -> Option<Key> {
        let has = |(key, member): &(Key, &Member<P, J>)| {
            self.job(*key).is_some_and(&is_it) || member.ahead.iter().any(&is_it)
        };
        self.children.iter().find(has).map(|(key, _)| key)
    }

    /// The jobs a child has ahead.
    pub fn jobs_ahead(&self, child: Key) -> impl DoubleEndedIterator<Item = &J> {
        self.children
            .get(child)
            .into_iter()
            .flat_map(|member| &member.ahead)
    }

    /// How many jobs children have ahead, in all.
    pub fn ahead(&self) -> usize {
        self.ahead
    }
}

impl Pool {
    /// How many octets of the child's pipe belong to jobs ahead.
    pub(super) fn octets_ahead(&self, child: Key) -> usize {
        self.scheduler.jobs_ahead(child).map(Running::sent).sum()
    }

    /// No child has a job ahead any more that can be taken back.
    pub(super) fn take_all_back(&mut self, now: Instant) {
        if self.scheduler.ahead() > 0 {
            for child in self.keys() {
                self.take_back(child, now);
            }
        }
    }

    /// Takes back what the child has ahead of whose current job has turned out not to be short.
    pub(super) fn check_ahead(&mut self, child: Key, now: Instant) {
        match self.scheduler.stuck_at(child) {
            Some(stuck) if stuck > now => self.check_by(stuck),
            Some(_) => drop(self.take_back(child, now)),
            None => {}
        }
    }

    /// Gives out ahead what no child is idle for, and takes back what a child is idle for now.
    pub(super) fn advance_ahead(&mut self, now: Instant) {
        while let Some(child) =
            self.scheduler
                .assign_ahead(now, Child::gives_back, Running::is_a_packet)
        {
            self.write_new_job(child, now);
            if let Some(stuck) = self.scheduler.stuck_at(child) {
                self.check_by(stuck);
            }
        }
        while let Some(child) = self.scheduler.overburdened()
            && self.take_back(child, now)
        {
            while let Some(child) = self.scheduler.assign(now) {
                self.give_job(child, now);
            }
        }
    }

    /// Takes out of the child's pipe what it has not read. Says whether that was anything.
    pub(super) fn take_back(&mut self, child: Key, now: Instant) -> bool {
        if self.scheduler.jobs_ahead(child).next().is_none() {
            return false;
        }
        let current = self.current(child);
        let Some((process, jobs)) = self.scheduler.process_and_jobs_mut(child) else {
            return false;
        };
        let mut jobs: Vec<&mut Running> = jobs.collect();
        let mut packet = [0; PACKET];
        while let Some(record) = process.take_packet(&mut packet) {
            let job = jobs.iter_mut().find(|job| job.record() == record);
            job.into_iter().for_each(|job| job.rewind());
        }
        let unread = jobs.iter().filter(|job| !job.is_sent()).count();
        for job in self.scheduler.take_back(child, |job| !job.is_sent()) {
            self.finish(job.key, Finish::NotStarted);
        }
        match self.current(child) {
            Some(job) if Some(job) != current => self.job_is_current(child, now),
            Some(_) => {}
            None => self.has_no_deadline(child),
        }
        unread > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::scheduler::Policy;
    use super::*;
    use crate::sys::clock;

    /// Children with jobs of their own, and jobs 0, 1, 2, … that wait.
    fn scheduler(children: usize, jobs: u32, now: Instant) -> (Scheduler<(), u32>, Vec<Key>) {
        let mut scheduler = Scheduler::new(Policy {
            target: children,
            max_tasks_per_child: None,
        });
        let children: Vec<Key> = (0..children).map(|_| scheduler.add((), now)).collect();
        for child in &children {
            assert!(scheduler.up(*child));
        }
        (0..jobs).for_each(|job| scheduler.submit(job).unwrap());
        (scheduler, children)
    }

    fn deal(scheduler: &mut Scheduler<(), u32>, now: Instant) {
        while scheduler.assign(now).is_some() {}
        while scheduler.assign_ahead(now, |()| true, |_| true).is_some() {}
    }

    fn ahead(scheduler: &Scheduler<(), u32>, child: Key) -> Vec<u32> {
        scheduler.jobs_ahead(child).copied().collect()
    }

    #[test]
    fn only_after_a_short_job_has_a_child_some_ahead() {
        let now = clock::now();
        let (mut scheduler, children) = scheduler(1, 20, now);
        let child = children[0];
        deal(&mut scheduler, now);
        assert_eq!(
            ahead(&scheduler, child),
            [0; 0],
            "nothing is known of it yet"
        );
        scheduler.done(child, |job| *job == 0, now + SHORT).unwrap();
        deal(&mut scheduler, now + SHORT);
        assert_eq!(ahead(&scheduler, child), [2, 3, 4, 5]);
        let late = now + 3 * SHORT;
        scheduler.done(child, |job| *job == 1, late).unwrap();
        assert_eq!(scheduler.job(child), Some(&2));
        deal(&mut scheduler, late);
        assert_eq!(ahead(&scheduler, child), [3, 4, 5], "no more of them");
    }

    #[test]
    fn a_large_job_is_not_given_ahead_and_nothing_behind_it() {
        let now = clock::now();
        let (mut scheduler, children) = scheduler(1, 3, now);
        deal(&mut scheduler, now);
        scheduler.done(children[0], |job| *job == 0, now).unwrap();
        scheduler.assign(now).unwrap();
        assert_eq!(
            scheduler.assign_ahead(now, |()| true, |job| *job != 2),
            None
        );
        assert_eq!(
            scheduler.assign_ahead(now, |()| true, |job| *job != 1),
            None
        );
        assert_eq!(scheduler.waiting(), 1);
    }

    #[test]
    fn an_idle_child_is_given_what_another_has_ahead() {
        let now = clock::now();
        let (mut scheduler, children) = scheduler(2, 6, now);
        deal(&mut scheduler, now);
        let [b, a] = children[..] else { unreachable!() };
        assert_eq!(scheduler.job(a), Some(&0));
        scheduler.done(a, |job| *job == 0, now).unwrap();
        deal(&mut scheduler, now);
        assert_eq!(ahead(&scheduler, a), [3, 4, 5]);
        assert_eq!(scheduler.overburdened(), None, "nobody is idle");
        scheduler.done(b, |job| *job == 1, now).unwrap();
        assert_eq!(scheduler.overburdened(), Some(a));
        assert!(scheduler.take_back(a, |job| *job > 2).is_empty());
        deal(&mut scheduler, now);
        assert_eq!(
            (scheduler.job(b), ahead(&scheduler, b)),
            (Some(&3), vec![4, 5])
        );
    }

    /// The child reads while main does: what is left to it need not be what came first.
    #[test]
    fn what_is_taken_back_waits_in_order_and_the_child_runs_the_rest() {
        let now = clock::now();
        let (mut scheduler, children) = scheduler(1, 7, now);
        let child = children[0];
        deal(&mut scheduler, now);
        scheduler.done(child, |job| *job == 0, now).unwrap();
        deal(&mut scheduler, now);
        assert!(scheduler.take_back(child, |job| job % 2 == 1).is_empty());
        assert_eq!(
            (scheduler.job(child), ahead(&scheduler, child)),
            (Some(&2), vec![4])
        );
        scheduler.done(child, |job| *job == 2, now).unwrap();
        scheduler.done(child, |job| *job == 4, now).unwrap();
        let rest: Vec<u32> = scheduler.close().into();
        assert_eq!(rest, [1, 3, 5, 6]);
    }
}
