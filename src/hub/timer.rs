//! The hierarchical timer wheel: a queue of deadlines, as data.
//!
//! ```text
//!                 one tick = 2^20 ns, about a millisecond
//!  level 0   64 slots of    1 tick    the rest of the current 67 ms
//!  level 1   64 slots of   64 ticks   the rest of the current 4.3 s
//!  level 2   64 slots of 4096 ticks   the rest of the current 4.6 min
//!  ...                                8 levels reach 584 years, the whole range
//! ```
//!
//! An entry lies in the level of the highest 6-bit digit in which its tick differs from the cursor.
//! When the cursor reaches a slot, the slot's entries move down; whoever reaches the cursor moves
//! into `due`, a small ordered set. So insert and cancel are O(1), an entry moves at most eight
//! times in its life, and order within a tick costs only those who are due.
//!
//! Invariants:
//!
//! - `due` holds exactly the entries whose tick is at or before the cursor; a slot holds later ones.
//! - Within a level only slots after the cursor's own digit are occupied, and every entry of a lower
//!   level is earlier than every entry of a higher one. The next slot is therefore the lowest bit of
//!   the lowest non-empty bitmap.
//! - A slot's `earliest` is never later than its earliest entry.
//!
//! What it does not do: read a clock (`now` is an argument), call anything back, allocate per entry
//! (entries live in one slab and are linked through it), or keep a cancelled entry until its time.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use slab::Slab;

/// A tick is `2^TICK_BITS` nanoseconds: a millisecond that needs no division.
const TICK_BITS: u32 = 20;
/// A level is one digit of `DIGIT_BITS` bits of a tick number.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough digits for every tick of a 64-bit nanosecond: 44 bits.
const LEVELS: usize = 8;
/// The end of a list.
const NONE: u32 = u32::MAX;
/// The place of an entry that lies in `due` and in no slot.
const DUE: u16 = u16::MAX;

/// Names one timer: one entry of one [`Timer`], or one call of one [`Hub`](super::Hub).
///
/// A key is never reused: after its timer ran or was cancelled it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerKey {
    pub(super) sequence: u64,
    pub(super) index: u32,
}

/// A queue of values with deadlines: a hierarchical timer wheel, pure and generic.
///
/// Values come out by deadline, then by priority (lower first, as Celery's timer has it), then in
/// the order of insertion; never early, not even by a nanosecond. Insert and cancel are O(1).
///
/// ```
/// use std::time::{Duration, Instant};
/// # #[allow(clippy::disallowed_methods)]
/// # let start = Instant::now();
/// use celeriac::hub::Timer;
///
/// let mut limits = Timer::new(start);
/// let soft = limits.insert(start + Duration::from_secs(30), 0, "soft limit of job 7");
/// limits.insert(start + Duration::from_secs(60), 0, "hard limit of job 7");
/// assert_eq!(limits.next_deadline(), Some(start + Duration::from_secs(30)));
/// assert_eq!(limits.cancel(soft), Some("soft limit of job 7"));
/// assert_eq!(limits.pop_due(start + Duration::from_secs(59)), None);
/// assert_eq!(limits.pop_due(start + Duration::from_secs(60)), Some("hard limit of job 7"));
/// ```
pub struct Timer<T> {
    /// Time zero of this wheel; deadlines are stored as nanoseconds since.
    base: Instant,
    /// The tick up to which the wheel has turned.
    cursor: u64,
    entries: Slab<Entry<T>>,
    /// One bit per slot and level: set while the slot has an entry.
    occupied: [u64; LEVELS],
    slots: Box<[[Slot; SLOTS]; LEVELS]>,
    /// What lies at or before the cursor, in the order in which it runs.
    due: BTreeSet<Due>,
    next_sequence: u64,
}

