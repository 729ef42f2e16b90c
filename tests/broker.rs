//! The embedded broker, over sockets, with the crate's own client. What a queue or an exchange does in
//! time is in the unit tests, where time is virtual; here is what a client sees.

#[path = "broker/client.rs"]
mod client;
#[path = "broker/command.rs"]
mod command;
#[path = "broker/misbehave.rs"]
mod misbehave;
#[path = "broker/pressure.rs"]
mod pressure;
#[path = "broker/raw.rs"]
mod raw;
#[path = "broker/refusals.rs"]
mod refusals;

use celeriac::amqp::connection::Options;
use celeriac::amqp::method::{basic, exchange, queue};
use celeriac::amqp::sasl::Mechanism;
use celeriac::amqp::table::{TableBuf, Value};
use celeriac::amqp::{Event, Properties};
use celeriac::broker::harness::TestBroker;
use celeriac::broker::{Rules, Settings, User};

use client::{Client, Said, options};

fn start() -> TestBroker {
    TestBroker::start(Settings::default()).expect("a broker")
}

fn table<'v>(pairs: &[(&str, Value<'v>)]) -> TableBuf {
    let mut table = TableBuf::new();
    for (key, value) in pairs {
        table.insert(*key, *value).expect("short");
    }
    table
}

#[test]
fn what_is_published_is_consumed_in_order_and_gone_when_acknowledged() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("q");
    for number in 0..100 {
        client.publish("q", &number.to_string());
    }
    assert_eq!(client.count("q"), (100, 0));
    client.consume("q", "c");
    for number in 0..100 {
        let got = client.message();
        assert_eq!(
            (got.body.as_str(), got.redelivered),
            (&*number.to_string(), false)
        );
        client.ack(&got);
    }
    assert_eq!(client.count("q"), (0, 1));
}

#[test]
fn a_large_message_is_cut_into_frames_and_comes_out_whole() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("q");
    let body = "0123456789".repeat(300_000);
    client.publish("q", &body);
    client.publish("q", "");
    assert!(client.get("q").expect("a message").body == body);
    assert_eq!(client.get("q").expect("a message").body, "");
    assert_eq!(client.get("q"), None);
}

#[test]
fn who_logs_in_is_who_may() {
    let settings = Settings {
        users: vec![User::new("ann", "secret")],
        virtual_hosts: vec!["/".into(), "shop".into()],
        ..Settings::default()
    };
    let broker = TestBroker::start(settings).expect("a broker");
    let log_in = |user: &str, password: &str, mechanism, vhost: &str| {
        let options = Options {
            user: user.into(),
            password: password.into(),
            mechanism: Some(mechanism),
            virtual_host: vhost.into(),
            ..options()
        };
        let mut client = Client::reach(broker.address(), options);
        client.wait(|event| match event {
            Event::Open { .. } => Some("open".to_owned()),
            Event::Closed(reason) => Some(reason.to_string()),
            _ => None,
        })
    };
    assert_eq!(log_in("ann", "secret", Mechanism::Plain, "/"), "open");
    assert_eq!(log_in("ann", "secret", Mechanism::AmqPlain, "shop"), "open");
    assert_eq!(
        log_in("ann", "secret", Mechanism::Plain, "nope"),
        "closed by the server: 530 NOT_ALLOWED - vhost nope not found"
    );
    for (user, password) in [("ann", "wrong"), ("bob", "secret"), ("guest", "guest")] {
        assert_eq!(
            log_in(user, password, Mechanism::AmqPlain, "/"),
            "closed by the server: 403 ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN. For \
             details see the broker logfile."
        );
    }
}

