//! What a worker does about silence: connected, subscribed, with room for tasks, and nothing comes.
//!
//! Mostly there is nothing to come. But a broker, or something between, may have lost the subscription without a word,
//! and such a worker would wait for ever: "alive, connected, not consuming". So after a while of silence it asks, on a
//! channel of its own that nothing hangs on, how many messages its queues have. A queue without a consumer is
//! subscribed to again at once, one with messages when the next answer says so too: a message that has just arrived is
//! under way. Pure: the time is passed in.

use std::time::{Duration, Instant};

use super::frames::ask_for_counts;
use crate::amqp::Connection;
use crate::amqp::method::Method;
use crate::worker::settings::Queue;

/// The pause after which it asks again where it has seen messages.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// See the [module page](self).
#[derive(Debug)]
pub(in crate::worker) struct Watchdog {
    silence: Option<Duration>,
    /// The silence began.
    since: Instant,
    /// It has asked in this silence, and is to ask again then.
    next: Option<Instant>,
    state: State,
    /// The last answer told of messages that had not come.
    suspicious: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    Opening {
        channel: u16,
    },
    Asking {
        channel: u16,
        answers: usize,
        seen: Seen,
    },
}

/// What the answers have told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    messages: u32,
    /// A queue has messages and no consumer at all.
    forgotten: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, or not yet.
    Wait,
    /// So many messages do not come: subscribe again.
    Subscribe(u32),
}

impl Watchdog {
    /// It asks after so long a silence; never without one.
    pub(super) fn new(silence: Option<Duration>, now: Instant) -> Self {
        Self {
            silence,
            since: now,
            next: None,
            state: State::Quiet,
            suspicious: false,
        }
    }

    /// There was something to do, or is no room for more: no silence.
    pub(in crate::worker) fn heard(&mut self, now: Instant) {
        self.since = now;
        self.next = None;
        self.suspicious = false;
    }

    /// The connection is gone, and what was asked with it.
    pub(super) fn reset(&mut self) {
        self.state = State::Quiet;
        self.suspicious = false;
    }

    /// It may not ask: it does so no more.
    pub(super) fn retire(&mut self) {
        self.reset();
        self.silence = None;
    }

    /// When to ask.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.since + self.silence?;
        (self.state == State::Quiet).then(|| self.next.map_or(due, |next| next.max(due)))
    }

    /// Asks, if it is time.
    pub(super) fn handle_deadline(&mut self, now: Instant, connection: &mut Connection) {
        if self.deadline().is_none_or(|due| now < due) {
            return;
        }
        self.next = self.silence.map(|silence| now + silence);
        if let Ok(channel) = connection.open_channel() {
            self.state = State::Opening { channel };
        }
    }

    /// Whether the broker has still to answer.
    pub(super) fn awaits(&self) -> bool {
        self.state != State::Quiet
    }

    /// Whether this channel is its own.
    pub(super) fn owns(&self, number: u16) -> bool {
        match self.state {
            State::Quiet => false,
            State::Opening { channel } | State::Asking { channel, .. } => channel == number,
        }
    }

    /// Its channel is open.
    pub(super) fn opened(&mut self, queues: &[Queue], connection: &mut Connection) {
        let State::Opening { channel } = self.state else {
            return;
        };
        let mut answers = 0;
        for queue in queues.iter().filter(|queue| !queue.is_one_at_a_time()) {
            answers += ask_for_counts(channel, queue, connection).unwrap_or(0);
        }
        let seen = Seen::default();
        self.state = State::Asking {
            channel,
            answers,
            seen,
        };
        if answers == 0 {
            self.end(connection);
        }
    }

    /// One answer.
    pub(super) fn answered(&mut self, method: &Method<'_>) {
        if let State::Asking { answers, seen, .. } = &mut self.state
            && let Method::QueueDeclareOk(ok) = method
        {
            *answers = answers.saturating_sub(1);
            seen.messages = seen.messages.saturating_add(ok.message_count);
            seen.forgotten |= ok.message_count > 0 && ok.consumer_count == 0;
        }
    }

    /// After an answer: what it comes to, when it was the last.
    pub(super) fn judge(&mut self, now: Instant, connection: &mut Connection) -> Verdict {
        let State::Asking {
            answers: 0, seen, ..
        } = self.state
        else {
            return Verdict::Wait;
        };
        self.end(connection);
        if seen.messages == 0 {
            self.suspicious = false;
            return Verdict::Wait;
        }
        if !seen.forgotten && !std::mem::replace(&mut self.suspicious, true) {
            self.next = Some(now + SECOND_LOOK);
            return Verdict::Wait;
        }
        self.suspicious = false;
        Verdict::Subscribe(seen.messages)
    }

    fn end(&mut self, connection: &mut Connection) {
        if let State::Opening { channel } | State::Asking { channel, .. } = self.state {
            let _ = connection.close_channel(channel); // refused only where there is none any more
        }
        self.state = State::Quiet;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::method::queue::DeclareOk;
    use crate::sys::clock;
    use crate::worker::consumer::subscription::tests::{connection, server_sends};
    use crate::worker::settings::Queue;

    const SILENCE: Duration = Duration::from_secs(60);

    /// A watchdog that has asked and got this answer.
    fn ask(dog: &mut Watchdog, now: Instant, messages: u32, consumers: u32) -> Verdict {
        let mut connection = connection();
        dog.handle_deadline(now, &mut connection);
        assert!(dog.owns(1), "it has asked");
        server_sends(&mut connection, 1, crate::amqp::method::channel::OpenOk {});
        dog.opened(&[Queue::named("q")], &mut connection);
        let ok = DeclareOk {
            queue: "q".into(),
            message_count: messages,
            consumer_count: consumers,
        };
        dog.answered(&ok.into());
        dog.judge(now, &mut connection)
    }

    /// T1.5: when it asks, and what it makes of the answer.
    #[test]
    fn t1_5_silence_is_asked_about_and_believed_only_with_a_reason() {
        let begin = clock::now();
        let mut dog = Watchdog::new(Some(SILENCE), begin);
        let mut now = begin + SILENCE;
        assert_eq!(dog.deadline(), Some(now));
        assert_eq!(ask(&mut dog, now, 0, 1), Verdict::Wait, "nothing to come");
        now += SILENCE;
        assert_eq!(dog.deadline(), Some(now));
        assert_eq!(
            ask(&mut dog, now, 3, 1),
            Verdict::Wait,
            "they may be under way"
        );
        now += SECOND_LOOK;
        assert_eq!(dog.deadline(), Some(now));
        assert_eq!(ask(&mut dog, now, 3, 1), Verdict::Subscribe(3));
        now += SILENCE;
        assert_eq!(dog.deadline(), Some(now));
        assert_eq!(
            ask(&mut dog, now, 1, 0),
            Verdict::Subscribe(1),
            "nobody consumes"
        );
        dog.heard(now);
        now += SILENCE;
        assert_eq!(ask(&mut dog, now, 3, 1), Verdict::Wait);
        dog.heard(now);
        assert_eq!(dog.deadline(), Some(now + SILENCE), "they were under way");
        assert_eq!(Watchdog::new(None, begin).deadline(), None);
        dog.retire();
        assert_eq!(dog.deadline(), None);
    }
}
