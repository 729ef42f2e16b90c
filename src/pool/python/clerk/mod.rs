//! The clerk: the one Python process that keeps the books for main.
//!
//! Celery's main process does things that only Python can do: it stores the result of a task whose child was
//! lost, calls `on_failure` and the receivers of signals, knows the app's backend. A clerk does them in its
//! place, told by notes, which it answers one by one and in order.
//!
//! It is made by the [`zygote`](super::super::zygote), like a child. What a note sets off is the app's code: it may
//! raise, which the clerk logs, or hang, and then the clerk is killed ([`PATIENCE`]) and replaced. Main never
//! waits for it: it goes on with other things until the answer is there ([`ClerkEvent`]).
//!
//! Exactly one event comes for each note that was taken in. What a result depends on always is, and is told to a
//! second clerk when the first dies over it ([`Weight`]); signals that come faster than a clerk can pass them on are
//! dropped, and counted. While no clerk can be made notes wait; one that ends before it has answered anything is
//! replaced ever more slowly.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

mod notes;

use notes::Notes;
pub use notes::Weight;

use crate::message::record::{self, About, Decoder, Kind, Note, Reply};
use crate::pool::zygote::Zygote;
use crate::sys::fd::{self, SharedFd};
use crate::sys::pipe;
use crate::sys::process::Pid;
use crate::sys::signal::{self, Signal};
use crate::util::backoff::Backoff;

/// How long a clerk may take for one note, unless the owner says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long after the start of a clerk the next may be started: the first time, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How much is read at once.
const READ_SIZE: usize = 4096;

/// A clerk, or the place of one; see the [module page](self).
#[derive(Debug)]
pub struct Clerk {
    life: Option<Life>,
    notes: Notes,
    pauses: Backoff,
    /// Not before this may a clerk be started.
    start_at: Option<Instant>,
    /// When the clerk must have answered the oldest note.
    deadline: Option<Instant>,
    /// How long it may take for one note.
    patience: Duration,
    events: VecDeque<ClerkEvent>,
}

/// One process.
#[derive(Debug)]
struct Life {
    notes: SharedFd,
    replies: SharedFd,
    decoder: Decoder,
    /// Once it is up.
    pid: Option<Pid>,
}

/// What comes of a clerk.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClerkEvent {
    /// A clerk was started: watch the first for writing and the second for reading, and no longer those before.
    Started(SharedFd, SharedFd),
    /// It is gone: watch its files no longer.
    Gone,
    /// It was at a note when it ended, and the next clerk is told that again.
    Again {
        /// How it ended.
        reason: &'static str,
    },
    /// A note was seen to; it has the number from [`Clerk::tell`].
    Answered(Reply),
    /// A note was not seen to, or not to the end.
    Failed {
        /// Its number.
        note: u64,
        /// Why.
        reason: &'static str,
    },
    /// So many notes were dropped, because the clerk is too slow for them.
    Dropped(u64),
}

impl Clerk {
    /// No process yet. One may take as long as `patience` for a note, and is then replaced.
    pub fn new(patience: Duration) -> Self {
        Self {
            life: None,
            notes: Notes::default(),
            pauses: Backoff::new(PAUSES.0, PAUSES.0, PAUSES.1),
            start_at: None,
            deadline: None,
            patience,
            events: VecDeque::new(),
        }
    }

    /// Whether a clerk is to be started now.
    pub fn is_wanted(&self, now: Instant) -> bool {
        self.life.is_none()
            && !self.notes.is_empty()
            && self.start_at.is_none_or(|instant| instant <= now)
    }

    /// Has `zygote` make a clerk.
    ///
    /// # Errors
    /// When it cannot be asked; it is to be asked again later.
    pub fn start(&mut self, zygote: &Zygote, now: Instant) -> io::Result<()> {
        self.start_at = Some(now + self.pauses.next_delay());
        let (its_notes, notes) = pipe::pipe()?;
        let (replies, its_replies) = pipe::pipe()?;
        fd::set_nonblocking(&its_notes, false)?;
        fd::set_nonblocking(&its_replies, false)?;
        zygote.ask_for_clerk(its_notes.as_fd(), its_replies.as_fd())?;
        let life = Life {
            notes: SharedFd::new(notes),
            replies: SharedFd::new(replies),
            decoder: Decoder::new(),
            pid: None,
        };
        let (notes, replies) = (life.notes.clone(), life.replies.clone());
        self.events.push_back(ClerkEvent::Started(notes, replies));
        self.life = Some(life);
        self.deadline = Some(now + self.patience);
        self.write();
        Ok(())
    }

    /// Tells the clerk, with `body` (the Job record of the task, if it is about one). Gives the note's number, unless
    /// it is dropped.
    pub fn tell(
        &mut self,
        about: About<'_>,
        weight: Weight,
        body: &[u8],
        now: Instant,
    ) -> Option<u64> {
        let number = self.notes.next_number();
        let mut record = Vec::new();
        let note = Note {
            note: number,
            about,
        };
        if let Err(error) = record::encode_note(&mut record, &note, body) {
            log::error!("clerk: a note cannot be written: {error}");
            let reason = "it cannot be written";
            self.events.push_back(ClerkEvent::Failed {
                note: number,
                reason,
            });
            return Some(number);
        }
        if self.notes.is_empty() {
            self.deadline = Some(now + self.patience);
        }
        let taken = self.notes.push(number, weight, record);
        self.write();
        taken.then_some(number)
    }