#[test]
fn exchanges_route_and_may_be_bound_to_each_other() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    for (name, kind) in [("t", "topic"), ("d", "direct"), ("f", "fanout")] {
        let said = client.call(exchange::Declare {
            exchange: name.into(),
            kind: kind.into(),
            ..Default::default()
        });
        assert_eq!(said, Said::Reply("exchange.declare-ok".into()));
    }
    client.declare("q");
    // t -> f -> q, and t -> q twice: one copy all the same.
    for (source, key) in [("t", "a.#"), ("t", "#.b"), ("f", "")] {
        client.call(queue::Bind {
            queue: "q".into(),
            exchange: source.into(),
            routing_key: key.into(),
            ..Default::default()
        });
    }
    client.call(exchange::Bind {
        destination: "f".into(),
        source: "t".into(),
        routing_key: "*.b".into(),
        ..Default::default()
    });
    client.confirms();
    for (key, copies) in [("a.b", 1), ("x.b", 1), ("a", 1), ("x", 0)] {
        let sent = client
            .connection
            .publish(1, "t", key, true, &Properties::default(), b"x");
        assert!(sent.expect("publishable").is_some());
        client.send();
        if copies == 0 {
            assert_eq!(
                client.next(),
                Said::Returned("x".into()),
                "before its confirm"
            );
        }
        assert!(matches!(client.next(), Said::Confirm { acked: true, .. }));
        let count = client.count("q").0;
        assert_eq!(count, copies, "{key}");
        client.call(queue::Purge {
            queue: "q".into(),
            nowait: false,
        });
    }
}

#[test]
fn a_prefetch_count_limits_a_consumer_and_takes_effect_at_once() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("q");
    client.prefetch(2, false);
    client.consume("q", "c");
    for number in 0..6 {
        client.publish("q", &number.to_string());
    }
    assert_eq!(client.bodies(), ["0", "1"]);
    client.prefetch(4, false);
    assert_eq!(client.bodies(), ["2", "3"]);
    client.prefetch(1, false);
    assert!(client.bodies().is_empty(), "less takes nothing back");
    client.prefetch(0, false);
    assert_eq!(client.bodies(), ["4", "5"]);
}

#[test]
fn a_prefetch_count_may_be_for_the_whole_channel() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("one");
    client.declare("two");
    client.prefetch(3, true);
    client.consume("one", "1");
    client.consume("two", "2");
    for _ in 0..3 {
        client.publish("one", "one");
        client.publish("two", "two");
    }
    let mut held = Vec::new();
    for said in client.all() {
        let Said::Message(got) = said else {
            panic!("{said:?}")
        };
        held.push(got);
    }
    assert_eq!(held.len(), 3);
    client.ack(&held[1]);
    assert_eq!(client.bodies().len(), 1);
}

/// Under RabbitMQ 4.3's rules a limit counts for consumers to come only.
#[test]
fn the_rules_of_a_newer_server_refuse_more() {
    let settings = Settings {
        rules: Rules::RabbitMq43,
        ..Settings::default()
    };
    let broker = TestBroker::start(settings).expect("a broker");
    let mut client = Client::connect(broker.address());
    client.declare("q");
    client.prefetch(1, true);
    client.consume("q", "c");
    for number in 0..3 {
        client.publish("q", &number.to_string());
    }
    assert_eq!(client.bodies(), ["0"]);
    client.prefetch(2, true);
    assert!(client.bodies().is_empty());
    client.start(
        1,
        queue::Declare {
            queue: "transient".into(),
            ..Default::default()
        },
    );
    let closed = client.is_closed().expect("closed");
    assert!(closed.contains("541 INTERNAL_ERROR"), "{closed}");
}

#[test]
fn what_comes_back_keeps_its_place_and_is_marked() {
    let broker = start();
    let mut one = Client::connect(broker.address());
    let mut other = Client::connect(broker.address());
    one.declare("q");
    one.prefetch(4, false);
    one.consume("q", "c");
    for number in 0..4 {
        one.publish("q", &number.to_string());
    }
    let held: Vec<_> = (0..4).map(|_| one.message()).collect();
    one.prefetch(3, false);
    one.ack(&held[1]);
    one.publish("q", "4");
    assert_eq!(one.count("q"), (1, 1));
    drop(one); // without a word
    while broker.with(|broker, _| broker.connections()) == 2 {}
    let got: Vec<_> = std::iter::from_fn(|| other.get("q"))
        .map(|got| (got.body, got.redelivered))
        .collect();
    let expected = [("0", true), ("2", true), ("3", true), ("4", false)];
    assert_eq!(got, expected.map(|(body, again)| (body.to_owned(), again)));
}

