//! What an operator, or a test, does to the broker from outside.

use std::time::Instant;

use super::{Due, Engine};
use crate::amqp::Properties;
use crate::amqp::frame::put_message;
use crate::amqp::method::{Method, MethodId, basic};
use crate::amqp::reply::ReplyCode;
use crate::broker::faults::Action;
use crate::broker::keys::SessionKey;
use crate::broker::overview::{OVERVIEW_QUEUE, QueueOverview, to_json};
use crate::broker::refusal::Refusal;
use crate::broker::session::Phase;
use crate::broker::vhost::Vhost;

impl Engine {
    /// What there is to see of the queues of all virtual hosts.
    pub(in crate::broker) fn queues(&self) -> Vec<QueueOverview> {
        self.vhosts.iter().flat_map(Vhost::overview).collect()
    }

    /// Answers basic.get with what there is to see of the queues.
    pub(super) fn show_queues(&mut self, key: SessionKey, number: u16) {
        let body = to_json(&self.queues());
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let properties = Properties {
            content_type: Some("application/json".into()),
            ..Properties::default()
        };
        let ok = basic::GetOk {
            routing_key: OVERVIEW_QUEUE.into(),
            ..basic::GetOk::default()
        };
        let (output, frame_max) = (session.output.writer(), session.frame_max);
        // Cannot fail: the names in it are short.
        let _ = put_message(output, number, &ok.into(), &properties, &body, frame_max);
    }

    /// Closes every connection as an operator does.
    pub(in crate::broker) fn close_all(&mut self, text: &str, now: Instant) {
        let refusal = Refusal::new(ReplyCode::ConnectionForced, text);
        for key in self.session_keys() {
            let phase = self.sessions.get(key).map(|session| session.phase);
            if phase == Some(Phase::Open) {
                self.close_connection(
                    key,
                    &refusal,
                    MethodId {
                        class: 0,
                        method: 0,
                    },
                    now,
                );
            } else {
                self.drop_session(key);
            }
            self.flush_later(key);
        }
    }

    /// Closes every socket without a word.
    pub(in crate::broker) fn drop_all(&mut self) {
        for key in self.session_keys() {
            self.drop_session(key);
        }
    }

    /// Neither reads nor writes any session before a moment.
    pub(in crate::broker) fn stall_all(&mut self, until: Instant) {
        for key in self.session_keys() {
            self.stall(key, until);
        }
    }

    /// Cancels all consumers of a queue; `false` when there is no such queue.
    pub(in crate::broker) fn cancel_consumers(
        &mut self,
        vhost: &str,
        queue: &str,
        now: Instant,
    ) -> bool {
        let found = self.vhost_named(vhost);
        let cancelled = found.is_some_and(|vhost| vhost.cancel_consumers(queue.as_bytes(), now));
        self.tell_cancelled();
        cancelled
    }

    /// Loses all consumers of a queue without a word; `false` when there is no such queue.
    pub(in crate::broker) fn forget_consumers(
        &mut self,
        vhost: &str,
        queue: &str,
        now: Instant,
    ) -> bool {
        let found = self.vhost_named(vhost);
        found.is_some_and(|vhost| {
            let cancelled = vhost.cancel_consumers(queue.as_bytes(), now);
            vhost.take_cancelled();
            cancelled
        })
    }

    /// Gives every unacknowledged message out again. How many.
    pub(in crate::broker) fn redeliver(&mut self, vhost: &str) -> usize {
        let found = self.vhost_named(vhost);
        found.map_or(0, Vhost::requeue_everything)
    }

    fn vhost_named(&mut self, name: &str) -> Option<&mut Vhost> {
        self.vhosts.iter_mut().find(|vhost| vhost.name() == name)
    }

    fn session_keys(&self) -> Vec<SessionKey> {
        self.sessions.iter().map(|(key, _)| key).collect()
    }

    /// Does what was asked for instead of (`false`) or before (`true`) what the method asks for.
    pub(super) fn misbehave(
        &mut self,
        key: SessionKey,
        number: u16,
        action: &Action,
        method: &Method<'_>,
        now: Instant,
    ) -> bool {
        match action {
            Action::CloseConnection(code) => {
                let refusal = Refusal::new(*code, "on purpose");
                self.close_connection(key, &refusal, method.id(), now);
            }
            Action::CloseChannel(code) => {
                let refusal = Refusal::new(*code, "on purpose");
                self.close_channel(key, number, &refusal, method.id(), now);
            }
            Action::Ignore => {}
            Action::Drop => self.drop_session(key),
            Action::Blackhole => {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.deaf = true;
                }
            }
            Action::CutFrame => {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.cut = true;
                }
                return true;
            }
            Action::Stall(duration) => {
                self.stall(key, now + *duration);
                return true;
            }
        }
        false
    }

    /// Closes a session's socket without a word.
    pub(in crate::broker) fn drop_session(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.output.clear();
            session.phase = Phase::Closed;
            self.flush_later(key);
        }
    }

    /// Neither reads nor writes before a moment.
    pub(in crate::broker) fn stall(&mut self, key: SessionKey, until: Instant) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.stalled_until = Some(until);
            self.timers.insert(until, 0, Due::Stalled(key));
        }
    }
}
