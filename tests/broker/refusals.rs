//! Every deliberate error that RabbitMQ 3.10 was asked for, asked of this broker: the same level, code
//! and words, except where [`DIFFERENT`] says why not. `tests/golden/rabbitmq_refusals.jsonl` holds
//! what RabbitMQ answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use celeriac::amqp::Properties;
use celeriac::amqp::method::{basic, channel, exchange, queue, tx};
use celeriac::amqp::table::{TableBuf, Value};
use celeriac::broker::Settings;
use celeriac::broker::harness::TestBroker;
use serde_json::Value as Json;

use crate::raw::{Raw, Verdict};
use crate::table;

/// Answers that differ on purpose: the case, our code (none: the socket is closed or all is well), why.
const DIFFERENT: &[(&str, Option<u16>, &str)] = &[
    (
        "basic.consume duplicate tag",
        Some(530),
        "the client library failed before it saw RabbitMQ's 530",
    ),
    (
        "channel number > max",
        Some(530),
        "RabbitMQ closes a channel that the client does not have",
    ),
    (
        "unknown class",
        Some(540),
        "RabbitMQ drops the socket; a reason helps more",
    ),
    (
        "unknown method",
        Some(540),
        "RabbitMQ drops the socket; a reason helps more",
    ),
    (
        "tx.select",
        Some(540),
        "no transactions here, and the client is told",
    ),
    (
        "access.request",
        Some(540),
        "the client library refused to send it",
    ),
    (
        "bad field table type",
        Some(502),
        "RabbitMQ drops the socket; a reason helps more",
    ),
    (
        "body longer than declared",
        Some(501),
        "RabbitMQ does not answer",
    ),
    (
        "basic.recover-async",
        None,
        "the client library waited for an answer that does not exist",
    ),
    (
        "priority 255",
        None,
        "the client library waited for an answer that does not exist",
    ),
    (
        "protocol header 0-8",
        None,
        "only 0-9 and 0-9-1 are spoken here",
    ),
];

/// Cases that a server cannot see: the client library itself refused, or it is about another server.
const NOT_OURS: &[&str] = &[
    "login AMQPLAIN",
    "login EXTERNAL (not offered)",
    "frame_max 4096 client",
];

fn declare(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: name.into(),
        durable: true,
        ..Default::default()
    }
}

fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        passive: true,
        ..declare(name)
    }
}

fn exchange_named(name: &str) -> exchange::Declare<'_> {
    exchange::Declare {
        exchange: name.into(),
        kind: "direct".into(),
        durable: true,
        ..Default::default()
    }
}

fn bind<'a>(queue: &'a str, exchange: &'a str) -> queue::Bind<'a> {
    queue::Bind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: "k".into(),
        ..Default::default()
    }
}

fn consume<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        queue: queue.into(),
        consumer_tag: tag.into(),
        ..Default::default()
    }
}

fn get(queue: &str) -> basic::Get<'_> {
    basic::Get {
        queue: queue.into(),
        no_ack: false,
    }
}

fn delete(queue: &str) -> queue::Delete<'_> {
    queue::Delete {
        queue: queue.into(),
        ..Default::default()
    }
}

fn purge(queue: &str) -> queue::Purge<'_> {
    queue::Purge {
        queue: queue.into(),
        nowait: false,
    }
}

fn publish<'a>(exchange: &'a str, key: &'a str) -> basic::Publish<'a> {
    basic::Publish {
        exchange: exchange.into(),
        routing_key: key.into(),
        ..Default::default()
    }
}

fn ack(tag: u64) -> basic::Ack {
    basic::Ack {
        delivery_tag: tag,
        multiple: false,
    }
}

/// What there is before each case.
fn set_up(raw: &mut Raw) {
    raw.send(1, declare("eq"));
    raw.send(1, exchange_named("ee"));
    raw.send(
        1,
        queue::Declare {
            exclusive: true,
            ..declare("exq")
        },
    );
    let one_second = table(&[("x-message-ttl", Value::I32(1000))]);
    raw.send(
        1,
        queue::Declare {
            arguments: one_second.as_table(),
            ..declare("eq2")
        },
    );
    assert_eq!(raw.verdict(), Verdict::Fine);
}

/// Declares a queue with one argument.
fn declare_with(raw: &mut Raw, name: &str, key: &str, value: Value<'_>) {
    let arguments: TableBuf = table(&[(key, value)]);
    raw.send(
        1,
        queue::Declare {
            arguments: arguments.as_table(),
            ..declare(name)
        },
    );
}

