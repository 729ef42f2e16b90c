//! Gossip: a worker hears the others' events, so it knows who is there, and holds elections with them.
//!
//! What is kept of a node is when it was heard of last: nothing that grows with what it says.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::amqp::table::TableBuf;
use crate::hub::{Hub, TimerKey};
use crate::message::channels::{Channels, OwnQueue};
use crate::message::event::{self, Event, Field};
use crate::message::json::{Kind, Raw};
use crate::message::pidbox::Arguments;
use crate::message::signature::{self, Call};
use crate::sys::{clock, process};
use crate::worker::Worker;
use crate::worker::consumer::Letter;
use crate::worker::consumer::subscription::Purpose;
use crate::worker::results;
use crate::worker::settings::{Binding, Exchange, Queue};

/// How often nodes that have gone silent are looked for.
const CHECK: Duration = Duration::from_secs(5);
/// The patience with a node that never told how often it beats: Celery takes it for every minute.
const UNTOLD: Duration = Duration::from_secs(120);
/// Nodes that are known: what else calls itself one is not taken note of.
const NODES: usize = 10_000;
/// Elections that are not decided: the oldest go when there are more.
const ELECTIONS: usize = 64;
/// An election that lacks votes is decided after so long with those there are.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there.
    Join,
    /// It said that it goes.
    Leave,
    /// It was not heard of any more.
    Lost,
}

/// What a step wants to be called with: the change, and the node's name.
pub type Listener = fn(&mut Worker, &mut Hub<Worker>, Change, &str);

/// The other nodes, and the elections under way.
#[derive(Debug, Default)]
pub struct Gossip {
    nodes: HashMap<String, Node>,
    listeners: Vec<Listener>,
    elections: BTreeMap<String, Election>,
    timer: Option<TimerKey>,
}

impl Gossip {
    /// How many nodes are known, and how many elections are under way.
    pub(in crate::worker) fn counts(&self) -> (usize, usize) {
        (self.nodes.len(), self.elections.len())
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    heard: Instant,
    /// Without a word for longer than this it counts as lost.
    patience: Duration,
}

/// One election: the candidates by logical clock and then by name, the first of which wins.
#[derive(Debug)]
struct Election {
    began: Instant,
    candidates: BTreeMap<(u64, String), Ballot>,
    acknowledged: Vec<String>,
    /// We were asked to take part.
    ours: bool,
}

#[derive(Debug)]
struct Ballot {
    topic: String,
    /// JSON.
    action: String,
}

impl Gossip {
    /// Calls `listener` whenever another node comes or goes.
    pub fn listen(&mut self, listener: Listener) {
        self.listeners.push(listener);
    }

    /// The names of the other nodes that are there.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Whether the node `us` is among the first `count` of all known ones, in an order that is another for each
    /// `occasion` and the same wherever it is asked.
    pub(in crate::worker) fn is_among_first(&self, us: &str, occasion: &str, count: usize) -> bool {
        let place = |node: &str| (hash(node, occasion), node.to_owned());
        let ours = place(us);
        let before = self.nodes().filter(|node| place(node) < ours);
        before.take(count).count() < count
    }

