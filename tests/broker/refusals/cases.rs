//! The cases: what a client does wrong, by the name under which RabbitMQ's answer is kept.

use std::net::SocketAddr;

use celeriac::amqp::Properties;
use celeriac::amqp::method::{basic, channel, exchange, queue, tx};
use celeriac::amqp::table::Value;

use super::drafts::*;
use crate::raw::{Raw, Verdict};
use crate::table;

/// Does what the case is called; `false` when there is no such case.
#[allow(clippy::too_many_lines)] // one line a case
pub(super) fn perform(case: &str, raw: &mut Raw) -> bool {
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
pub(super) fn perform_greeting(case: &str, address: SocketAddr) -> Option<Verdict> {
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
