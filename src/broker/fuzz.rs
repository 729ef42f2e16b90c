//! The body of the fuzz target `broker`: what any client can say, in any order, at any time.

use std::time::{Duration, Instant, UNIX_EPOCH};

use super::engine::Engine;
use super::keys::SessionKey;
use super::session::Phase;
use super::settings::{Rules, Settings};
use crate::amqp::Properties;
use crate::amqp::frame::{FrameKind, PROTOCOL_HEADER, decode, put_message, put_method};
use crate::amqp::method::{Method, basic, channel, confirm, connection, exchange, queue};
use crate::amqp::table::{TableBuf, Value};
use crate::sys::clock;

/// Names of queues and exchanges; few, so that they meet.
const NAMES: [&str; 6] = ["", "a", "b", "c", "amq.topic", "amq.headers"];
const KEYS: [&str; 6] = ["", "a", "b", "a.b", "*.b", "#"];
const CLIENTS: usize = 3;

/// Three clients say what the octets say, methods of all kinds and octets of none, while time passes
/// and their output is read or not. After each step everything that is counted twice agrees, and
/// whatever the broker says is well formed.
///
/// # Panics
/// When a law is broken.
pub fn fuzz_broker(data: &[u8]) {
    let mut script = Script(data.iter());
    let settings = Settings {
        memory_limit: 20_000,
        rules: if script.below(4) == 0 {
            Rules::RabbitMq43
        } else {
            Rules::Lenient
        },
        heartbeat: 1,
        ..Settings::default()
    };
    let start = clock::now();
    let mut world = World {
        engine: Engine::new(settings, 1, start, UNIX_EPOCH),
        now: start,
        clients: Vec::new(),
        output: Vec::new(),
    };
    for _ in 0..CLIENTS {
        world.connect();
    }
    while let Some(operation) = script.next() {
        world.step(operation, &mut script);
        world.check();
    }
    for client in world.clients.clone() {
        world.engine.end_session(client, world.now);
    }
    world.check();
}

