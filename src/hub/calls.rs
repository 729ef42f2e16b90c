//! Functions to call: soon, at a deadline, at a moment of the wall clock, again and again, or before
//! every wait. One table holds them all, so one kind of key cancels them all.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime};

use super::wall::{Wall, WallKey};
use super::{Hub, Key, TIMERS_PER_TURN, Timer, TimerKey};
use crate::sys::clock;
use crate::util::slots::Slots;
use crate::util::span::CENTURY;

type Callback<C> = Box<dyn FnMut(&mut C, &mut Hub<C>)>;

/// The shortest period of a repeated call.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// Every function that waits to be called, and the queues it waits in.
pub(super) struct Calls<C> {
    table: Slots<Call<C>>,
    soon: VecDeque<Key>,
    wheel: Timer<Key>,
    wall: Wall<Key>,
    before_poll: Vec<Key>,
}

struct Call<C> {
    /// Taken out while it runs.
    run: Option<Callback<C>>,
    when: When,
}

/// When a call is due, and where it waits.
#[derive(Clone, Copy)]
enum When {
    Soon,
    Deadline(TimerKey),
    Wall(WallKey),
    Beat {
        period: Duration,
        beat: Instant,
        timer: TimerKey,
    },
    BeforePoll,
}

impl<C> Hub<C> {
    /// Calls `f` in this turn, after timers; or in the next one, if those calls have begun. In order.
    pub fn call_soon(&mut self, f: impl FnOnce(&mut C, &mut Self) + 'static) -> TimerKey {
        let key = self.calls.insert(once(f), |_, _| When::Soon);
        self.calls.soon.push_back(key);
        timer_key(key)
    }

    /// Calls `f` when `delay` has passed, counted from now (not from the start of the turn).
    pub fn call_after(
        &mut self,
        delay: Duration,
        f: impl FnOnce(&mut C, &mut Self) + 'static,
    ) -> TimerKey {
        self.call_at_deadline(after(clock::now(), delay), 0, f)
    }

    /// Calls `f` at `deadline` of the monotonic clock; at once if that has passed. Of calls with one
    /// deadline, a lower `priority` comes first.
    pub fn call_at_deadline(
        &mut self,
        deadline: Instant,
        priority: u8,
        f: impl FnOnce(&mut C, &mut Self) + 'static,
    ) -> TimerKey {
        let enter =
            |calls: &mut Calls<C>, key| When::Deadline(calls.wheel.insert(deadline, priority, key));
        timer_key(self.calls.insert(once(f), enter))
    }

    /// Calls `f` when the wall clock says `when`; at once if it is later already.
    ///
    /// It follows the clock when somebody sets it, back or forth, within a second. The Hub looks once
    /// a second for this while such a call waits (and only then).
    pub fn call_at(
        &mut self,
        when: SystemTime,
        f: impl FnOnce(&mut C, &mut Self) + 'static,
    ) -> TimerKey {
        timer_key(self.calls.insert(once(f), |calls, key| {
            When::Wall(calls.wall.insert(when, key))
        }))
    }

    /// Calls `f` every `period` (at least a millisecond), for the first time after one period.
    ///
    /// It keeps its phase: the beats are multiples of the period from now, however late a call was.
    /// Beats that are missed altogether, because something took long or the machine slept, are
    /// skipped, not made up for.
    pub fn call_repeatedly(
        &mut self,
        period: Duration,
        f: impl FnMut(&mut C, &mut Self) + 'static,
    ) -> TimerKey {
        let period = period.max(SHORTEST_PERIOD);
        let beat = after(clock::now(), period);
        let enter = |calls: &mut Calls<C>, key| {
            let timer = calls.wheel.insert(beat, 0, key);
            When::Beat {
                period,
                beat,
                timer,
            }
        };
        timer_key(self.calls.insert(Box::new(f), enter))
    }

    /// Calls `f` once per turn, before the wait in the kernel: the place to flush what the handlers of
    /// the turn have buffered, with one write instead of many. In order of registration.
    pub fn before_poll(&mut self, f: impl FnMut(&mut C, &mut Self) + 'static) -> TimerKey {
        let key = self.calls.insert(Box::new(f), |_, _| When::BeforePoll);
        self.calls.before_poll.push(key);
        timer_key(key)
    }

    /// Cancels a call of any kind. `false` if it ran already (or runs now, for the only time).
    /// A repeated call may cancel itself.
    pub fn cancel(&mut self, key: TimerKey) -> bool {
        self.calls.remove(call_key(key))
    }

    pub(super) fn run_before_poll(&mut self, cx: &mut C) {
        let mut index = 0;
        // By index: a hook may add and cancel hooks.
        while let Some(&key) = self.calls.before_poll.get(index) {
            self.run_call(cx, key);
            index += usize::from(self.calls.before_poll.get(index) == Some(&key));
        }
    }

    /// Runs timers that are due, the wall clock's first; at most [`TIMERS_PER_TURN`] of them.
    pub(super) fn run_timers(&mut self, cx: &mut C) -> usize {
        if self.calls.wheel.is_empty() && self.calls.wall.is_empty() {
            return 0;
        }
        let now = self.now();
        let wall = (!self.calls.wall.is_empty()).then(self.wall);
        for called in 0..TIMERS_PER_TURN {
            let due = wall.and_then(|wall| self.calls.wall.pop_due(wall));
            let Some(key) = due.or_else(|| self.calls.wheel.pop_due(now)) else {
                return called;
            };
            self.run_call(cx, key);
        }
        TIMERS_PER_TURN
    }