/// Publishes with properties.
fn publish_with(raw: &mut Raw, properties: Properties<'_>) {
    raw.publish(publish("", "eq"), &properties);
}

/// A header frame's payload.
fn header(class: u16, weight: u16, size: u64) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend_from_slice(&weight.to_be_bytes());
    payload.extend_from_slice(&size.to_be_bytes());
    payload.extend_from_slice(&[0, 0]);
    payload
}

fn quorum(
    raw: &mut Raw,
    name: &str,
    change: impl FnOnce(queue::Declare<'_>) -> queue::Declare<'_>,
) {
    let arguments = table(&[("x-queue-type", Value::LongStr(b"quorum"))]);
    raw.send(
        1,
        change(queue::Declare {
            arguments: arguments.as_table(),
            ..declare(name)
        }),
    );
}

/// Does what the case is called; `false` when there is no such case.
#[allow(clippy::too_many_lines)] // one line a case
fn perform(case: &str, raw: &mut Raw) -> bool {
    match case {
        "queue.declare passive missing" => raw.send(1, passive("nope")),
        "queue.declare redeclare different durable" => raw.send(
            1,
            queue::Declare {
                durable: false,
                ..declare("eq")
            },
        ),
        "queue.declare redeclare different args" => {
            declare_with(raw, "eq", "x-max-priority", Value::I32(10))
        }
        "queue.declare redeclare auto_delete" => raw.send(
            1,
            queue::Declare {
                auto_delete: true,
                ..declare("eq")
            },
        ),
        "queue.declare redeclare exclusive" => raw.send(
            1,
            queue::Declare {
                exclusive: true,
                ..declare("eq")
            },
        ),
        "queue.declare redeclare different ttl" => {
            declare_with(raw, "eq2", "x-message-ttl", Value::I32(2000))
        }
        "queue.declare redeclare ttl int type L vs I" => {
            declare_with(raw, "eq2", "x-message-ttl", Value::I64(1000))
        }
        "queue.declare redeclare unknown arg (ignored?)" => {
            declare_with(raw, "eq3", "x-foo", Value::I32(1));
            declare_with(raw, "eq3", "x-foo", Value::I32(2));
        }
        "queue.declare x-message-ttl string" => {
            declare_with(raw, "eq4", "x-message-ttl", Value::LongStr(b"a"))
        }
        "queue.declare x-expires 0" => declare_with(raw, "eq4", "x-expires", Value::I32(0)),
        "queue.declare x-expires negative" => declare_with(raw, "eq4", "x-expires", Value::I32(-1)),
        "queue.declare x-expires float" => declare_with(raw, "eq4", "x-expires", Value::F64(1.5)),
        "queue.declare x-max-priority 256" => {
            declare_with(raw, "eq4", "x-max-priority", Value::I32(256))
        }
        "queue.declare bad x-queue-type" => {
            declare_with(raw, "eq4", "x-queue-type", Value::LongStr(b"foo"))
        }
        "queue.declare amq. prefix" => raw.send(1, declare("amq.foo")),
        "queue.declare passive amq." => raw.send(1, passive("amq.foo")),
        "queue.declare quorum non-durable" => quorum(raw, "eqq", |declare| queue::Declare {
            durable: false,
            ..declare
        }),
        "queue.declare quorum exclusive" => quorum(raw, "eqq", |declare| queue::Declare {
            exclusive: true,
            ..declare
        }),
        "queue.declare empty name" => raw.send(
            1,
            queue::Declare {
                exclusive: true,
                ..declare("")
            },
        ),
        "exclusive locked by other conn: declare" => raw.send(
            1,
            queue::Declare {
                exclusive: true,
                ..declare("exq")
            },
        ),
        "exclusive locked: passive declare" => raw.send(1, passive("exq")),
        "exclusive locked: consume" => raw.send(1, consume("exq", "")),
        "exclusive locked: bind" => raw.send(1, bind("exq", "ee")),
        "exclusive locked: purge" => raw.send(1, purge("exq")),
        "exclusive locked: delete" => raw.send(1, delete("exq")),
        "exclusive locked: get" => raw.send(1, get("exq")),
        "exclusive locked: publish via default exchange (allowed)" => {
            raw.publish(publish("", "exq"), &Properties::default());
        }
        "exchange.declare type mismatch" => raw.send(
            1,
            exchange::Declare {
                kind: "topic".into(),
                ..exchange_named("ee")
            },
        ),
        "exchange.declare durable mismatch" => raw.send(
            1,
            exchange::Declare {
                durable: false,
                ..exchange_named("ee")
            },
        ),
        "exchange.declare unknown type" => raw.send(
            1,
            exchange::Declare {
                kind: "nosuch".into(),
                ..exchange_named("e2")
            },
        ),
        "exchange.declare amq. prefix" => raw.send(1, exchange_named("amq.mine")),
        "exchange.declare default" => raw.send(1, exchange_named("")),
        "exchange.declare passive missing" => raw.send(
            1,
            exchange::Declare {
                passive: true,
                ..exchange_named("nope")
            },
        ),
        "exchange.delete missing" => raw.send(
            1,
            exchange::Delete {
                exchange: "nope".into(),
                ..Default::default()
            },
        ),
        "exchange.delete default" => raw.send(1, exchange::Delete::default()),
        "exchange.delete amq.direct" => raw.send(
            1,
            exchange::Delete {
                exchange: "amq.direct".into(),
                ..Default::default()
            },
        ),
        "exchange.delete if_unused in use" => {
            raw.send(1, bind("eq", "ee"));
            raw.send(
                1,
                exchange::Delete {
                    exchange: "ee".into(),
                    if_unused: true,
                    nowait: false,
                },
            );
        }
        "queue.bind missing exchange" => raw.send(1, bind("eq", "nope")),
        "queue.bind missing queue" => raw.send(1, bind("nope", "ee")),
        "queue.bind default exchange" => raw.send(1, bind("eq", "")),
        "queue.unbind missing binding" => raw.send(
            1,
            queue::Unbind {
                queue: "eq".into(),
                exchange: "ee".into(),
                ..Default::default()
            },
        ),
        "queue.unbind missing queue" => raw.send(
            1,
            queue::Unbind {
                queue: "nope".into(),
                exchange: "ee".into(),
                ..Default::default()
            },
        ),
        "queue.purge missing" => raw.send(1, purge("nope")),
        "queue.delete missing" => raw.send(1, delete("nope")),
        "queue.delete if_empty nonempty" => {
            publish_with(raw, Properties::default());
            raw.send(
                1,
                queue::Delete {
                    if_empty: true,
                    ..delete("eq")
                },
            );
        }
        "queue.delete if_unused with consumer" => {
            raw.send(1, consume("eq", "c"));
            raw.send(
                1,
                queue::Delete {
                    if_unused: true,
                    ..delete("eq")
                },
            );
        }
        "basic.publish missing exchange" => {
            raw.publish(publish("nope", "k"), &Properties::default())
        }
        "basic.publish unroutable mandatory" => {
            raw.publish(
                basic::Publish {
                    mandatory: true,
                    ..publish("", "nope")
                },
                &Properties::default(),
            );
        }
        "basic.publish unroutable not mandatory" => {
            raw.publish(publish("", "nope"), &Properties::default())
        }
        "basic.publish immediate" => {
            raw.publish(
                basic::Publish {
                    immediate: true,
                    ..publish("", "eq")
                },
                &Properties::default(),
            );
        }
        "basic.publish bad expiration" => publish_with(
            raw,
            Properties {
                expiration: Some("abc".into()),
                ..Default::default()
            },
        ),
        "basic.publish negative expiration" => publish_with(
            raw,
            Properties {
                expiration: Some("-1".into()),
                ..Default::default()
            },
        ),
        "basic.publish wrong user_id" => publish_with(
            raw,
            Properties {
                user_id: Some("bob".into()),
                ..Default::default()
            },
        ),
        "basic.publish to internal exchange" => {
            raw.publish(publish("amq.rabbitmq.trace", "k"), &Properties::default())
        }
        "basic.consume missing queue" => raw.send(1, consume("nope", "")),
        "basic.consume duplicate tag" => {
            raw.send(1, consume("eq", "t1"));
            raw.send(1, consume("eq", "t1"));
        }
        "basic.consume when exclusive consumer exists" => {
            raw.send(
                1,
                basic::Consume {
                    exclusive: true,
                    ..consume("eq", "a")
                },
            );
            raw.send(1, consume("eq", "b"));
        }
        "basic.cancel unknown tag" => raw.send(
            1,
            basic::Cancel {
                consumer_tag: "nosuch".into(),
                nowait: false,
            },
        ),
        "basic.get missing queue" => raw.send(1, get("nope")),
        "basic.ack unknown tag" => raw.send(1, ack(99)),
        "basic.ack 0 multiple=false nothing" => raw.send(1, ack(0)),
        "basic.ack 0 multiple=true nothing" => raw.send(
            1,
            basic::Ack {
                delivery_tag: 0,
                multiple: true,
            },
        ),
        "basic.ack twice" => {
            publish_with(raw, Properties::default());
            raw.send(1, get("eq"));
            raw.send(1, ack(1));
            raw.send(1, ack(1));
        }
        "basic.reject unknown tag" => raw.send(
            1,
            basic::Reject {
                delivery_tag: 99,
                requeue: false,
            },
        ),
        "basic.qos prefetch_size nonzero" => raw.send(
            1,
            basic::Qos {
                prefetch_size: 1000,
                prefetch_count: 0,
                global: false,
            },
        ),
        "basic.qos 65535" => raw.send(
            1,
            basic::Qos {
                prefetch_size: 0,
                prefetch_count: 65535,
                global: false,
            },
        ),
        "quorum consume on global-qos channel" => {
            quorum(raw, "eqq2", |declare| declare);
            raw.send(
                1,
                basic::Qos {
                    prefetch_size: 0,
                    prefetch_count: 1,
                    global: true,
                },
            );
            raw.send(1, consume("eqq2", ""));
        }
        "global qos after quorum consume" => {
            quorum(raw, "eqq2", |declare| declare);
            raw.send(1, consume("eqq2", ""));
            raw.send(
                1,
                basic::Qos {
                    prefetch_size: 0,
                    prefetch_count: 1,
                    global: true,
                },
            );
        }
        "quorum x-max-priority" => {
            let arguments = table(&[
                ("x-queue-type", Value::LongStr(b"quorum")),
                ("x-max-priority", Value::I32(5)),
            ]);
            raw.send(
                1,
                queue::Declare {
                    arguments: arguments.as_table(),
                    ..declare("eqq3")
                },
            );
        }
        "channel.flow false from client" => raw.send(1, channel::Flow { active: false }),
        "basic.recover requeue" => raw.send(1, basic::Recover { requeue: true }),
        "basic.recover-async" => raw.send(1, basic::RecoverAsync { requeue: true }),
        "priority 255" => publish_with(
            raw,
            Properties {
                priority: Some(255),
                ..Default::default()
            },
        ),
        "bad frame end" => raw.write(&[1, 0, 1, 0, 0, 0, 5, 0, 20, 0, 20, 1, 0]),
        "frame type 9" => raw.frame(9, 1, b"x"),
        "heartbeat on channel 1" => raw.frame(8, 1, b""),
        "heartbeat with payload" => raw.frame(8, 0, b"x"),
        "content header without method" => raw.frame(2, 1, &header(60, 0, 1)),
        "body without method" => raw.frame(3, 1, b"x"),
        "method while expecting header" => {
            raw.send(1, publish("", "eq"));
            raw.send(1, get("eq"));
        }
        "unopened channel use" => raw.send(7, get("eq")),
        "channel.open twice" => raw.send(1, channel::Open {}),
        "channel number > max" => raw.send(60_000, channel::Open {}),
        "unknown class" => raw.frame(1, 1, &[0, 99, 0, 10]),
        "unknown method" => raw.frame(1, 1, &[0, 50, 0, 99]),
        "tx.select" => raw.send(1, tx::Select {}),
        "truncated method args" => raw.frame(1, 1, &[0, 60, 0, 70, 0, 0, 255, b'e', b'q']),
        "bad field table type" => raw.frame(1, 1, b"\0\x32\0\x0a\0\0\x02zz\x02\0\0\0\x04\x01kZ\0"),
        "frame too big" => raw.write(&[3, 0, 1, 0, 3, 0x0d, 0x40]),
        "access.request" => raw.frame(1, 1, &[0, 30, 0, 10, 0, 0]),
        "header class mismatch" => {
            raw.send(1, publish("", "eq"));
            raw.frame(2, 1, &header(50, 0, 1));
        }
        "header weight 1" => {
            raw.send(1, publish("", "eq"));
            raw.frame(2, 1, &header(60, 1, 1));
        }
        "body longer than declared" => {
            raw.send(1, publish("", "eq"));
            raw.frame(2, 1, &header(60, 0, 1));
            raw.frame(3, 1, b"xyz");
        }
        _ => return false,
    }
    true
}

/// Cases before there is a connection.
fn perform_greeting(case: &str, address: SocketAddr) -> Option<Verdict> {
    let mut raw = Raw::reach(address);
    match case {
        "vhost missing" => raw.log_in("nope", b"\0guest\0guest"),
        "bad password" => raw.log_in("wire", b"\0guest\0wrong"),
        "bad user" => raw.log_in("wire", b"\0nobody\0guest"),
        "wrong protocol header (HTTP)" => raw.write(b"GET / HTTP/1.1\r\n\r\n"),
        "protocol header AMQP 1.0" => raw.write(b"AMQP\0\x01\0\0"),
        "protocol header 0-8" => raw.write(b"AMQP\x01\x01\x08\0"),
        _ => return None,
    }
    Some(raw.verdict())
}

/// What RabbitMQ answered.
fn expected(golden: &Json) -> Verdict {
    let code = golden["code"].as_u64().unwrap_or(0) as u16;
    let text = golden["text"].as_str().unwrap_or_default().to_owned();
    let method = golden["method"].as_str().unwrap_or("(0, 0)");
    let numbers: Vec<u16> = method
        .split(|sign: char| !sign.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    match (golden["scope"].as_str(), &numbers[..]) {
        (Some("channel"), _) if code == 312 => Verdict::Returned(code, text),
        (Some("channel"), [class, method]) => Verdict::ChannelClosed(code, text, *class, *method),
        (Some("connection"), [class, method]) => {
            Verdict::ConnectionClosed(code, text, *class, *method)
        }
        (Some("connect"), _) => Verdict::ConnectionClosed(code, text, 0, 0),
        (Some("raw"), _) => Verdict::Dropped(b"AMQP\0\0\x09\x01".to_vec()),
        _ => Verdict::Fine,
    }
}

fn code_of(verdict: &Verdict) -> Option<u16> {
    match verdict {
        Verdict::Fine | Verdict::Dropped(_) => None,
        Verdict::Returned(code, _)
        | Verdict::ChannelClosed(code, ..)
        | Verdict::ConnectionClosed(code, ..) => Some(*code),
    }
}

/// Ours for the method that opens a connection says which it is; that is all the difference.
fn without_cause(verdict: Verdict, golden: &Json) -> Verdict {
    match verdict {
        Verdict::ConnectionClosed(code, text, ..) if golden["scope"] == "connect" => {
            Verdict::ConnectionClosed(code, text, 0, 0)
        }
        other => other,
    }
}

#[test]
fn refusals_are_those_of_rabbitmq() {
    let golden = include_str!("../golden/rabbitmq_refusals.jsonl");
    let mut failures = Vec::new();
    let mut seen = BTreeSet::new();
    for line in golden.lines() {
        let golden: Json = serde_json::from_str(line).expect("JSON");
        let case = golden["case"].as_str().expect("a name");
        seen.insert(case.to_owned());
        if NOT_OURS.contains(&case) {
            continue;
        }
        let settings = Settings {
            virtual_hosts: vec!["wire".into()],
            ..Settings::default()
        };
        let broker = TestBroker::start(settings).expect("a broker");
        let mut owner = Raw::open(broker.address(), "wire");
        set_up(&mut owner);
        let verdict = perform_greeting(case, broker.address()).unwrap_or_else(|| {
            let mut raw = Raw::open(broker.address(), "wire");
            assert!(perform(case, &mut raw), "no such case: {case}");
            raw.verdict()
        });
        let verdict = without_cause(verdict, &golden);
        match DIFFERENT.iter().find(|(name, ..)| *name == case) {
            Some((_, code, why)) if code_of(&verdict) != *code => {
                failures.push(format!("{case}: {verdict:?}, should be {code:?}: {why}"));
            }
            Some(_) => {}
            None if verdict != expected(&golden) => {
                failures.push(format!("{case}:\n  {verdict:?}\n  {:?}", expected(&golden)));
            }
            None => {}
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    for name in DIFFERENT.iter().map(|(name, ..)| name).chain(NOT_OURS) {
        assert!(seen.contains(*name), "{name} is no case");
    }
}