/// Numbers from the fuzzer.
struct Script<'a>(std::slice::Iter<'a, u8>);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % limit
    }

    fn bit(&mut self) -> bool {
        self.below(2) == 1
    }

    fn of(&mut self, list: &[&'static str]) -> &'static str {
        list.get(self.below(list.len()))
            .copied()
            .unwrap_or_default()
    }

    fn octets(&mut self) -> Vec<u8> {
        let count = self.below(40);
        self.0.by_ref().take(count).copied().collect()
    }
}

struct World {
    engine: Engine,
    now: Instant,
    clients: Vec<SessionKey>,
    /// What the broker has written, per client, until it is looked at.
    output: Vec<Vec<u8>>,
}

impl World {
    /// A client that has logged in and has channels 1 and 2.
    fn connect(&mut self) {
        let key = self.engine.start_session(true, self.now);
        self.clients.push(key);
        self.output.push(Vec::new());
        let mut bytes = PROTOCOL_HEADER.to_vec();
        let mut capabilities = TableBuf::new();
        capabilities
            .insert("consumer_cancel_notify", true)
            .expect("short");
        capabilities
            .insert("connection.blocked", true)
            .expect("short");
        let mut properties = TableBuf::new();
        properties
            .insert("capabilities", capabilities.as_table())
            .expect("short");
        let methods: [(u16, Method<'_>); 5] = [
            (
                0,
                connection::StartOk {
                    client_properties: properties.as_table(),
                    mechanism: "PLAIN".into(),
                    response: b"\0guest\0guest",
                    locale: "en_US".into(),
                }
                .into(),
            ),
            (
                0,
                connection::TuneOk {
                    channel_max: 2047,
                    frame_max: 4096,
                    heartbeat: 1,
                }
                .into(),
            ),
            (
                0,
                connection::Open {
                    virtual_host: "/".into(),
                }
                .into(),
            ),
            (1, channel::Open {}.into()),
            (2, channel::Open {}.into()),
        ];
        for (number, method) in methods {
            put_method(&mut bytes, number, &method, 0).expect("short");
        }
        self.receive(self.clients.len() - 1, &bytes);
    }

    /// Octets come from a client.
    fn receive(&mut self, client: usize, bytes: &[u8]) {
        let Some(&key) = self.clients.get(client) else {
            return;
        };
        if let Some(session) = self.engine.sessions.get_mut(key) {
            session.input.space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
            session.input.filled(bytes.len());
            self.engine.handle_input(key, self.now);
        }
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        let client = script.below(CLIENTS);
        let number = 1 + script.below(2) as u16;
        self.go_on(client, number);
        match operation % 32 {
            0 => {
                self.now += Duration::from_millis(script.below(256) as u64 * 4);
                self.engine.handle_timeout(self.now);
            }
            1 => self.read(client, script.below(256) * 16),
            2 => self.read(client, usize::MAX),
            3 => {
                let octets = script.octets();
                self.receive(client, &octets);
            }
            4 => self.reconnect(client),
            5 => self.engine.dispatch(self.now),
            6..=12 => self.publish(client, number, script),
            other => self.call(client, number, other, script),
        }
    }

    /// A client whose connection or channel was closed, mostly opens another.
    fn go_on(&mut self, client: usize, number: u16) {
        let session = self
            .clients
            .get(client)
            .and_then(|key| self.engine.sessions.get(*key));
        let Some(session) = session.filter(|session| session.phase == Phase::Open) else {
            return self.reconnect(client);
        };
        let channel = session.channels.get(&number);
        let mut bytes = Vec::new();
        if channel.is_some_and(|channel| channel.closing) {
            put_method(&mut bytes, number, &channel::CloseOk {}.into(), 0).expect("short");
        }
        if channel.is_none_or(|channel| channel.closing) {
            put_method(&mut bytes, number, &channel::Open {}.into(), 0).expect("short");
        }
        self.receive(client, &bytes);
    }

    /// A client reads some of what it was told; the broker goes on with it.
    fn read(&mut self, client: usize, at_most: usize) {
        let Some(&key) = self.clients.get(client) else {
            return;
        };
        let Some(session) = self.engine.sessions.get_mut(key) else {
            return;
        };
        session.flushing = false;
        let count = session.output.len().min(at_most);
        let (read, _) = session.output.data().split_at(count);
        if let Some(output) = self.output.get_mut(client) {
            output.extend_from_slice(read);
        }
        session.output.sent(count);
        let is_over = session.phase == Phase::Closed && session.output.is_empty();
        if is_over {
            self.engine.end_session(key, self.now);
        } else {
            self.engine.resume(key);
            self.engine.handle_input(key, self.now);
        }
    }

    fn reconnect(&mut self, client: usize) {
        let Some(&key) = self.clients.get(client) else {
            return;
        };
        self.engine.end_session(key, self.now);
        self.connect();
        self.clients.swap_remove(client);
        self.output.swap_remove(client);
    }

    fn publish(&mut self, client: usize, number: u16, script: &mut Script<'_>) {
        let expiration = ["0", "50", "1000", "x"].get(script.below(12)).copied();
        let mut headers = TableBuf::new();
        headers
            .insert("k", Value::I32(script.below(2) as i32))
            .expect("short");
        let properties = Properties {
            headers: script.bit().then(|| headers.as_table()),
            priority: script.bit().then(|| script.below(12) as u8),
            expiration: expiration.map(Into::into),
            ..Properties::default()
        };
        let publish = basic::Publish {
            exchange: script.of(&NAMES).into(),
            routing_key: script.of(&KEYS).into(),
            mandatory: script.bit(),
            immediate: false,
        };
        let body = vec![b'x'; script.below(256) * (1 + 20 * script.below(2))];
        let mut bytes = Vec::new();
        put_message(
            &mut bytes,
            number,
            &publish.into(),
            &properties,
            &body,
            4096,
        )
        .expect("short");
        self.receive(client, &bytes);
    }

    fn call(&mut self, client: usize, number: u16, which: u8, script: &mut Script<'_>) {
        let mut table = TableBuf::new();
        let arguments = script.below(8);
        for _ in 0..arguments.saturating_sub(5) {
            argument(&mut table, script);
        }
        let table = table.as_table();
        let (name, other, key) = (script.of(&NAMES), script.of(&NAMES), script.of(&KEYS));
        let (one, two, tag) = (script.bit(), script.bit(), script.below(8) as u64);
        let method: Method<'_> = match which {
            13 | 14 => queue::Declare {
                queue: name.into(),
                passive: script.below(8) == 0,
                durable: script.below(8) != 0,
                exclusive: script.below(8) == 0,
                auto_delete: script.below(8) == 0,
                nowait: one,
                arguments: table,
            }
            .into(),
            15 => exchange::Declare {
                exchange: name.into(),
                kind: script.of(&["direct", "fanout", "topic", "headers"]).into(),
                auto_delete: one,
                durable: true,
                arguments: table,
                ..Default::default()
            }
            .into(),
            16 | 17 => queue::Bind {
                queue: name.into(),
                exchange: other.into(),
                routing_key: key.into(),
                arguments: table,
                nowait: one,
            }
            .into(),
            18 => exchange::Bind {
                destination: name.into(),
                source: other.into(),
                routing_key: key.into(),
                arguments: table,
                nowait: one,
            }
            .into(),
            19 => queue::Unbind {
                queue: name.into(),
                exchange: other.into(),
                routing_key: key.into(),
                arguments: table,
            }
            .into(),
            20 => exchange::Delete {
                exchange: name.into(),
                if_unused: one,
                nowait: two,
            }
            .into(),
            21 => queue::Delete {
                queue: name.into(),
                if_unused: one,
                if_empty: two,
                nowait: false,
            }
            .into(),
            22 => queue::Purge {
                queue: name.into(),
                nowait: one,
            }
            .into(),
            23 | 24 => basic::Consume {
                queue: name.into(),
                consumer_tag: key.into(),
                no_ack: one,
                exclusive: script.below(8) == 0,
                arguments: table,
                ..Default::default()
            }
            .into(),
            25 => basic::Cancel {
                consumer_tag: key.into(),
                nowait: one,
            }
            .into(),
            26 => basic::Get {
                queue: name.into(),
                no_ack: one,
            }
            .into(),
            27 => basic::Ack {
                delivery_tag: tag,
                multiple: one,
            }
            .into(),
            28 => basic::Nack {
                delivery_tag: tag,
                multiple: one,
                requeue: two,
            }
            .into(),
            29 => basic::Qos {
                prefetch_size: 0,
                prefetch_count: tag as u16,
                global: one,
            }
            .into(),
            30 => match script.below(5) {
                0 => basic::Recover { requeue: true }.into(),
                1 => confirm::Select { nowait: one }.into(),
                2 => connection::CloseOk {}.into(),
                3 => channel::CloseOk {}.into(),
                _ => channel::Close::default().into(),
            },
            _ => channel::Open {}.into(),
        };
        let mut bytes = Vec::new();
        put_method(&mut bytes, number, &method, 0).expect("short");
        self.receive(client, &bytes);
    }

    fn check(&mut self) {
        for vhost in &self.engine.vhosts {
            vhost.check_laws();
        }
        for output in &mut self.output {
            let mut rest = &output[..];
            rest = rest.strip_prefix(&PROTOCOL_HEADER).unwrap_or(rest);
            while let Some((frame, size)) = decode(rest, 0).expect("the broker writes frames") {
                if frame.kind == FrameKind::Method {
                    Method::decode(frame.payload).expect("the broker knows its methods");
                }
                rest = rest.get(size..).unwrap_or_default();
            }
            *output = rest.to_vec();
        }
    }
}

/// One argument of a queue or exchange.
fn argument(table: &mut TableBuf, script: &mut Script<'_>) {
    let number = script.below(6) as i32;
    let (key, value) = match script.below(12) {
        0 => ("x-message-ttl", Value::I32(number * 100)),
        1 => ("x-expires", Value::I32(number * 200)),
        2 => ("x-max-length", Value::I32(number)),
        3 => ("x-max-length-bytes", Value::I32(number * 100)),
        4 => ("x-max-priority", Value::I32(number)),
        5 => ("x-dead-letter-exchange", Value::from(script.of(&NAMES))),
        6 => ("x-dead-letter-routing-key", Value::from(script.of(&KEYS))),
        7 => {
            let ways = ["drop-head", "reject-publish", "reject-publish-dlx"];
            ("x-overflow", Value::from(script.of(&ways)))
        }
        8 => (
            "x-queue-type",
            Value::from(script.of(&["classic", "quorum"])),
        ),
        9 => ("x-priority", Value::I32(number)),
        10 => ("x-single-active-consumer", Value::Bool(true)),
        _ => ("alternate-exchange", Value::from(script.of(&NAMES))),
    };
    table.insert(key, value).expect("short");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Random;

    /// What the fuzzer does, for a moment, wherever the tests run.
    #[test]
    fn nothing_a_client_says_breaks_a_law() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let data: Vec<u8> = (0..2000).map(|_| random.next_u64() as u8).collect();
            fuzz_broker(&data);
        }
    }
}