    /// Whether every note was answered.
    pub fn is_idle(&self) -> bool {
        self.notes.is_empty() && self.events.is_empty()
    }

    /// How many notes wait for their answer.
    pub fn notes(&self) -> usize {
        self.notes.len()
    }

    /// Whether so many notes wait that no more should be made.
    pub fn is_congested(&self) -> bool {
        self.notes.is_long()
    }

    /// When to call [`handle_deadline`](Self::handle_deadline). While there is no clerk that is when the next may be
    /// [started](Self::start), which only makes sense while there is a zygote.
    pub fn deadline(&self, zygote: bool) -> Option<Instant> {
        match (&self.life, self.notes.is_empty()) {
            (_, true) => None,
            (Some(_), false) => self.deadline,
            (None, false) => self.start_at.filter(|_| zygote),
        }
    }

    /// Gives up a clerk that takes too long. Harmless when early.
    pub fn handle_deadline(&mut self, now: Instant) {
        let overdue = self.deadline.is_some_and(|deadline| deadline <= now);
        if overdue
            && !self.notes.is_empty()
            && let Some(life) = &self.life
        {
            if let Some(pid) = life.pid {
                let _ = signal::kill(pid, Signal::SIGKILL);
            }
            self.lose("it took too long");
        }
    }

    /// One of its files is ready, or may be.
    pub fn handle_ready(&mut self, now: Instant) {
        self.write();
        self.read(now);
    }

    /// A process was reaped. Whether it was the clerk.
    pub fn handle_exit(&mut self, pid: Pid, now: Instant) -> bool {
        self.read(now); // its last words, which may be its first
        let ours = self.life.as_ref().is_some_and(|life| life.pid == Some(pid));
        if ours {
            self.lose("the clerk has died");
        }
        ours
    }

    /// Gives up all notes: there is nobody who could make a clerk.
    pub fn abandon(&mut self, reason: &'static str) {
        while let Some(note) = self.notes.pop() {
            self.events.push_back(ClerkEvent::Failed { note, reason });
        }
    }

    /// Lets the clerk go; it ends when it has read this.
    pub fn stop(&mut self) {
        if self.life.take().is_some() {
            self.events.push_back(ClerkEvent::Gone);
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ClerkEvent> {
        self.events.pop_front()
    }

    fn write(&mut self) {
        let Some(life) = &self.life else { return };
        while let Some(rest) = self.notes.unsent() {
            let whole = rest.len();
            match life.notes.write(rest) {
                Ok(count) => {
                    self.notes.sent(count);
                    if count < whole {
                        return;
                    }
                }
                // A full pipe, or one that nobody reads any more, which the end of the other one tells.
                Err(_) => return,
            }
        }
    }

    fn read(&mut self, now: Instant) {
        loop {
            let Some(life) = &mut self.life else { return };
            match life.replies.read(life.decoder.space(READ_SIZE)) {
                Ok(0) => return self.lose("the clerk has ended"),
                Ok(count) => life.decoder.filled(count),
                Err(_) => return, // nothing more for now
            }
            if !self.take_replies(now) {
                return self.lose("the clerk has garbled its pipe");
            }
        }
    }

    /// Takes in what has arrived. False when it makes no sense.
    fn take_replies(&mut self, now: Instant) -> bool {
        let Some(life) = &mut self.life else {
            return true;
        };
        while let Ok(record) = life.decoder.next_record() {
            let Some(record) = record else { return true };
            if record.kind == Kind::Up {
                let up = record.up().ok();
                life.pid = up.and_then(|up| Pid::new(up.pid.cast_signed()));
                continue;
            }
            let Ok(reply) = record.reply() else {
                return false;
            };
            if !self.notes.answered(reply.note) {
                return false;
            }
            self.pauses.reset();
            self.deadline = Some(now + self.patience);
            self.events.push_back(ClerkEvent::Answered(reply));
            let dropped = self.notes.take_dropped();
            if dropped > 0 {
                self.events.push_back(ClerkEvent::Dropped(dropped));
            }
        }
        false
    }

    /// The clerk is gone, and perhaps with it the note it was at.
    fn lose(&mut self, reason: &'static str) {
        let reached = self.life.take().is_some_and(|life| life.pid.is_some());
        self.events.push_back(ClerkEvent::Gone);
        match self.notes.lost(reached) {
            Some(note) => self.events.push_back(ClerkEvent::Failed { note, reason }),
            None if reached && !self.notes.is_empty() => {
                self.events.push_back(ClerkEvent::Again { reason });
            }
            None => {}
        }
    }
}

impl Default for Clerk {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

#[cfg(test)]
mod tests;
