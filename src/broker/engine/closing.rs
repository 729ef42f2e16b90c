//! How connections and channels end, and what ends with them.

use std::time::Instant;

use super::{Due, Engine, PATIENCE};
use crate::amqp::method::MethodId;
use crate::broker::keys::SessionKey;
use crate::broker::refusal::Refusal;

impl Engine {
    /// Ends a connection for a reason. Its channels end at once, whatever the client still says.
    pub(super) fn close_connection(
        &mut self,
        key: SessionKey,
        refusal: &Refusal,
        cause: MethodId,
        now: Instant,
    ) {
        log::debug!("closing a connection: {}", refusal.text);
        if let Some(session) = self.sessions.get_mut(key) {
            session.tell_all_confirms();
        }
        self.release(key, now);
        if let Some(session) = self.sessions.get_mut(key) {
            session.close(refusal, cause);
            self.timers.insert(now + PATIENCE, 0, Due::Patience(key));
        }
    }

    /// Ends a channel for a reason.
    pub(super) fn close_channel(
        &mut self,
        key: SessionKey,
        number: u16,
        refusal: &Refusal,
        cause: MethodId,
        now: Instant,
    ) {
        log::debug!("closing channel {number}: {}", refusal.text);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.close_channel(number, refusal, cause);
        let channel = session.channels.get(&number).map(|channel| channel.key);
        if let Some((vhost, channel)) = self.vhosts.get_mut(session.vhost).zip(channel) {
            vhost.close_channel(channel, now);
        }
        self.tell_cancelled();
    }

    /// Ends what a session has in its virtual host.
    pub(super) fn release(&mut self, key: SessionKey, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let Some(vhost) = self.vhosts.get_mut(session.vhost) else {
            return;
        };
        for channel in std::mem::take(&mut session.channels).into_values() {
            vhost.close_channel(channel.key, now);
        }
        vhost.end_session(key);
        self.tell_cancelled();
    }
}
