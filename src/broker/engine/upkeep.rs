//! What happens by itself: alarms about memory, heartbeats, and whoever loses patience.

use std::time::{Duration, Instant};

use super::{Due, Engine};
use crate::amqp::ShortStr;
use crate::amqp::frame::put_heartbeat;
use crate::amqp::method::connection;
use crate::broker::keys::SessionKey;
use crate::broker::session::{Outputs, Phase, Session};
use crate::broker::vhost::Vhost;

impl Engine {
    /// Octets of memory that messages take.
    pub(in crate::broker) fn memory(&self) -> usize {
        self.vhosts.iter().map(Vhost::memory).sum()
    }

    /// A message was published: when there is no room for more, its publisher has to wait.
    pub(in crate::broker) fn check_memory(&mut self, key: SessionKey) {
        self.alarm |= self.memory() > self.settings.memory_limit;
        if !self.alarm {
            return;
        }
        if let Some(session) = self.sessions.get_mut(key)
            && !session.blocked
        {
            session.blocked = true;
            if session.capabilities.connection_blocked {
                let reason = ShortStr::from("low on memory");
                session.send(0, connection::Blocked { reason });
            }
        }
    }

    /// Lets publishers go on when a tenth of the memory is free again.
    pub(super) fn relieve(&mut self) {
        let limit = self.settings.memory_limit;
        if !self.alarm || self.memory() > limit - limit / 10 {
            return;
        }
        self.alarm = false;
        let mut unblocked = Vec::new();
        for (key, session) in self.sessions.iter_mut() {
            if std::mem::take(&mut session.blocked) {
                if session.capabilities.connection_blocked {
                    session.send(0, connection::Unblocked {});
                }
                unblocked.push(key);
            }
        }
        for key in unblocked {
            self.flush_later(key);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub(in crate::broker) fn next_deadline(&self) -> Option<Instant> {
        let vhosts = self.vhosts.iter().filter_map(Vhost::next_deadline);
        vhosts.chain(self.timers.next_deadline()).min()
    }

    /// Does what is due.
    pub(in crate::broker) fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.timers.pop_due(now) {
            match due {
                Due::Heartbeat(key) => self.beat(key, now),
                Due::Patience(key) => {
                    let waits = |session: &Session| session.phase != Phase::Open;
                    if self.sessions.get(key).is_some_and(waits) {
                        self.drop_session(key);
                    }
                }
                Due::Stalled(key) => {
                    if let Some(session) = self.sessions.get_mut(key) {
                        session.stalled_until = None;
                        self.flush_later(key);
                    }
                }
            }
        }
        for vhost in &mut self.vhosts {
            vhost.handle_timeout(
                now,
                &mut Outputs {
                    sessions: &mut self.sessions,
                    to_flush: &mut self.to_flush,
                },
            );
        }
        self.tell_cancelled();
    }

    /// Looks at a session's heartbeats twice an interval.
    pub(in crate::broker) fn watch_heartbeat(&mut self, key: SessionKey, now: Instant) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        if session.heartbeat > 0 {
            let half = Duration::from_secs(u64::from(session.heartbeat)) / 2;
            self.timers.insert(now + half, 0, Due::Heartbeat(key));
        }
    }

    fn beat(&mut self, key: SessionKey, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let interval = Duration::from_secs(u64::from(session.heartbeat));
        let silent_for = |since: Instant| now.saturating_duration_since(since);
        // What a client says while it is not read cannot be heard.
        if silent_for(session.received_at) > 2 * interval && session.is_readable() {
            log::info!("a client has missed its heartbeats, closing its connection");
            return self.drop_session(key);
        }
        if silent_for(session.sent_at) >= interval / 2 && !self.faults.no_heartbeats {
            put_heartbeat(session.output.writer());
            self.flush_later(key);
        }
        self.watch_heartbeat(key, now);
    }
}