#[test]
fn a_message_with_multiple_settles_those_before_it() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("q");
    client.consume("q", "c");
    for number in 0..5 {
        client.publish("q", &number.to_string());
    }
    let held: Vec<_> = (0..5).map(|_| client.message()).collect();
    assert!(client.connection.ack(held[1].tag, true));
    assert!(client.connection.nack(held[3].tag, true, true));
    client.send();
    let again: Vec<_> = (0..2).map(|_| client.message()).collect();
    assert_eq!([&*again[0].body, &*again[1].body], ["2", "3"]);
    assert!(again[0].redelivered);
    client.call(basic::Recover { requeue: true });
    assert_eq!(client.bodies(), ["2", "3", "4"]);
}

#[test]
fn consumers_take_turns_and_the_more_important_come_first() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("q");
    client.prefetch(2, false);
    client.consume("q", "a");
    client.consume("q", "b");
    client.consume_with("q", "vip", false, &table(&[("x-priority", Value::I32(5))]));
    for number in 0..6 {
        client.publish("q", &number.to_string());
    }
    let mut turns = Vec::new();
    for said in client.all() {
        let Said::Message(got) = said else {
            panic!("{said:?}")
        };
        turns.push(got.consumer);
    }
    assert_eq!(turns, ["vip", "vip", "a", "b", "a", "b"]);
}

#[test]
fn consumers_hear_that_their_queue_is_gone() {
    let broker = start();
    let mut one = Client::connect(broker.address());
    let mut other = Client::connect(broker.address());
    one.declare("q");
    one.consume("q", "c");
    assert_eq!(
        other.call(queue::Delete {
            queue: "q".into(),
            ..Default::default()
        }),
        Said::Count(0)
    );
    assert_eq!(one.next(), Said::Cancelled("c".into()));
    assert!(broker.with(|broker, _| broker.queues()).is_empty());
}

#[test]
fn queues_end_with_their_connection_or_their_last_consumer() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    let mut other = Client::connect(broker.address());
    for (name, exclusive, auto_delete) in [
        ("own", true, false),
        ("brief", false, true),
        ("", true, true),
    ] {
        let said = client.call(queue::Declare {
            queue: name.into(),
            exclusive,
            auto_delete,
            ..Default::default()
        });
        let Said::Declared(name, 0, 0) = said else {
            panic!("{said:?}")
        };
        assert!(
            name == "own" || name == "brief" || name.starts_with("amq.gen-") && name.len() == 30
        );
    }
    client.consume("brief", "c");
    client.call(basic::Cancel {
        consumer_tag: "c".into(),
        nowait: false,
    });
    let names = |broker: &TestBroker| -> Vec<String> {
        let queues = broker.with(|broker, _| broker.queues());
        queues.into_iter().map(|queue| queue.name).collect()
    };
    assert_eq!(names(&broker).len(), 2);
    other.publish("own", "through the default exchange anybody may");
    drop(client);
    while !names(&broker).is_empty() {} // each look waits for a turn of the broker
}

#[test]
fn the_dead_go_where_their_queue_says() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("dead");
    let to_dead = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"dead")),
    ];
    client.declare_with("q", &table(&to_dead));
    client.publish("q", "rejected");
    let got = client.get("q").expect("a message");
    client.reject(&got, false);
    let expires = Properties {
        expiration: Some("1".into()),
        ..Properties::default()
    };
    client.publish_with("q", &expires, "expired");
    for (body, reason) in [("rejected", "rejected"), ("expired", "expired")] {
        let got = loop {
            if let Some(got) = client.get("dead") {
                break got;
            }
        };
        assert_eq!(got.body, body);
        for part in [
            "x-death",
            "x-first-death-queue",
            &format!("{:?}", reason.as_bytes()),
        ] {
            assert!(got.headers.contains(part), "{part}: {}", got.headers);
        }
    }
}

#[test]
fn queues_can_be_looked_at_through_the_broker_itself() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    client.declare("celery");
    client.publish("celery", "hello");
    let seen = client
        .get(celeriac::broker::OVERVIEW_QUEUE)
        .expect("an answer")
        .body;
    for part in [
        r#""name":"celery""#,
        r#""messages":1"#,
        r#""messages_ready":1"#,
        r#""vhost":"/""#,
    ] {
        assert!(seen.contains(part), "{seen}");
    }
}