/// One timer, linked into its slot's list. The list has no order: `due` sorts.
struct Entry<T> {
    deadline: u64,
    sequence: u64,
    previous: u32,
    next: u32,
    /// `level * SLOTS + slot`, or [`DUE`].
    place: u16,
    priority: u8,
    value: T,
}

/// The head of one slot's list.
#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    /// A lower bound of the deadlines in this slot: exact until its earliest entry is cancelled.
    earliest: u64,
}

const EMPTY: Slot = Slot {
    head: NONE,
    earliest: u64::MAX,
};

/// The order in which due timers run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    deadline: u64,
    priority: u8,
    sequence: u64,
    index: u32,
}

impl<T> Timer<T> {
    /// An empty wheel. `now` is the earliest moment it tells apart: a deadline before it counts as
    /// `now`, and one more than 584 years later as that far.
    pub fn new(now: Instant) -> Self {
        Self {
            base: now,
            cursor: 0,
            entries: Slab::new(),
            occupied: [0; LEVELS],
            slots: Box::new([[EMPTY; SLOTS]; LEVELS]),
            due: BTreeSet::new(),
            next_sequence: 0,
        }
    }

    /// Adds a value that is due at `deadline`; a deadline in the past is due at once.
    /// Among values of one deadline, a lower `priority` comes out first.
    ///
    /// # Panics
    /// At 2^32 timers at once, more than memory holds.
    #[inline]
    pub fn insert(&mut self, deadline: Instant, priority: u8, value: T) -> TimerKey {
        let deadline = self.nanoseconds(deadline);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let index = u32::try_from(self.entries.vacant_key()).expect("fewer than 2^32 timers");
        let (place, next) = self.enter(deadline, index);
        if place == DUE {
            self.due.insert(Due {
                deadline,
                priority,
                sequence,
                index,
            });
        }
        let previous = NONE;
        self.entries.insert(Entry {
            deadline,
            sequence,
            previous,
            next,
            place,
            priority,
            value,
        });
        TimerKey { sequence, index }
    }