    fn election(&mut self, id: &str, now: Instant) -> &mut Election {
        if self.elections.len() >= ELECTIONS && !self.elections.contains_key(id) {
            let oldest = self.elections.iter().min_by_key(|(_, it)| it.began);
            let oldest = oldest.map(|(id, _)| id.clone()).unwrap_or_default();
            self.elections.remove(&oldest);
        }
        self.elections
            .entry(id.to_owned())
            .or_insert_with(|| Election {
                began: now,
                candidates: BTreeMap::new(),
                acknowledged: Vec::new(),
                ours: false,
            })
    }
}

/// FNV-1a, and the finish of splitmix64: the same in every worker of every version.
fn hash(node: &str, occasion: &str) -> u64 {
    let octets = node.bytes().chain([0]).chain(occasion.bytes());
    let mut hash = octets.fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Where a signature says that its task goes; by default to the first queue of this worker.
fn destination(signature: &Arguments<'_>, queues: &[Queue]) -> (String, String) {
    let options = signature
        .find("options")
        .map(Arguments::of)
        .unwrap_or_default();
    let text = |name| {
        options
            .given(name)
            .and_then(Raw::as_str)
            .map(Cow::into_owned)
    };
    match (text("queue"), text("routing_key")) {
        (Some(queue), _) => (String::new(), queue),
        (None, Some(key)) => (text("exchange").unwrap_or_default(), key),
        (None, None) => {
            let queue = queues.first().map_or("celery", |queue| queue.name.as_str());
            (String::new(), queue.to_owned())
        }
    }
}

/// The queue of a listener to events of workers, where a heartbeat waits until the next.
fn queue(channels: &Channels, heartbeat: Option<Duration>) -> Queue {
    let flags = OwnQueue {
        ttl: channels.event_queue.ttl.max(heartbeat),
        ..channels.event_queue
    };
    let binding = Binding {
        exchange: Exchange {
            name: channels.event_exchange.clone(),
            kind: "topic".to_owned(),
            durable: true,
            auto_delete: false,
            declared: true,
            arguments: TableBuf::new(),
        },
        routing_key: "worker.#".to_owned(),
        arguments: TableBuf::new(),
    };
    crate::worker::control::own_queue(
        &flags,
        channels.event_listener(&signature::new_id()),
        binding,
    )
}

impl Worker {
    /// Begins to listen.
    pub(in crate::worker) fn start_gossip(&mut self, hub: &mut Hub<Self>) {
        let queue = queue(
            &self.settings.monitoring.channels,
            self.settings.monitoring.heartbeat,
        );
        let subscription = self.consumer.subscriptions.of_mut(Purpose::Gossip);
        subscription.replace(vec![queue]);
        self.subscribe(Purpose::Gossip);
        let timer = hub.call_repeatedly(CHECK, Self::check_nodes);
        if let Some(before) = self.gossip.timer.replace(timer) {
            hub.cancel(before);
        }
    }

    pub(in crate::worker) fn stop_gossip(&mut self, hub: &mut Hub<Self>) {
        if let Some(timer) = self.gossip.timer.take() {
            hub.cancel(timer);
        }
    }

    /// Events of workers, our own among them.
    pub(in crate::worker) fn overhear(&mut self, letter: &Letter, hub: &mut Hub<Self>) {
        let Ok(events) = event::read(&letter.body) else {
            return;
        };
        for event in events {
            self.overhear_one(&event, hub);
        }
    }

    fn overhear_one(&mut self, event: &Event<'_>, hub: &mut Hub<Self>) {
        let (Some(kind), Some(node)) = (event.text("type"), event.text("hostname")) else {
            return;
        };
        if node == self.settings.node_name {
            self.producer.events.clock.forward();
        } else {
            self.producer.events.clock.adjust(event.clock());
            self.note_node(&kind, &node, event, hub);
        }
        match kind.as_str() {
            "worker-elect" => self.hear_candidate(&node, event, hub),
            "worker-elect-ack" => self.hear_acknowledgement(&node, event, hub),
            _ => {}
        }
    }

    fn note_node(&mut self, kind: &str, name: &str, event: &Event<'_>, hub: &mut Hub<Self>) {
        if kind == "worker-offline" {
            if self.gossip.nodes.remove(name).is_some() {
                self.node_changed(Change::Leave, name, hub);
            }
            return;
        }
        if self.gossip.nodes.len() >= NODES && !self.gossip.nodes.contains_key(name) {
            return;
        }
        let every = event.number("freq").filter(|freq| *freq > 0.0);
        let known = self.gossip.nodes.get(name).map(|node| node.patience);
        let patience = match every {
            Some(every) => Duration::try_from_secs_f64(every.min(3600.0) * 2.0).unwrap_or(CHECK),
            None => known.unwrap_or(UNTOLD),
        };
        let node = Node {
            heard: hub.now(),
            patience,
        };
        if self.gossip.nodes.insert(name.to_owned(), node).is_none() {
            self.node_changed(Change::Join, name, hub);
        }
    }

    fn node_changed(&mut self, change: Change, name: &str, hub: &mut Hub<Self>) {
        match change {
            Change::Join => log::debug!("{name} joined the party"),
            Change::Leave => log::debug!("{name} left"),
            Change::Lost => log::info!("missed heartbeat from {name}"),
        }
        for listener in self.gossip.listeners.clone() {
            listener(self, hub, change, name);
        }
    }

    /// Forgets nodes that have gone silent, and decides elections that wait for them.
    fn check_nodes(&mut self, hub: &mut Hub<Self>) {
        let now = hub.now();
        let silent = self
            .gossip
            .nodes
            .extract_if(|_, node| now > node.heard + node.patience);
        let silent: Vec<String> = silent.map(|(name, _)| name).collect();
        for name in silent {
            self.node_changed(Change::Lost, &name, hub);
        }
        let waiting: Vec<String> = self.gossip.elections.keys().cloned().collect();
        for id in waiting {
            self.decide(&id, hub);
        }
    }

    /// Takes part in an election: `action` is what the winner of the topic `task` calls.
    pub(in crate::worker) fn stand(&mut self, id: &str, topic: &str, action: &str, now: Instant) {
        self.gossip.election(id, now).ours = true;
        let fields = [
            ("id", Field::Text(id)),
            ("topic", Field::Text(topic)),
            ("action", Field::Json(action)),
            ("cver", Field::Integer(1)),
        ];
        self.producer.events.worker("worker-elect", &fields);
    }

    fn hear_candidate(&mut self, node: &str, event: &Event<'_>, hub: &mut Hub<Self>) {
        let (Some(id), Some(topic)) = (event.text("id"), event.text("topic")) else {
            return;
        };
        let pid = event.fields.find("pid").map_or("0", Raw::text);
        let action = event.fields.find("action").map_or("null", Raw::text);
        let ballot = Ballot {
            topic,
            action: action.to_owned(),
        };
        let election = self.gossip.election(&id, hub.now());
        election
            .candidates
            .insert((event.clock(), format!("{node}.{pid}")), ballot);
        let ack = [("id", Field::Text(&id))];
        self.producer.events.worker("worker-elect-ack", &ack);
        self.decide(&id, hub);
    }

    fn hear_acknowledgement(&mut self, node: &str, event: &Event<'_>, hub: &mut Hub<Self>) {
        let Some(id) = event.text("id") else {
            return;
        };
        let Some(election) = self.gossip.elections.get_mut(&id) else {
            return;
        };
        if !election.acknowledged.iter().any(|known| known == node) {
            election.acknowledged.push(node.to_owned());
        }
        self.decide(&id, hub);
    }

    /// Decides an election once every node that is there has stood and acknowledged, or time is up. All nodes have
    /// seen the same candidates then, so all come to the same winner: the lowest clock, then the lowest name.
    fn decide(&mut self, id: &str, hub: &mut Hub<Self>) {
        let voters = self.gossip.nodes.len() + 1;
        let Some(election) = self.gossip.elections.get(id) else {
            return;
        };
        let complete = election.candidates.len() >= voters && election.acknowledged.len() >= voters;
        if !complete && hub.now() < election.began + PATIENCE {
            return;
        }
        let Some(mut election) = self.gossip.elections.remove(id) else {
            return;
        };
        let Some(((_, leader), ballot)) = election.candidates.pop_first() else {
            return;
        };
        if !election.ours {
            return;
        }
        let us = format!("{}.{}", self.settings.node_name, process::current());
        if leader != us {
            log::info!("node {leader} elected for '{id}'");
            return;
        }
        log::info!("I won the election '{id}'");
        match ballot.topic.as_str() {
            "task" => self.call_signature(&ballot.action),
            topic => log::error!("Unknown election topic '{topic}'"),
        }
    }

    /// Calls the task of a signature, as the winner of an election does.
    fn call_signature(&mut self, signature: &str) {
        let value = Raw::parse(signature).unwrap_or(Raw::NULL);
        let fields = Arguments::of(value);
        let Some(task) = fields.find("task").and_then(Raw::as_str) else {
            log::error!("election: {signature} is no signature of a task");
            return;
        };
        let of_kind = |name, kind| fields.find(name).filter(|value| value.kind() == kind);
        let (exchange, key) = destination(&fields, &self.settings.queues);
        let origin = signature::origin(process::current(), &process::host_name());
        let id = signature::new_id();
        let call = Call {
            args: of_kind("args", Kind::Array).unwrap_or(Raw::EMPTY_LIST),
            kwargs: of_kind("kwargs", Kind::Object).unwrap_or(Raw::EMPTY_MAPPING),
            ..Call::new(&task, &id, &origin)
        };
        let message = call.publish(&exchange, &key, clock::wall());
        match results::task_message(message, None) {
            Ok(publication) => self.producer.publish(publication),
            Err(error) => log::error!("election: {task} cannot be published: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    /// Of two hundred nodes that all know each other exactly so many answer, and not always the same.
    #[test]
    fn some_answer_for_all() {
        let names: Vec<String> = (0..200).map(|number| format!("w{number}@host")).collect();
        let node = Node {
            heard: clock::now(),
            patience: CHECK,
        };
        let answering = |occasion: &str| -> Vec<&str> {
            let answers = |us: &&String| {
                let others = names.iter().filter(|name| *name != *us);
                let nodes = others.map(|name| (name.clone(), node)).collect();
                let gossip = Gossip {
                    nodes,
                    ..Gossip::default()
                };
                gossip.is_among_first(us, occasion, 16)
            };
            names.iter().filter(answers).map(String::as_str).collect()
        };
        let (first, second) = (answering("new1@host"), answering("new2@host"));
        assert_eq!((first.len(), second.len()), (16, 16));
        assert_ne!(first, second);
        assert!(Gossip::default().is_among_first("alone@host", "new@host", 16));
    }
}
