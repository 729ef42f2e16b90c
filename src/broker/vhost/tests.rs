//! The laws of queues, in virtual time, one by one.

use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::amqp::Properties;
use crate::amqp::table::{Table, TableBuf, Value};
use crate::broker::death::deaths_for_tests;
use crate::broker::keys::TypedKey;
use crate::broker::message::{Message, Parts};
use crate::sys::clock;
use crate::util::slots::Key;

/// Takes everything, or nothing.
#[derive(Debug, Default)]
struct Taker {
    full: bool,
    taken: Vec<Taken>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    consumer: String,
    pub(super) tag: u64,
    pub(super) redelivered: bool,
    pub(super) body: String,
    property_list: Vec<u8>,
}

impl Sink for Taker {
    fn has_room(&mut self, _: SessionKey) -> bool {
        !self.full
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        self.taken.push(Taken {
            consumer: String::from_utf8_lossy(delivery.consumer_tag).into(),
            tag: delivery.delivery_tag,
            redelivered: delivery.redelivered,
            body: String::from_utf8_lossy(delivery.message.body).into(),
            property_list: delivery.message.property_list.to_vec(),
        });
    }
}

/// A virtual host with one channel, and a clock that only goes when it is told.
pub(super) struct World {
    pub(super) vhost: Vhost,
    pub(super) channel: ChannelKey,
    taker: Taker,
    now: Instant,
}

fn session() -> SessionKey {
    SessionKey::new(Key::from(1))
}

