//! The notes that a clerk has not answered: their order, which of them may be dropped, and how often they are tried.
//!
//! Pure: no process, no clock. What holds, and is tested beside this file:
//!
//! - notes are written and answered in the order in which they came;
//! - each one that was taken in is answered once or fails once;
//! - one that a result depends on is never dropped, and a clerk that dies over it is not the end of it: the next one
//!   is told again;
//! - those that may be dropped never take more than [`PASSING_LIMIT`] octets.

use std::collections::VecDeque;

/// Octets of [passing](Weight::Passing) notes that may wait. What comes then is dropped.
pub(super) const PASSING_LIMIT: usize = 4 << 20;

/// How many other notes may wait before the owner should hold back.
pub(super) const LONG: usize = 1000;

/// What depends on a note.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weight {
    /// The result of a task: it is tried again if the clerk dies over it. To store a result twice does no harm.
    Result,
    /// Something that is to be done once.
    Once,
    /// Nothing but the app's curiosity: dropped when too many wait.
    Passing,
}

/// How often a note is tried.
const TRIES: u8 = 2;

#[derive(Debug)]
struct Letter {
    number: u64,
    record: Vec<u8>,
    weight: Weight,
    /// How often a clerk has died over it.
    tried: u8,
}

/// Notes without an answer; see the [module page](self).
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Oldest first.
    letters: VecDeque<Letter>,
    /// How many of them were written whole.
    written: usize,
    /// How many octets of the next were written.
    sent: usize,
    next: u64,
    /// Octets of those that are passing.
    passing: usize,
    /// How many are not passing.
    kept: usize,
    dropped: u64,
}

impl Notes {
    /// The number of the note to come.
    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Takes a note in. False when it is dropped instead.
    pub(super) fn push(&mut self, number: u64, weight: Weight, record: Vec<u8>) -> bool {
        if weight == Weight::Passing {
            if self.passing + record.len() > PASSING_LIMIT {
                self.dropped += 1;
                return false;
            }
            self.passing += record.len();
        } else {
            self.kept += 1;
        }
        self.letters.push_back(Letter {
            number,
            record,
            weight,
            tried: 0,
        });
        true
    }

    /// What is to be written next.
    pub(super) fn unsent(&self) -> Option<&[u8]> {
        let letter = self.letters.get(self.written)?;
        letter.record.get(self.sent..)
    }

    /// So much of it was written.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.unsent().is_some_and(<[u8]>::is_empty) {
            (self.written, self.sent) = (self.written + 1, 0);
        }
    }

    /// A note was answered. False when that is not the one whose turn it is.
    pub(super) fn answered(&mut self, number: u64) -> bool {
        let turn = self.letters.front().map(|letter| letter.number);
        if self.written == 0 || turn != Some(number) {
            return false;
        }
        self.written -= 1;
        self.pop();
        true
    }

    /// The clerk is gone. Gives the note that it took along, if `reached`: it had begun to read.
    pub(super) fn lost(&mut self, reached: bool) -> Option<u64> {
        let was_at_one = reached && self.written > 0;
        (self.written, self.sent) = (0, 0);
        let letter = self.letters.front_mut().filter(|_| was_at_one)?;
        letter.tried += 1;
        if letter.weight == Weight::Result && letter.tried < TRIES {
            return None;
        }
        self.pop()
    }

    /// Gives up the oldest.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let letter = self.letters.pop_front()?;
        match letter.weight {
            Weight::Passing => self.passing -= letter.record.len(),
            Weight::Result | Weight::Once => self.kept -= 1,
        }
        Some(letter.number)
    }

    /// Whether every note was answered.
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many were not answered.
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether so many wait that no more should be made.
    pub(super) fn is_long(&self) -> bool {
        self.kept > LONG
    }

    /// How many were dropped since this was asked last.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Random;

    fn note(notes: &mut Notes, weight: Weight, size: usize) -> Option<u64> {
        let number = notes.next_number();
        notes.push(number, weight, vec![0; size]).then_some(number)
    }

    /// Writes everything, by `step` octets.
    fn write(notes: &mut Notes, step: usize) {
        while let Some(rest) = notes.unsent() {
            let count = rest.len().min(step);
            notes.sent(count);
        }
    }

    #[test]
    fn a_result_is_tried_again_and_other_notes_are_not() {
        let mut notes = Notes::default();
        let result = note(&mut notes, Weight::Result, 10).unwrap();
        let once = note(&mut notes, Weight::Once, 10).unwrap();
        write(&mut notes, 3);
        assert_eq!(notes.lost(false), None, "nobody had read it");
        write(&mut notes, 30);
        assert_eq!(notes.lost(true), None, "the next clerk is told again");
        write(&mut notes, 7);
        assert_eq!(notes.lost(true), Some(result), "twice is enough");
        write(&mut notes, 7);
        assert_eq!(notes.lost(true), Some(once));
        assert!(notes.is_empty());
    }

    #[test]
    fn only_passing_notes_are_dropped() {
        let mut notes = Notes::default();
        let quarter = PASSING_LIMIT / 4;
        let taken = (0..10).filter_map(|_| note(&mut notes, Weight::Passing, quarter));
        assert_eq!(taken.count(), 4);
        assert_eq!((notes.take_dropped(), notes.take_dropped()), (6, 0));
        for _ in 0..=LONG {
            assert!(!notes.is_long());
            assert!(note(&mut notes, Weight::Result, quarter / 1000).is_some());
        }
        assert!(notes.is_long());
        write(&mut notes, usize::MAX);
        assert!(notes.answered(0));
        assert!(note(&mut notes, Weight::Passing, quarter).is_some());
    }

    #[test]
    fn an_answer_out_of_turn_is_none() {
        let mut notes = Notes::default();
        let (first, second) = (
            note(&mut notes, Weight::Once, 5).unwrap(),
            note(&mut notes, Weight::Once, 5).unwrap(),
        );
        assert!(!notes.answered(first), "it was not written");
        notes.sent(4);
        assert!(!notes.answered(first), "nor to its end");
        write(&mut notes, 1);
        assert!(!notes.answered(second));
        assert!(notes.answered(first) && notes.answered(second));
        assert!(!notes.answered(second));
    }

    /// Whatever happens in whatever order, each note that was taken in has one end, in order.
    #[test]
    fn each_note_has_one_end_whatever_happens() {
        for seed in 0..200 {
            let (mut random, mut notes) = (Random::new(seed), Notes::default());
            let (mut taken, mut ended) = (Vec::new(), Vec::new());
            let mut reached = false;
            for step in 0..300 {
                match random.below(if step < 200 { 6 } else { 4 }) {
                    0 => {
                        let count = notes.unsent().map_or(0, <[u8]>::len);
                        let count = random.below(count as u64 + 1) as usize;
                        notes.sent(count);
                        reached = true;
                    }
                    1 | 2 => {
                        write(&mut notes, 64);
                        let turn = taken.get(ended.len()).copied().unwrap_or(u64::MAX);
                        if notes.answered(turn) {
                            ended.push(turn);
                        }
                    }
                    3 => ended.extend(notes.lost(std::mem::take(&mut reached))),
                    4 => taken.extend(note(&mut notes, Weight::Result, 50)),
                    _ => taken.extend(note(&mut notes, Weight::Once, 50)),
                }
            }
            while let Some(number) = notes.pop() {
                ended.push(number);
            }
            assert_eq!(ended, taken, "seed {seed}");
            assert_eq!((notes.passing, notes.kept), (0, 0));
        }
    }
}