    /// Runs what waited for this part of the turn when it began.
    pub(super) fn run_soon(&mut self, cx: &mut C) -> usize {
        let mut called = 0;
        for _ in 0..self.calls.soon.len() {
            let Some(key) = self.calls.soon.pop_front() else {
                break;
            };
            called += usize::from(self.run_call(cx, key));
        }
        called
    }

    /// Calls one function, out of its place in the table while it runs. `false` if it was cancelled.
    fn run_call(&mut self, cx: &mut C, key: Key) -> bool {
        let Some(mut run) = self.calls.begin(key) else {
            return false;
        };
        match catch_unwind(AssertUnwindSafe(|| run(cx, self))) {
            Ok(()) => self.calls.end(key, run),
            Err(panic) => {
                self.calls.remove(key);
                resume_unwind(panic);
            }
        }
        true
    }
}

impl<C> Calls<C> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            table: Slots::new(),
            soon: VecDeque::new(),
            wheel: Timer::new(now),
            wall: Wall::new(),
            before_poll: Vec::new(),
        }
    }

    /// When the next call is due, or when to look at the wall clock again.
    pub(super) fn next_deadline(&self, wall: fn() -> SystemTime) -> Option<Instant> {
        if !self.soon.is_empty() {
            return Some(clock::now());
        }
        let timer = self.wheel.next_deadline();
        if self.wall.is_empty() {
            return timer;
        }
        let look = self.wall.wait(wall()).map(|wait| clock::now() + wait);
        timer.into_iter().chain(look).min()
    }

    /// How many calls wait; hooks count.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether only hooks are left.
    pub(super) fn is_empty(&self) -> bool {
        self.table.len() == self.before_poll.len()
    }

    fn insert(&mut self, run: Callback<C>, enter: impl FnOnce(&mut Self, Key) -> When) -> Key {
        let key = self.table.insert(Call {
            run: Some(run),
            when: When::Soon,
        });
        let when = enter(self, key);
        if let Some(call) = self.table.get_mut(key) {
            call.when = when;
        }
        key
    }

    fn remove(&mut self, key: Key) -> bool {
        let Some(call) = self.table.remove(key) else {
            return false;
        };
        match call.when {
            When::Soon => self.soon.retain(|&other| other != key),
            When::Deadline(timer) | When::Beat { timer, .. } => drop(self.wheel.cancel(timer)),
            When::Wall(moment) => drop(self.wall.remove(moment)),
            When::BeforePoll => self.before_poll.retain(|&other| other != key),
        }
        true
    }

    /// Takes a function out of the table; one that runs only once leaves it for good.
    fn begin(&mut self, key: Key) -> Option<Callback<C>> {
        let call = self.table.get_mut(key)?;
        let run = call.run.take()?;
        if matches!(call.when, When::Soon | When::Deadline(_) | When::Wall(_)) {
            self.table.remove(key);
        }
        Some(run)
    }

    /// Puts a function that runs again back, unless it was cancelled meanwhile.
    fn end(&mut self, key: Key, run: Callback<C>) {
        let Some(call) = self.table.get_mut(key) else {
            return;
        };
        call.run = Some(run);
        if let When::Beat {
            period,
            beat,
            timer,
        } = &mut call.when
        {
            *beat = next_beat(*beat, *period, clock::now());
            *timer = self.wheel.insert(*beat, 0, key);
        }
    }
}

/// The first beat after `now`.
fn next_beat(beat: Instant, period: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(beat).as_nanos();
    let missed = u32::try_from(late / period.as_nanos()).unwrap_or(u32::MAX);
    after(beat, period.saturating_mul(missed.saturating_add(1)))
}

/// `now + delay`, where a delay that no clock can express means a century.
fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or(now + CENTURY)
}

/// A function that runs once, in the shape of one that may run again.
fn once<C>(f: impl FnOnce(&mut C, &mut Hub<C>) + 'static) -> Callback<C> {
    let mut f = Some(f);
    Box::new(move |cx, hub| {
        if let Some(f) = f.take() {
            f(cx, hub);
        }
    })
}

/// The public name of a call.
fn timer_key(key: Key) -> TimerKey {
    let bits = u64::from(key);
    TimerKey {
        sequence: bits >> 32,
        index: bits as u32,
    }
}

fn call_key(key: TimerKey) -> Key {
    Key::from(key.sequence << 32 | u64::from(key.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_call_keeps_its_phase_and_skips_the_beats_it_missed() {
        let (start, second) = (clock::now(), Duration::from_secs(1));
        let next = |late: Duration| next_beat(start, second, start + late) - start;
        assert_eq!(next(Duration::ZERO), second);
        assert_eq!(next(second / 2), second, "late, and in step again");
        assert_eq!(
            next(second),
            second * 2,
            "the beat of this moment is missed"
        );
        assert_eq!(next(second * 5 / 2), second * 3);
        assert_eq!(
            next(second * 86_400),
            second * 86_401,
            "a night's sleep is one beat"
        );
    }

    #[test]
    fn no_period_and_no_delay_is_too_long() {
        let now = clock::now();
        for long in [Duration::MAX, Duration::from_secs(u64::MAX / 4)] {
            assert!(next_beat(now, long, now) > now);
            assert!(after(now, long) > now + Duration::from_secs(3600));
        }
    }
}