    /// Takes a timer out and returns its value; `None` if it has come out already.
    #[inline]
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.sequence != key.sequence {
            return None;
        }
        let entry = self.entries.remove(key.index as usize);
        if entry.place == DUE {
            let Entry {
                deadline,
                sequence,
                priority,
                ..
            } = entry;
            self.due.remove(&Due {
                deadline,
                priority,
                sequence,
                index: key.index,
            });
        } else {
            self.unlink(&entry);
        }
        Some(entry.value)
    }

    /// The next value whose deadline is at or before `now`. Call it until it returns `None`.
    ///
    /// `now` may stand still and even go back between calls: nothing comes out early or twice.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        let now = self.nanoseconds(now);
        self.turn_to(now >> TICK_BITS);
        let first = self.due.first()?;
        if first.deadline > now {
            return None;
        }
        let first = self.due.pop_first()?;
        Some(self.entries.remove(first.index as usize).value)
    }

    /// When to call [`pop_due`](Self::pop_due) next; `None` if the wheel is empty.
    ///
    /// It is the earliest deadline, with one exception: after that timer was cancelled it may still
    /// be that timer's. A loop that sleeps until this moment and then calls `pop_due` never spins: it
    /// wakes for nothing at most once per cancelled timer, and never if none was cancelled.
    pub fn next_deadline(&self) -> Option<Instant> {
        let nanoseconds = match self.due.first() {
            Some(first) => first.deadline,
            None => {
                let (level, slot) = self.next_slot()?;
                self.slots[level][slot].earliest
            }
        };
        Some(self.base + Duration::from_nanos(nanoseconds))
    }

    /// The value of a timer that has not come out yet.
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        (entry.sequence == key.sequence).then_some(&entry.value)
    }

    /// Everything that waits, in no particular order: deadline, priority and value.
    /// (`celery inspect scheduled` is such a listing.)
    pub fn iter(&self) -> impl Iterator<Item = (Instant, u8, &T)> {
        self.entries.iter().map(|(_, entry)| {
            let deadline = self.base + Duration::from_nanos(entry.deadline);
            (deadline, entry.priority, &entry.value)
        })
    }

    /// How many timers wait, due ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops everything that waits. Keys given out before name nothing afterwards.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.occupied = [0; LEVELS];
        self.slots.fill([EMPTY; SLOTS]);
        self.due.clear();
    }

    fn nanoseconds(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.base);
        since
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(since.subsec_nanos().into())
    }

    /// Finds the place of an entry and makes it the head of the list there: (place, next).
    #[inline]
    fn enter(&mut self, deadline: u64, index: u32) -> (u16, u32) {
        let tick = deadline >> TICK_BITS;
        if tick <= self.cursor {
            return (DUE, NONE);
        }
        let level = ((tick ^ self.cursor).ilog2() / DIGIT_BITS) as usize;
        let slot = (tick >> (level as u32 * DIGIT_BITS)) as usize % SLOTS;
        self.occupied[level] |= 1 << slot;
        let list = &mut self.slots[level][slot];
        list.earliest = list.earliest.min(deadline);
        let next = std::mem::replace(&mut list.head, index);
        if let Some(neighbour) = self.entries.get_mut(next as usize) {
            neighbour.previous = index;
        }
        ((level * SLOTS + slot) as u16, next)
    }

    /// Closes the gap that `entry`, taken out of a slot, left in its list.
    #[inline]
    fn unlink(&mut self, entry: &Entry<T>) {
        if let Some(next) = self.entries.get_mut(entry.next as usize) {
            next.previous = entry.previous;
        }
        if let Some(previous) = self.entries.get_mut(entry.previous as usize) {
            previous.next = entry.next;
            return;
        }
        let (level, slot) = (
            usize::from(entry.place) / SLOTS,
            usize::from(entry.place) % SLOTS,
        );
        self.slots[level][slot].head = entry.next;
        if entry.next == NONE {
            self.vacate(level, slot);
        }
    }

    /// Moves the cursor to `tick`, and everything it passes into `due`. Never turns back.
    fn turn_to(&mut self, tick: u64) {
        if tick <= self.cursor {
            return;
        }
        while let Some((level, slot)) = self.next_slot() {
            let start = self.start(level, slot);
            if start > tick {
                break;
            }
            // Everybody in the slot now differs from the cursor in a lower digit only, or not at all.
            self.cursor = start;
            let mut index = self.slots[level][slot].head;
            self.vacate(level, slot);
            while index != NONE {
                index = self.move_down(index);
            }
        }
        self.cursor = tick;
    }

    /// Puts an entry of a vacated slot where it belongs now; returns the next of the old list.
    fn move_down(&mut self, index: u32) -> u32 {
        let Entry {
            deadline,
            sequence,
            priority,
            next: follower,
            ..
        } = self.entries[index as usize];
        let (place, next) = self.enter(deadline, index);
        if place == DUE {
            self.due.insert(Due {
                deadline,
                priority,
                sequence,
                index,
            });
        }
        let entry = &mut self.entries[index as usize];
        (entry.place, entry.previous, entry.next) = (place, NONE, next);
        follower
    }

    /// The earliest slot with an entry: (level, slot).
    fn next_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of an occupied slot: the cursor's digits above the level, and the slot's own.
    fn start(&self, level: usize, slot: usize) -> u64 {
        let shift = level as u32 * DIGIT_BITS;
        let above = self.cursor >> (shift + DIGIT_BITS) << DIGIT_BITS;
        (above | slot as u64) << shift
    }

    fn vacate(&mut self, level: usize, slot: usize) {
        self.slots[level][slot] = EMPTY;
        self.occupied[level] &= !(1 << slot);
    }
}

impl<T> fmt::Debug for Timer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("len", &self.len())
            .field("due", &self.due.len())
            .field("next_deadline", &self.next_deadline())
            .finish()
    }
}
