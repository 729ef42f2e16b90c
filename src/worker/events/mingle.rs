//! Mingle: a worker that starts greets the others, and learns what they know: which tasks are revoked, and how far
//! their logical clocks are.
//!
//! Celery waits a second for the answers before it takes the first task. Here nobody waits: what comes within that
//! second is used when it comes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::amqp::table::TableBuf;
use crate::hub::Hub;
use crate::message::json::{Field, Object, Raw, Scanner, list};
use crate::message::pidbox::{Arguments, Call, ReplyAddress};
use crate::message::signature;
use crate::sys::clock;
use crate::worker::Worker;
use crate::worker::consumer::Letter;
use crate::worker::consumer::subscription::Purpose;
use crate::worker::control;
use crate::worker::notices::Notice;

/// How long answers are listened for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Octets of revoked ids in a greeting or an answer to one: those that are left out reach nobody late, since every
/// node hears of a revocation itself.
pub(in crate::worker) const GREETING: usize = 64 * 1024;

/// The greeting under way.
#[derive(Debug, Default)]
pub(in crate::worker) struct Mingle {
    /// The name of our reply queue.
    client: String,
    /// The greeting that answers repeat.
    ticket: String,
    neighbours: BTreeSet<String>,
}

impl Worker {
    /// The ids of revoked tasks, the oldest first: JSON. Of too many the newest `octets` worth.
    pub(in crate::worker) fn revoked_ids(&mut self, octets: usize) -> String {
        let mut ids: Vec<&str> = self
            .tasks
            .revoked
            .ids(clock::wall())
            .map(|(id, _)| id)
            .collect();
        let mut room = octets;
        let kept = ids.iter().rev().take_while(|id| {
            room = room.saturating_sub(id.len() + 4);
            room > 0
        });
        let kept = kept.count();
        list(ids.split_off(ids.len() - kept))
    }

    /// Takes over ids that another node knows to be revoked: a list, or a mapping in older versions.
    pub(in crate::worker) fn learn_revoked(&mut self, ids: Option<Raw<'_>>) {
        let Some(ids) = ids else {
            return;
        };
        let now = clock::wall();
        let keys = ids.members().map(|(id, _)| id);
        for id in ids.elements().chain(keys).filter_map(Raw::as_str) {
            self.remember_revoked(&id, now);
        }
    }

    /// Begins to listen for answers.
    pub(in crate::worker) fn start_mingle(&mut self) {
        self.mingle = Mingle {
            client: signature::new_id(),
            ticket: signature::new_id(),
            neighbours: BTreeSet::new(),
        };
        let channels = &self.settings.monitoring.channels;
        let queue = control::reply_queue(channels, &self.mingle.client);
        let subscription = self.consumer.subscriptions.of_mut(Purpose::Mingle);
        subscription.replace(vec![queue]);
        self.subscribe(Purpose::Mingle);
    }

    /// The reply queue is there: greets everybody.
    pub(in crate::worker) fn greet(&mut self, hub: &mut Hub<Self>) {
        log::info!("mingle: searching for neighbors");
        let revoked = self.revoked_ids(GREETING);
        let mut arguments = Object::new();
        arguments
            .push("from_node", &self.settings.node_name)
            .push("revoked", Field::Json(&revoked));
        let channels = &self.settings.monitoring.channels;
        let call = Call {
            method: "hello",
            arguments: &arguments.into_json(),
            destination: None,
            pattern: None,
            reply: Some(ReplyAddress {
                exchange: &channels.replies(),
                routing_key: &self.mingle.client,
                ticket: &self.mingle.ticket,
            }),
        };
        let mut headers = TableBuf::new();
        let clock = i64::try_from(self.mailbox.clock.forward()).unwrap_or(i64::MAX);
        let expires = super::seconds(clock::wall()) + PATIENCE.as_secs_f64();
        let _ = headers.insert("clock", clock); // the keys are short
        let _ = headers.insert("expires", expires);
        self.producer.notify(Notice {
            exchange: channels.requests(),
            routing_key: String::new(),
            delivery_mode: 2,
            mandatory: false,
            headers,
            body: call.body(),
        });
        let ticket = self.mingle.ticket.clone();
        hub.call_after(PATIENCE, move |worker, _| worker.end_mingle(&ticket));
    }

    /// An answer: `{node: {"revoked": [...], "clock": n}}`, or a mapping of ids in older versions.
    pub(in crate::worker) fn greeted(&mut self, letter: &Letter) {
        if letter.ticket.as_deref() != Some(&self.mingle.ticket) {
            return;
        }
        let scanned = Scanner::from_bytes(&letter.body).and_then(|mut scanner| scanner.value());
        let Ok(answer) = scanned else {
            return;
        };
        for (node, said) in answer.members() {
            let node = node.as_str().unwrap_or_default();
            if node == self.settings.node_name.as_str() || said.is_null() {
                continue;
            }
            let said = Arguments::of(said);
            let clock = said.find("clock").and_then(Raw::as_i64).unwrap_or(0);
            let clock = u64::try_from(clock).unwrap_or(0);
            self.producer.events.clock.adjust(clock);
            self.learn_revoked(said.find("revoked"));
            self.mingle.neighbours.insert(node.into_owned());
        }
    }

    fn end_mingle(&mut self, ticket: &str) {
        if self.mingle.ticket != ticket {
            return; // the connection was lost meanwhile, and another greeting is under way
        }
        match self.mingle.neighbours.len() {
            0 => log::info!("mingle: all alone"),
            1 => log::info!("mingle: sync with 1 nodes"),
            count => log::info!("mingle: sync with {count} nodes"),
        }
        if !self.mingle.neighbours.is_empty() {
            log::info!("mingle: sync complete");
        }
        self.mingle = Mingle::default();
        let subscription = self.consumer.subscriptions.of_mut(Purpose::Mingle);
        if let Some(connection) = self.consumer.link.connection()
            && let Err(error) = subscription.close(connection)
        {
            log::debug!("mingle: cannot close its channel: {error}");
        }
    }
}