fn arguments(pairs: &[(&str, Value<'_>)]) -> TableBuf {
    let mut table = TableBuf::new();
    for (key, value) in pairs {
        table.insert(*key, *value).expect("short");
    }
    table
}

impl World {
    pub(super) fn new() -> Self {
        let now = clock::now();
        let mut vhost = Vhost::new("/", Rules::Lenient, 1, now, UNIX_EPOCH);
        let channel = vhost.open_channel(session(), 1);
        Self {
            vhost,
            channel,
            taker: Taker::default(),
            now,
        }
    }

    pub(super) fn declare(&mut self, name: &str, pairs: &[(&str, Value<'_>)]) {
        let table = arguments(pairs);
        let declare = DeclareQueue {
            name: name.as_bytes(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: table.as_table(),
        };
        self.vhost
            .declare_queue(&declare, session(), self.now)
            .expect("declared");
    }

    pub(super) fn publish(&mut self, queue: &str, body: &str) -> Outcome {
        self.publish_with(queue, body, 0, None)
    }

    fn publish_with(
        &mut self,
        queue: &str,
        body: &str,
        priority: u8,
        expiration: Option<u64>,
    ) -> Outcome {
        let message = Message::new(Parts {
            exchange: b"",
            routing_key: queue.as_bytes(),
            property_list: &[0, 0],
            body: body.as_bytes(),
        });
        let publication = Publication {
            message,
            priority,
            expiration: expiration.map(Duration::from_millis),
        };
        let outcome = self.vhost.publish(publication, self.now, &mut self.taker);
        self.vhost.dispatch(self.now, &mut self.taker);
        self.vhost.check_laws();
        outcome
    }

    pub(super) fn consume(&mut self, queue: &str, tag: &str, no_ack: bool) {
        let consume = Consume {
            queue: queue.as_bytes(),
            tag: tag.as_bytes(),
            no_ack,
            exclusive: false,
            arguments: Table::default(),
        };
        self.vhost
            .consume(self.channel, &consume)
            .expect("consumes");
        self.dispatch();
    }

    pub(super) fn dispatch(&mut self) {
        self.vhost.dispatch(self.now, &mut self.taker);
        self.vhost.check_laws();
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(next) = self.vhost.next_deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.vhost.handle_timeout(self.now, &mut self.taker);
            self.vhost.check_laws();
        }
        self.now = end;
    }

    /// Messages that are ready; nothing when there is no such queue.
    pub(super) fn ready(&mut self, queue: &str) -> Option<u32> {
        let state = self
            .vhost
            .check_queue(queue.as_bytes(), session(), self.now);
        state.ok().map(|state| state.messages)
    }

    fn get(&mut self, queue: &str) -> Option<String> {
        let mut body = None;
        let show = |fetched: consume::Fetched<'_>| {
            body = Some(String::from_utf8_lossy(fetched.message.body).into_owned());
        };
        let name = queue.as_bytes();
        self.vhost
            .fetch(self.channel, name, true, self.now, show)
            .expect("a queue");
        self.dispatch();
        body
    }

    pub(super) fn taken(&mut self) -> Vec<Taken> {
        std::mem::take(&mut self.taker.taken)
    }

    fn bodies(&mut self) -> Vec<String> {
        self.taken().into_iter().map(|taken| taken.body).collect()
    }
}

#[test]
fn a_message_expires_at_its_time_and_only_at_the_head() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.publish_with("q", "long", 0, Some(100));
    world.publish_with("q", "short", 0, Some(10));
    world.pass(99);
    assert_eq!(
        world.ready("q"),
        Some(2),
        "the second waits behind the first"
    );
    world.pass(1);
    assert_eq!(world.ready("q"), Some(0));
    assert_eq!(world.vhost.memory(), 0);
}

#[test]
fn the_shorter_time_to_live_counts() {
    let mut world = World::new();
    world.declare("q", &[("x-message-ttl", Value::I32(50))]);
    world.publish_with("q", "a", 0, Some(1000));
    world.pass(50);
    assert_eq!(world.ready("q"), Some(0));
    world.publish_with("q", "b", 0, Some(10));
    world.pass(10);
    assert_eq!(world.ready("q"), Some(0));
}

#[test]
fn what_expires_at_once_goes_to_who_is_ready_or_nowhere() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.publish_with("q", "nobody", 0, Some(0));
    assert_eq!(world.ready("q"), Some(0));
    world.consume("q", "c", true);
    world.publish_with("q", "somebody", 0, Some(0));
    assert_eq!(world.bodies(), ["somebody"]);
}

#[test]
fn a_queue_ends_when_nobody_uses_it() {
    let mut world = World::new();
    world.declare("q", &[("x-expires", Value::I32(100))]);
    world.pass(90);
    world.get("q"); // that is use
    world.pass(90);
    assert!(world.vhost.queue_names.contains_key(&b"q"[..]));
    world.consume("q", "c", true);
    world.pass(1000);
    assert!(
        world.vhost.queue_names.contains_key(&b"q"[..]),
        "it has a consumer"
    );
    world.vhost.cancel(world.channel, b"c", world.now);
    world.pass(99);
    assert!(world.vhost.queue_names.contains_key(&b"q"[..]));
    world.pass(1);
    assert!(!world.vhost.queue_names.contains_key(&b"q"[..]));
}

#[test]
fn the_higher_priority_comes_first_and_equals_in_order() {
    let mut world = World::new();
    world.declare("q", &[("x-max-priority", Value::I32(10))]);
    for (body, priority) in [("0", 0), ("5", 5), ("10", 10), ("200", 200), ("5b", 5)] {
        world.publish_with("q", body, priority, None);
    }
    let order: Vec<String> = std::iter::from_fn(|| world.get("q")).collect();
    assert_eq!(order, ["10", "200", "5", "5b", "0"]);
}

#[test]
fn the_oldest_makes_room_and_is_buried() {
    let mut world = World::new();
    world.declare("dead", &[]);
    world.declare(
        "q",
        &[
            ("x-max-length", Value::I32(2)),
            ("x-dead-letter-exchange", Value::LongStr(b"")),
            ("x-dead-letter-routing-key", Value::LongStr(b"dead")),
        ],
    );
    for body in ["0", "1", "2"] {
        assert_eq!(world.publish("q", body), Outcome::Accepted);
    }
    assert_eq!((world.ready("q"), world.ready("dead")), (Some(2), Some(1)));
    assert_eq!(world.get("dead").as_deref(), Some("0"));
}

#[test]
fn a_limit_in_octets_counts_bodies() {
    let mut world = World::new();
    world.declare("q", &[("x-max-length-bytes", Value::I32(10))]);
    for body in ["12345", "12345", "1"] {
        world.publish("q", body);
    }
    assert_eq!(world.ready("q"), Some(2));
}

#[test]
fn a_consumer_that_is_ready_takes_what_there_would_be_no_room_for() {
    let mut world = World::new();
    let reject = [
        ("x-max-length", Value::I32(1)),
        ("x-overflow", Value::LongStr(b"reject-publish")),
    ];
    world.declare("q", &reject);
    world.consume("q", "c", true);
    for body in ["0", "1", "2"] {
        assert_eq!(world.publish("q", body), Outcome::Accepted);
    }
    world.taker.full = true;
    assert_eq!(world.publish("q", "3"), Outcome::Accepted);
    assert_eq!(world.publish("q", "4"), Outcome::Rejected);
    assert_eq!(world.bodies(), ["0", "1", "2"]);
}

/// A message that expires in a ring of queues comes to rest, and its headers tell the story.
#[test]
fn the_dead_do_not_go_round_for_ever() {
    let mut world = World::new();
    for (name, next) in [("a", "b"), ("b", "a")] {
        world.declare(
            name,
            &[
                ("x-message-ttl", Value::I32(10)),
                ("x-dead-letter-exchange", Value::LongStr(b"")),
                ("x-dead-letter-routing-key", Value::LongStr(next.as_bytes())),
            ],
        );
    }
    world.publish("a", "ghost");
    world.pass(10);
    assert_eq!(world.ready("b"), Some(1));
    world.pass(1000);
    assert_eq!((world.ready("a"), world.ready("b")), (Some(0), Some(0)));
    assert_eq!(world.vhost.memory(), 0);
}

#[test]
fn a_death_is_counted_and_not_repeated() {
    let mut world = World::new();
    let to_itself = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"q")),
    ];
    world.declare("q", &to_itself);
    world.consume("q", "c", false);
    world.publish_with("q", "again", 0, Some(60_000));
    for round in 1..=3 {
        let taken = world.taken();
        let [taken] = &taken[..] else {
            panic!("{taken:?}")
        };
        assert_eq!(taken.tag, round);
        assert!(!taken.redelivered, "it is another message");
        let properties = Properties::decode(&taken.property_list).expect("properties");
        let deaths = deaths_for_tests(properties.headers);
        let expected: Vec<(String, String, i64)> = (round > 1)
            .then(|| ("q".into(), "rejected".into(), round as i64 - 1))
            .into_iter()
            .collect();
        assert_eq!(deaths, expected);
        world
            .vhost
            .reject(world.channel, taken.tag, false, false)
            .expect("a tag");
        world.dispatch();
    }
}

