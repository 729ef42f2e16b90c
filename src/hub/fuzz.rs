//! The law of the timer wheel, for fuzzing and for `tests/timer_model.rs`: whatever is done to it, it
//! behaves like an ordered map.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Timer, TimerKey};
use crate::sys::clock;

/// One thing done to a wheel. Moments are nanoseconds, before or after the model's present.
#[derive(Clone, Copy, Debug)]
pub enum TimerOperation {
    /// A timer due `ahead` of now (or behind).
    Insert { ahead: i64, priority: u8 },
    /// Cancels the key that was given out at this position, modulo how many were.
    Cancel(usize),
    /// Time passes, or goes back.
    Advance(i64),
    /// Sleeps until the wheel's next deadline.
    Sleep,
    /// Takes out what is due.
    PopDue,
    /// Drops everything.
    Clear,
}

/// Bytes as operations: four a piece, with distances of every magnitude.
#[doc(hidden)]
pub fn fuzz_timer_wheel(data: &[u8]) {
    let operations = data.chunks_exact(4).map(|chunk| {
        let mantissa = i64::from(i16::from_le_bytes([chunk[2], chunk[3]]));
        let distance = mantissa << (chunk[1] % 48);
        match chunk[0] % 16 {
            0..6 => TimerOperation::Insert {
                ahead: distance,
                priority: chunk[0] / 16,
            },
            6..9 => TimerOperation::Cancel(usize::from(u16::from_le_bytes([chunk[2], chunk[3]]))),
            9..11 => TimerOperation::Advance(distance),
            11..13 => TimerOperation::Sleep,
            13..15 => TimerOperation::PopDue,
            _ => TimerOperation::Clear,
        }
    });
    check_timer(operations);
}

/// Does the operations to a wheel and to a model, and compares them after each.
///
/// # Panics
/// If a law is broken.
pub fn check_timer(operations: impl IntoIterator<Item = TimerOperation>) {
    let mut pair = Pair::new();
    for operation in operations {
        pair.perform(operation);
        pair.compare();
    }
    pair.run_dry();
}

/// What makes a timer's order: deadline, priority, age.
type Rank = (i64, u8, usize);

/// A wheel and its model. Timers are their numbers in order of insertion.
struct Pair {
    start: Instant,
    now: i64,
    wheel: Timer<usize>,
    model: BTreeMap<Rank, usize>,
    given_out: Vec<(TimerKey, Rank)>,
    cancelled: usize,
    woken_for_nothing: usize,
}

/// A year or so on either side keeps all sums in range; longer delays have a test of their own.
const RANGE: i64 = 1 << 55;

impl Pair {
    fn new() -> Self {
        let start = clock::now();
        Self {
            start,
            now: 0,
            wheel: Timer::new(start),
            model: BTreeMap::new(),
            given_out: Vec::new(),
            cancelled: 0,
            woken_for_nothing: 0,
        }
    }

    fn perform(&mut self, operation: TimerOperation) {
        match operation {
            TimerOperation::Insert { ahead, priority } => {
                // The wheel tells no moments apart that lie before its own start.
                let deadline = (self.now + ahead.clamp(-RANGE, RANGE)).max(0);
                let number = self.given_out.len();
                let key = self.wheel.insert(self.moment(deadline), priority, number);
                self.model.insert((deadline, priority, number), number);
                self.given_out.push((key, (deadline, priority, number)));
            }
            TimerOperation::Cancel(position) => {
                let Some(count) = self.given_out.len().checked_sub(1) else {
                    return;
                };
                let (key, rank) = self.given_out[position % (count + 1)];
                let expected = self.model.remove(&rank);
                assert_eq!(self.wheel.get(key), expected.as_ref());
                assert_eq!(self.wheel.cancel(key), expected, "cancel of {rank:?}");
                self.cancelled += usize::from(expected.is_some());
            }
            TimerOperation::Advance(by) => {
                self.now = (self.now + by.clamp(-RANGE, RANGE)).clamp(0, RANGE);
            }
            TimerOperation::Sleep => self.sleep(),
            TimerOperation::PopDue => drop(self.pop_due()),
            TimerOperation::Clear => {
                self.wheel.clear();
                self.model.clear();
            }
        }
    }

    /// Takes out of both what is due, one by one; returns how many that were.
    fn pop_due(&mut self) -> usize {
        let now = self.moment(self.now);
        for count in 0.. {
            let due = self
                .model
                .first_entry()
                .filter(|first| first.key().0 <= self.now);
            let expected = due.map(|first| first.remove());
            assert_eq!(self.wheel.pop_due(now), expected, "at {}", self.now);
            if expected.is_none() {
                return count;
            }
        }
        unreachable!()
    }

    /// What an event loop does. A wake-up for nothing needs a cancelled timer as its excuse.
    fn sleep(&mut self) {
        let Some(deadline) = self.wheel.next_deadline() else {
            return;
        };
        self.now = self
            .now
            .max(deadline.duration_since(self.start).as_nanos() as i64);
        if self.pop_due() == 0 {
            self.woken_for_nothing += 1;
        }
        assert!(
            self.woken_for_nothing <= self.cancelled,
            "the loop would spin"
        );
    }

    fn compare(&self) {
        assert_eq!(self.wheel.len(), self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
        let earliest = self
            .model
            .keys()
            .next()
            .map(|&(deadline, ..)| self.moment(deadline));
        match (self.wheel.next_deadline(), earliest) {
            (Some(wheel), Some(model)) if self.cancelled > 0 => assert!(wheel <= model),
            (wheel, model) => assert_eq!(wheel, model),
        }
    }

    /// Lists what is left, then sleeps from deadline to deadline until nothing is.
    fn run_dry(&mut self) {
        let mut listed: Vec<_> = self.wheel.iter().map(|(_, _, &number)| number).collect();
        let mut expected: Vec<_> = self.model.values().copied().collect();
        listed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(listed, expected);
        while !self.wheel.is_empty() {
            self.sleep();
        }
        assert!(self.model.is_empty());
    }

    fn moment(&self, nanoseconds: i64) -> Instant {
        self.start + Duration::from_nanos(nanoseconds as u64)
    }
}