#[test]
fn a_quorum_queue_says_how_often_and_gives_up() {
    let mut world = World::new();
    world.declare(
        "q",
        &[
            ("x-queue-type", Value::LongStr(b"quorum")),
            ("x-delivery-limit", Value::I32(2)),
        ],
    );
    world.consume("q", "c", false);
    world.publish("q", "again");
    for round in 0..3_i64 {
        let taken = world.taken();
        let [taken] = &taken[..] else {
            panic!("{taken:?}")
        };
        let headers = Properties::decode(&taken.property_list)
            .expect("properties")
            .headers;
        let count = headers
            .unwrap_or_default()
            .find("x-delivery-count")
            .expect("a table");
        assert_eq!(count, (round > 0).then_some(Value::I64(round)));
        world
            .vhost
            .reject(world.channel, taken.tag, false, true)
            .expect("a tag");
        world.dispatch();
    }
    assert!(world.taken().is_empty());
    assert_eq!(world.vhost.memory(), 0);
}

#[test]
fn only_one_of_the_consumers_is_active_if_the_queue_says_so() {
    let mut world = World::new();
    world.declare("q", &[("x-single-active-consumer", Value::Bool(true))]);
    world.consume("q", "a", true);
    world.consume("q", "b", true);
    world.publish("q", "0");
    world.publish("q", "1");
    world.vhost.cancel(world.channel, b"a", world.now);
    world.publish("q", "2");
    let turns: Vec<String> = world
        .taken()
        .into_iter()
        .map(|taken| taken.consumer)
        .collect();
    assert_eq!(turns, ["a", "a", "b"]);
}

/// All that come back count before one is too many, and the oldest goes first.
#[test]
fn what_comes_back_to_a_full_queue_goes_in_order() {
    let mut world = World::new();
    world.declare("dead", &[]);
    world.declare(
        "q",
        &[
            ("x-max-length", Value::I32(1)),
            ("x-dead-letter-exchange", Value::LongStr(b"")),
            ("x-dead-letter-routing-key", Value::LongStr(b"dead")),
        ],
    );
    world.consume("q", "c", false);
    for body in ["0", "1", "2"] {
        world.publish("q", body);
    }
    world.vhost.cancel(world.channel, b"c", world.now);
    world.vhost.requeue_all(world.channel);
    world.dispatch();
    let buried: Vec<String> = std::iter::from_fn(|| world.get("dead")).collect();
    assert_eq!(buried, ["0", "1"]);
    assert_eq!(world.get("q").as_deref(), Some("2"));
}
